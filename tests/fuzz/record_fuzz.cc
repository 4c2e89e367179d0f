// A record of any bytes: one sentence, or a report in which its texts are no markup. The same bytes as the record of a
// test run are one sentence or stages.
#include <cstdlib>

#include "eval/report.h"

namespace {

void check(const std::string& message) {
  if (message.find("bench.json: ") != 0 || message.find('\n') != std::string::npos || message.size() > 600)
    std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace onebit;
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  ReportInput input;
  if (auto stages = parse_test_stages(text, "bench.json")) {
    input.stages = std::move(*stages);
  } else {
    check(stages.error().message);
  }
  const auto record = parse_record(text, "bench.json");
  if (!record) {
    check(record.error().message);
    if (input.stages.empty()) return 0;
  } else {
    for (const char* name : {"attn_fd", "bench", "burnin", "contract_cost", "lookup", "peers", "ppl-gen2", "roofline",
                             "server", "soak", "startup"}) {  // the same results under every reader of them
      input.records.push_back(*record);
      input.records.back().name = name;
    }
  }
  const auto report = build_report(input);
  const auto html = report_html(report);
  if (html.find("<script") != std::string::npos || report_markdown(report).find("<script") != std::string::npos)
    std::abort();
  if (report_json(report).empty()) std::abort();
  return 0;
}
