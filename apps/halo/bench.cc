#include "eval/bench.h"

#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/thread_pool.h"
#include "halo/commands.h"
#include "halo/common.h"
#include "halo/models.h"
#include "halo/number_list.h"
#include "kernels/cpu/select.h"

namespace onebit::halo {
namespace {

struct BenchArguments {
  ModelArguments model;
  std::string prompts = "512", answers = "128", depths = "0", batches = "1", threads;
  uint32_t repetitions = 5;
  std::string output = "md";
};

/// Everything said of one test, in the order of the columns of a CSV.
nlohmann::ordered_json describe(const BenchArguments& a, const Model& model, unsigned threads, const BenchCase& c,
                                const BenchResult& r) {
  nlohmann::ordered_json row;
  const auto* kernels = *cpu::chosen_kernels();
  row["model"] = std::filesystem::path(model.file().path()).stem().string();
  row["model_bytes"] = std::filesystem::file_size(model.file().path());
  row["engine"] = model.engine_name();
  row["isa"] = model.engine_name() == "cpu" ? kernels->name : "none";
  row["threads"] = threads;
  row["kv"] = a.model.kv;
  row["head"] = a.model.head;
  row["n_prompt"] = c.prompt;
  row["n_gen"] = c.answer;
  row["n_depth"] = c.depth;
  row["n_batch"] = c.batch;
  row["avg_ts"] = r.mean();
  row["stddev_ts"] = r.deviation();
  row["median_ts"] = r.median();
  row["samples_s"] = r.seconds;
  return row;
}

std::string test_name(const BenchCase& c) {
  auto name = c.prompt > 0 ? fmt::format("pp{}", c.prompt) : fmt::format("tg{}", c.answer);
  if (c.depth > 0) name += fmt::format(" @ d{}", c.depth);
  if (c.batch > 1) name += fmt::format(" x {}", c.batch);
  return name;
}

/// Prints rows one by one as they come.
class Report {
 public:
  explicit Report(std::string format) : format_(std::move(format)) {}

  void add(const nlohmann::ordered_json& row, const BenchCase& c, const BenchResult& r) {
    if (format_ == "md") {
      if (first_)
        fmt::print("| model | isa | threads | kv | test | tok/s |\n| --- | --- | ---: | --- | --- | ---: |\n");
      fmt::print("| {} | {} | {} | {} | {} | {:.2f} ± {:.2f} |\n", row["model"].get<std::string>(),
                 row["isa"].get<std::string>(), row["threads"].get<unsigned>(), row["kv"].get<std::string>(),
                 test_name(c), r.mean(), r.deviation());
    } else if (format_ == "csv") {
      print_csv(row);
    } else {
      fmt::print("{}{}{}", format_ == "json" ? (first_ ? "[\n  " : ",\n  ") : "", row.dump(),
                 format_ == "json" ? "" : "\n");
    }
    std::fflush(stdout);
    first_ = false;
  }

  void finish() {
    if (format_ == "json") fmt::print("{}]\n", first_ ? "[" : "\n");
  }

 private:
  void print_csv(const nlohmann::ordered_json& row) const {
    std::vector<std::string> keys, values;
    for (const auto& [key, value] : row.items()) {
      if (value.is_array()) continue;
      keys.push_back(key);
      values.push_back(value.dump());
    }
    if (first_) fmt::print("{}\n", fmt::join(keys, ","));
    fmt::print("{}\n", fmt::join(values, ","));
  }

  std::string format_;
  bool first_ = true;
};

Result<std::vector<uint32_t>> numbers(const char* option, const std::string& text) {
  auto list = parse_number_list(text);
  if (!list) return fail("{}: {}", option, list.error().message);
  return list;
}

/// Prompts first, then answers, each at every depth and in every batch.
Result<std::vector<BenchCase>> cases_of(const BenchArguments& a) {
  ASSIGN_OR_RETURN(const auto prompts, numbers("-p", a.prompts));
  ASSIGN_OR_RETURN(const auto answers, numbers("-n", a.answers));
  ASSIGN_OR_RETURN(const auto depths, numbers("-d", a.depths));
  ASSIGN_OR_RETURN(const auto batches, numbers("-b", a.batches));
  std::vector<BenchCase> cases;
  for (const uint32_t depth : depths)
    for (const uint32_t batch : batches) {
      if (batch == 0) return fail("-b: a batch has at least one sequence");
      for (const uint32_t prompt : prompts)
        if (prompt > 0) cases.push_back({prompt, 0, depth, batch});
      for (const uint32_t answer : answers)
        if (answer > 0) cases.push_back({0, answer, depth, batch});
    }
  if (cases.empty()) return fail("nothing to measure: -p and -n are both 0");
  return cases;
}

Status bench(const BenchArguments& a) {
  ASSIGN_OR_RETURN(const auto cases, cases_of(a));
  ASSIGN_OR_RETURN(const auto thread_counts,
                   numbers("-t", a.threads.empty() ? std::to_string(available_processors()) : a.threads));
  Report report(a.output);
  const bool shows = ::isatty(STDERR_FILENO) != 0;
  for (const uint32_t threads : thread_counts) {
    auto arguments = a.model;
    arguments.threads = threads;
    ASSIGN_OR_RETURN(auto model, arguments.open());
    for (const auto& c : cases) {
      const auto progress = [&](uint32_t done) {
        if (shows) fmt::print(stderr, "\r\x1b[K{}: {} of {}", test_name(c), done, a.repetitions);
      };
      auto result = run_bench(model.backend(), c, a.repetitions, progress);
      if (shows) fmt::print(stderr, "\r\x1b[K");
      if (!result) return fail("{}: {}", test_name(c), result.error().message);
      report.add(describe(a, model, threads, c, *result), c, *result);
    }
  }
  report.finish();
  return {};
}

}  // namespace

void add_bench(CLI::App& app, int& exit_code) {
  auto a = std::make_shared<BenchArguments>();
  auto* command = app.add_subcommand("bench", "How fast this machine computes a model, as tables");
  const auto list = [&](const char* names, std::string& value, const char* what) {
    command->add_option(names, value, what)->type_name("LIST")->capture_default_str();
  };
  list("-p,--n-prompt", a->prompts, "Prompt lengths: tokens computed in one go");
  list("-n,--n-gen", a->answers, "Answer lengths: tokens computed one by one");
  list("-d,--n-depth", a->depths, "Positions held before");
  list("-b,--batch", a->batches, "Sequences computed together");
  a->model.add_to(*command);
  command->remove_option(command->get_option("--threads"));
  command->add_option("-t,--threads", a->threads, "Threads; as many as processors where absent")->type_name("LIST");
  command->add_option("-r,--repetitions", a->repetitions, "Measured runs of each test")
      ->check(CLI::Range(1u, 10000u))
      ->capture_default_str();
  command->add_option("-o,--output", a->output, "md, json, jsonl or csv")
      ->check(CLI::IsMember({"md", "json", "jsonl", "csv"}))
      ->capture_default_str();
  command->footer(
      "A LIST is numbers and ranges with commas between: 1,2,4  1-4  64-512+64  64-512*2.\n"
      "tok/s counts the tokens of all sequences; the mean over the repetitions ± their standard deviation. A run\n"
      "before them is not counted. pp: prompt, tg: answer, d: depth, x: batch. $HALO_ISA chooses the instruction set.");
  command->callback([a, &exit_code] {
    if (auto status = bench(*a); !status) exit_code = report(status.error());
  });
}

}  // namespace onebit::halo
