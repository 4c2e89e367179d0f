#include "box/doctor.h"

#include <unistd.h>

#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "halo/commands.h"
#include "halo/common.h"
#include "halo/models.h"
#include "halo/terminal.h"
#include "version.h"

namespace onebit::halo {
namespace {

using box::Colour;
using nlohmann::ordered_json;

struct DoctorArguments {
  std::string model;
  double min_bandwidth = 10, min_disk = 5;
  uint32_t check_seconds = 15;
  bool json = false, quick = false;
};

/// --model, else the service's, else the one that halo takes.
void find_model(const DoctorArguments& a, box::DoctorOptions& options) {
  const auto of_service = box::read_service_settings(options.roots).model;
  if (a.model.empty() && !of_service.empty()) {
    options.model = options.roots.path(of_service);
    return;
  }
  const auto found = model_path(a.model);
  options.model = found.value_or("");
  if (!found) options.model_error = found.error().message;
}

/// The colour's name: in colour on a terminal.
std::string marked(Colour colour) {
  const auto name = fmt::format("{:<6}", name_of(colour));
  if (!wants_colour(stdout)) return name;
  const int code = colour == Colour::kGreen ? 32 : colour == Colour::kYellow ? 33 : 31;
  return fmt::format("\x1b[{}m{}\x1b[0m", code, name);
}

void print_finding(const box::Finding& finding) {
  fmt::print("{} {:<15} {}\n", marked(finding.colour), finding.check, finding.text);
  if (!finding.advice.empty()) fmt::print("{:<23}-> {}\n", "", finding.advice);
  std::fflush(stdout);
}

int doctor(const DoctorArguments& a) {
  box::DoctorOptions options{.roots = box::Roots::of_environment(),
                             .model = {},
                             .model_error = {},
                             .version = kVersion,
                             .min_bandwidth_gb_s = a.min_bandwidth,
                             .quick = a.quick,
                             .min_disk_gb = a.min_disk,
                             .now = 0,
                             .check_time = std::chrono::seconds(a.check_seconds)};
  find_model(a, options);
  auto checks = ordered_json::array();
  std::array<unsigned, 3> counts{};
  const auto tell = [&](const box::Finding& finding) {
    ++counts[static_cast<size_t>(finding.colour)];
    if (a.json)
      checks.push_back({{"check", finding.check},
                        {"colour", name_of(finding.colour)},
                        {"text", finding.text},
                        {"advice", finding.advice.empty() ? ordered_json() : ordered_json(finding.advice)}});
    else
      print_finding(finding);
  };
  const bool hangs = box::examine(options, tell);
  if (a.json) {
    const ordered_json root{
        {"version", kVersion}, {"green", counts[0]}, {"yellow", counts[1]}, {"red", counts[2]}, {"checks", checks}};
    fmt::print("{}\n", root.dump(2, ' ', false, ordered_json::error_handler_t::replace));
  } else {
    fmt::print("{} green, {} yellow, {} red\n", counts[0], counts[1], counts[2]);
  }
  const int exit_code = counts[2] > 0 ? 1 : 0;
  if (hangs) {
    std::fflush(stdout);
    ::_exit(exit_code);
  }
  return exit_code;
}

}  // namespace

void add_doctor(CLI::App& app, int& exit_code) {
  auto a = std::make_shared<DoctorArguments>();
  auto* command = app.add_subcommand("doctor", "Looks the box over: what is well, what is not, and what to do");
  command
      ->add_option("-m,--model", a->model,
                   "The model to look at, a file or a name; the service's where absent, or the bundled one")
      ->type_name("MODEL");
  command->add_option("--min-bandwidth", a->min_bandwidth, "GB/s of memory below which that is yellow")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  command->add_option("--min-disk", a->min_disk, "Free GB below which that is yellow, and below a tenth red")
      ->check(CLI::Range(0.0, 1e9))
      ->capture_default_str();
  command->add_option("--check-time", a->check_seconds, "Seconds that one check may take")
      ->check(CLI::Range(1u, 3600u))
      ->capture_default_str();
  command->add_flag("--quick", a->quick, "Leave the bandwidth out, which takes all processors for a moment");
  command->add_flag("--json", a->json, "One JSON object");
  command->footer("Green: well. Yellow: works, but could do better. Red: does not work; the exit code is then 1.");
  command->callback([a, &exit_code] { exit_code = doctor(*a); });
}

}  // namespace onebit::halo
