#include "eval/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "eval/report_parts.h"

namespace onebit {
namespace {

/// Links must survive spaces and brackets in a folder's name.
std::string percent_encoded(std::string_view path) {
  constexpr std::string_view kPlain = "/._-~";
  std::string out;
  for (const char c : path) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    out += letter || kPlain.find(c) != std::string_view::npos ? std::string(1, c)
                                                              : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

bool same_commit(std::string_view a, std::string_view b) {
  const size_t length = std::min(a.size(), b.size());
  return a != "unknown" && b != "unknown" && a.substr(0, length) == b.substr(0, length);
}

std::string shortened(std::string_view commit) {
  return std::string(commit.substr(0, 12));
}

/// Measured on a machine of its own, one with a GPU: its processor says nothing of the others', and theirs nothing of
/// it.
bool of_a_gpu_machine(const Record& record) {
  return record.machine.gpu.has_value();
}

std::string stale_text(const Record& record, const ReportBase& base) {
  std::string out;
  if (!base.commit.empty() && !same_commit(record.commit, base.commit))
    out = fmt::format("commit {}, not {}", shortened(record.commit), shortened(base.commit));
  const auto& m = record.machine;
  const bool elsewhere = !of_a_gpu_machine(record) && ((m.cpu && base.cpu && *m.cpu != *base.cpu) ||
                                                       (m.cores && base.cores && *m.cores != *base.cores));
  if (elsewhere) out += out.empty() ? "another machine" : ", another machine";
  return out;
}

std::string describe(const Record& r) {
  const auto& m = r.machine;
  std::string out = m.cpu.value_or("processor not recorded");
  if (m.cores) out += fmt::format(", {} cores", *m.cores);
  if (m.gpu) out += ", " + *m.gpu;
  if (m.kernel) out += ", Linux " + *m.kernel;
  if (m.governor) out += ", governor " + *m.governor;
  if (m.power_profile) out += ", power profile " + *m.power_profile;
  if (m.temperature_c) out += fmt::format(", {:.0f} °C", *m.temperature_c);
  if (m.gpu_temperature_c) out += fmt::format(", GPU {:.0f} °C", *m.gpu_temperature_c);
  out += fmt::format(", {}, commit {}{}", r.date.substr(0, 10), shortened(r.commit), r.dirty ? " with changes" : "");
  if (r.model_name) out += ", model " + *r.model_name;
  return out;
}

/// "65.7 tok/s (62.3 to 86.3 in 5 rounds)"; bytes as MB.
std::string figure(const Metric& m, int digits) {
  const bool bytes = m.unit == "bytes", plain = m.unit == "ratio" || m.unit == "fraction" || m.unit == "perplexity";
  const double scale = bytes ? 1e-6 : 1;
  auto out = fmt::format("{:.{}f}", m.value * scale, digits);
  if (!plain) out += bytes ? " MB" : " " + m.unit;
  if (m.spread)
    out += fmt::format(" ({:.{}f} to {:.{}f} in {} rounds)", m.spread->low * scale, digits, m.spread->high * scale,
                       digits, m.spread->rounds);
  return out;
}

struct Part {
  const char* metric;
  const char* label;  // before the figure; may be empty
};

struct RowSpec {
  const char* title;
  const char* record;
  const char* missing;
  std::vector<Part> parts;
  int digits;
  const char* meaning;
};

constexpr const char* kRunBench = "missing: run benchmarks/bench.sh";
constexpr const char* kRunPerplexity = "missing: run benchmarks/ppl-gen2.sh";
constexpr const char* kRunRoofline = "missing: run benchmarks/roofline.sh";
constexpr const char* kRunBurnIn = "missing: run benchmarks/shadow-burnin.sh";
constexpr const char* kRunServer = "missing: run benchmarks/server.sh";
constexpr const char* kRunTests = "missing: run ./run-tests --full";

const std::vector<RowSpec>& simple_rows() {
  static const std::vector<RowSpec> kRows{
      {"decode after 64 positions",
       "bench",
       kRunBench,
       {{"decode_t1_6_f16_64", ""}},
       1,
       "tokens a second for one reader; t1_6 weights, f16 KV, all threads"},
      {"decode after 1024 positions",
       "bench",
       kRunBench,
       {{"decode_t1_6_f16_1024", ""}},
       1,
       "the same further into a conversation, where keys and values are read too"},
      {"perplexity, gen-2 (production engine)",
       "ppl-gen2",
       kRunPerplexity,
       {{"perplexity_gen2", ""}},
       4,
       "how well the bundled model predicts WikiText-2's test text; lower is better"},
      {"ternary products, of the roofline",
       "roofline",
       kRunRoofline,
       {{"ternary_fraction_t1_6_64", "t1_6 "}, {"ternary_fraction_t2_64", "t2 "}},
       3,
       "bytes of ternary weights a second in decode over the read bandwidth measured beside it; 1 is all of it"},
      {"s1_25 (3:4 sparse weights) over t1_6",
       "sherry",
       "missing: run benchmarks/sherry.sh",
       {{"decode_s1_25_over_t1_6", "decode "}, {"product_s1_25_over_t1_6", "ternary products "}},
       3,
       "how many times as fast, the shape of bitnet-b1.58-2B-4T, in turn (docs/sherry.md)"},
      {"split-KV attention, speed-up",
       "attn_fd",
       "missing: run benchmarks/attn_fd.sh",
       {{"split_kv_ratio_f16_1024", "at 1024: "}, {"split_kv_ratio_f16_32768", "at 32768: "}},
       2,
       "against the same inner loop with one task a head, by positions held; f16 KV"},
      {"voice, first audio",
       "voice",
       "missing: run benchmarks/voice.sh",
       {{"first_audio", "bundled model "}, {"first_audio_2b", "2B shape "}},
       0,
       "from the end of a spoken question to the first sound of its answer, without the silence that ends a turn"},
      {"server binary", "server", kRunServer, {{"stripped_bytes", ""}}, 1, "1bit-server without symbols"},
      {"live tok/s (tokps_recent)",
       "server",
       kRunServer,
       {{"eight_streams", "eight streams: "}},
       1,
       "a running 1bit-server tells tokens of the last 10 s at /metrics as tokps_recent; the figure is what its "
       "clients "
       "counted"},
      {"bytes that a token reads",
       "roofline",
       kRunRoofline,
       {{"token_bytes_t1_6_64", "t1_6 "}, {"token_bytes_t2_64", "t2 "}},
       1,
       "by packing, after 64 positions, f16 KV: decode is these bytes over the bandwidth"},
  };
  return kRows;
}

class Builder {
 public:
  Builder(const ReportInput& input, ReportBase base) : in_(input), base_(std::move(base)) {}

  ReportSource source(const Record& record) const {
    const auto file = record.name + ".json";
    return {file, percent_encoded(in_.records_link + "/" + file), describe(record), stale_text(record, base_)};
  }

  ReportRow row(const RowSpec& spec) const {
    ReportRow row{spec.title, spec.missing, spec.meaning, {}, {}};
    const auto* record = find_record(in_.records, spec.record);
    if (record == nullptr) return row;
    std::string value;
    for (const auto& part : spec.parts) {
      const auto* metric = record->metric(part.metric);
      if (metric == nullptr) continue;
      value += (value.empty() ? "" : ", ") + std::string(part.label) + figure(*metric, spec.digits);
      row.figures.push_back(*metric);
    }
    return finished(std::move(row), *record, std::move(value));
  }

  ReportRow reference_perplexity() const {
    ReportRow row{
        "perplexity, gen-1 (reference engine)",
        kRunPerplexity,
        "the same text by the oracle; where it is too slow for the whole text, how far gen-2 is from it in some "
        "windows",
        {},
        {}};
    const auto* record = find_record(in_.records, "ppl-gen2");
    if (record == nullptr) return row;
    const auto& results = *record->results;
    // Beside gen-2's figure of the whole text, one of a few windows needs to be told apart from it.
    const auto* delta = record->metric("delta_nll");
    const auto apart = delta == nullptr ? std::string() : fmt::format("{:g} nats from gen-2 at most", delta->value);
    const auto& configurations = member(results, "configurations");
    for (size_t i = 0; configurations.is_array() && i < configurations.size(); ++i) {
      const auto& c = configurations[i];
      const auto engine = text_cell(member(c, "engine"));
      const auto perplexity = number_of(member(c, "token_perplexity"));
      if ((engine != "reference" && engine != "gen-1") || !perplexity) continue;
      row.figures.push_back({"perplexity_gen1", *perplexity, "perplexity", {}});
      return finished(std::move(row), *record,
                      fmt::format("{:.4f} in {} windows of it ({} KV){}", *perplexity, text_cell(member(c, "windows")),
                                  text_cell(member(c, "kv")), apart.empty() ? "" : ", " + apart + " there"));
    }
    const auto windows = number_of(member(results, "windows_by_both"));
    if (delta == nullptr || !windows) return finished(std::move(row), *record, "");
    row.figures.push_back(*delta);
    return finished(std::move(row), *record, fmt::format("{}, in {:.0f} windows", apart, *windows));
  }

  ReportRow burn_in() const {
    ReportRow row{"burn-in, exact answers",
                  kRunBurnIn,
                  "two engines answer the same prompts all day; a round is exact where every byte is the same",
                  {},
                  {}};
    const auto* record = find_record(in_.records, "burnin");
    if (record == nullptr) return row;
    const auto rate = number_of(member(*record->results, "exact_rate"));
    const auto rounds = number_of(member(*record->results, "rounds"));
    const auto exact = number_of(member(*record->results, "exact"));
    if (!rate || !rounds || !exact) return finished(std::move(row), *record, "");
    row.figures = {
        {"exact_rate", *rate, "fraction", {}}, {"rounds", *rounds, "count", {}}, {"exact", *exact, "count", {}}};
    const auto unreachable = number_of(member(*record->results, "unreachable")).value_or(0);
    const auto silent =
        unreachable > 0 ? fmt::format("; {:.0f} more not answered by both", unreachable) : std::string();
    // Never rounded up: 100 is said where every round was exact.
    return finished(std::move(row), *record,
                    fmt::format("{:.2f} % ({:.0f} of {:.0f} rounds{})", std::floor(*rate * 10000) / 100, *exact,
                                *rounds - unreachable, silent));
  }

  ReportRow tests() const {
    ReportRow row{
        "tests", kRunTests, "of the last full run of each stage: suites under four builds, fuzzing, checks", {}, {}};
    if (in_.stages.empty()) return row;
    uint64_t passed = 0, failed = 0, skipped = 0;
    size_t elsewhere = 0;
    std::set<std::string> commits;
    std::string failing, newest;
    for (const auto& stage : in_.stages) {
      passed += stage.passed;
      failed += stage.failed;
      skipped += stage.skipped;
      if (stage.failed > 0) failing += (failing.empty() ? "" : ", ") + stage.name;
      commits.insert(stage.commit);
      newest = std::max(newest, stage.date);
      elsewhere += !base_.commit.empty() && !same_commit(stage.commit, base_.commit);
    }
    row.value = fmt::format("{} passed, {} failed{}, {} skipped", passed, failed,
                            failing.empty() ? "" : " (" + failing + ")", skipped);
    const auto counted = [](const char* name, uint64_t n) { return Metric{name, static_cast<double>(n), "count", {}}; };
    row.figures = {counted("passed", passed), counted("failed", failed), counted("skipped", skipped)};
    row.source = ReportSource{
        "full.json", percent_encoded(in_.tests_link),
        fmt::format("{} stages, commits: {}, newest {}", in_.stages.size(), commits.size(), newest.substr(0, 10)),
        elsewhere > 0 ? fmt::format("{} of {} stages of other commits", elsewhere, in_.stages.size()) : ""};
    return row;
  }

 private:
  /// An empty value: the record does not tell.
  ReportRow finished(ReportRow row, const Record& record, std::string value) const {
    if (value.empty()) {
      row.value += " again; the record there does not tell";
      return row;
    }
    row.value = std::move(value);
    row.source = source(record);
    return row;
  }

  const ReportInput& in_;
  ReportBase base_;
};

/// The newest record's commit and machine; never those of a GPU's.
ReportBase newest_of(const std::vector<Record>& records) {
  const Record* newest = nullptr;
  for (const auto& record : records)
    if (!of_a_gpu_machine(record) && (newest == nullptr || record.date >= newest->date)) newest = &record;
  if (newest == nullptr) return {};
  return {newest->commit, newest->date, newest->machine.cpu, newest->machine.cores};
}

}  // namespace

Report build_report(const ReportInput& input) {
  Report report;
  report.base = input.base ? *input.base : newest_of(input.records);
  const Builder builder(input, report.base);
  for (const auto& spec : simple_rows()) {
    report.rows.push_back(builder.row(spec));
    if (std::string_view(spec.title).starts_with("perplexity")) {
      report.rows.push_back(builder.reference_perplexity());
      report.rows.push_back(builder.burn_in());
    }
    if (std::string_view(spec.title).starts_with("voice")) report.rows.push_back(builder.tests());
  }
  report.sections = report_sections(input.records, [&](const Record& record) { return builder.source(record); });
  report.plots = report_plots(input.records);
  return report;
}

}  // namespace onebit
