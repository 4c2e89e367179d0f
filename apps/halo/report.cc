#include "eval/report.h"

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/atomic_file.h"
#include "base/mapped_file.h"
#include "base/thread_pool.h"
#include "base/utf8.h"
#include "halo/commands.h"
#include "halo/common.h"
#include "version.h"

namespace onebit::halo {
namespace {

namespace fs = std::filesystem;

struct ReportArguments {
  std::string records, tests, format = "md", output, check, against;
};

/// This program and this machine.
ReportBase own_base() {
  ReportBase base;
  base.commit = kCommit;
  base.cores = available_processors();
  constexpr std::string_view kName = "model name";
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    const auto colon = line.find(": ");
    if (!line.starts_with(kName) || colon == std::string::npos) continue;
    base.cpu = line.substr(colon + 2);
    break;
  }
  return base;
}

/// A page is compared with the newest record, so that it depends on the records alone; what is shown on the terminal
/// with this program.
Result<std::optional<ReportBase>> base_of(const ReportArguments& a) {
  const bool page = !a.output.empty() || !a.check.empty();
  const auto against = !a.against.empty() ? a.against : page ? "newest" : "own";
  if (against == "newest" || (against == "own" && *kCommit == 0)) return std::optional<ReportBase>();
  auto base = own_base();
  if (against == "own") return base;
  if (against.size() < 7 || against.size() > 40 || against.find_first_not_of("0123456789abcdef") != std::string::npos)
    return fail("--against: '{}' is not 'newest', 'own' or 7 to 40 hexadecimal digits of a commit", printable(against));
  base.commit = against;
  return base;
}

/// From the page's folder, or the current one, to a file.
std::string link_to(const fs::path& target, const std::string& page) {
  std::error_code ignored;
  const auto from =
      fs::weakly_canonical(fs::absolute(page.empty() ? fs::path("x") : fs::path(page)), ignored).parent_path();
  return fs::weakly_canonical(fs::absolute(target), ignored).lexically_relative(from).generic_string();
}

Result<ReportInput> read_input(const ReportArguments& a) {
  const char* folder = std::getenv("HALO_OUTPUT_DIR");
  const auto records = !a.records.empty()                  ? a.records
                       : folder != nullptr && *folder != 0 ? folder
                                                           : "benchmarks/records";
  std::error_code ignored;
  if (!fs::is_directory(records, ignored))
    return fail("{}: there is no such folder: give --records, or run this in the checkout", records);
  const auto tests = !a.tests.empty() ? a.tests : records + "/../../tests/records/full.json";
  const auto page = a.output.empty() ? a.check : a.output;
  ReportInput input;
  ASSIGN_OR_RETURN(input.records, read_records(records));
  if (!a.tests.empty() || fs::exists(tests, ignored)) {
    ASSIGN_OR_RETURN(input.stages, read_test_stages(tests));
  }
  input.records_link = link_to(records, page);
  input.tests_link = link_to(tests, page);
  ASSIGN_OR_RETURN(input.base, base_of(a));
  return input;
}

Status write(const std::string& path, const std::string& text) {
  ASSIGN_OR_RETURN(auto file, AtomicFile::create(path));
  RETURN_IF_ERROR(file.write(std::as_bytes(std::span(text))));
  return file.commit();
}

/// An error that names the first line at which the file is not `text`.
Status check(const std::string& path, const std::string& text) {
  ASSIGN_OR_RETURN(const auto found, read_text_file(path, size_t{64} << 20));
  if (found == text) return {};
  const auto differ = std::mismatch(found.begin(), found.end(), text.begin(), text.end()).first;
  return fail("{}: line {} is not what the records give; write it again with halo report -o", path,
              std::count(found.begin(), differ, '\n') + 1);
}

Status report_on(const ReportArguments& a) {
  ASSIGN_OR_RETURN(const auto input, read_input(a));
  const auto built = build_report(input);
  const auto text = a.format == "html"   ? report_html(built)
                    : a.format == "json" ? report_json(built)
                                         : report_markdown(built);
  if (!a.check.empty()) return check(a.check, text);
  if (!a.output.empty()) return write(a.output, text);
  fmt::print("{}", text);
  return {};
}

}  // namespace

void add_report(CLI::App& app, int& exit_code) {
  auto a = std::make_shared<ReportArguments>();
  auto* command = app.add_subcommand("report", "A page of what the benchmarks recorded: Markdown, HTML or JSON");
  command->add_option("--records", a->records, "Folder of records; $HALO_OUTPUT_DIR or benchmarks/records where absent")
      ->type_name("FOLDER");
  command->add_option("--tests", a->tests, "Record of the full test run; tests/records/full.json of the same checkout")
      ->type_name("FILE");
  command->add_option("--format", a->format, "md, html (with plots; loads nothing) or json")
      ->check(CLI::IsMember({"md", "html", "json"}))
      ->capture_default_str();
  auto* output = command->add_option("-o,--output", a->output, "The file to write; standard output where absent")
                     ->type_name("FILE");
  command->add_option("--check", a->check, "Write nothing; fail where this file is not what would be written")
      ->type_name("FILE")
      ->excludes(output);
  command
      ->add_option(
          "--against", a->against,
          "Mark records of another commit or machine than: newest (the newest record's; the default for files), "
          "own (this program's, on this machine; the default on the terminal), or a commit here")
      ->type_name("WHAT");
  command->callback([a, &exit_code] {
    if (auto status = report_on(*a); !status) exit_code = report(status.error());
  });
}

}  // namespace onebit::halo
