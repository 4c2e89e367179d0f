#include "box/power.h"

#include <atomic>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/sensors.h"
#include "burnin/run.h"
#include "eval/energy.h"
#include "halo/commands.h"
#include "halo/common.h"

namespace onebit::halo {
namespace {

using box::Roots;
using nlohmann::ordered_json;

struct PowerArguments {
  std::string profile, file;
  bool dry_run = false, json = false, no_undervolt = false;
};

std::atomic<bool> power_stop{false};

/// Between two limits nothing may stop; a burn-in ends after the rounds under way.
void hold_signals() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) std::signal(signal, [](int) { power_stop = true; });
}

/// Both servers asked the same, log-probabilities too, until the first answer that is not exact.
Result<bool> burn_in(const box::Undervolt& recipe, const std::string& log) {
  std::error_code ignored;
  std::filesystem::remove(log, ignored);
  burnin::RunOptions options;
  options.a = recipe.a;
  options.b = recipe.b;
  options.log = log;
  options.prompts = burnin::builtin_prompts();
  options.rounds = recipe.rounds;
  options.parallel = 2;  // so that several cores work at once
  options.logprobs = true;
  std::string unreachable;
  const auto progress = [&](const burnin::Round& round, const burnin::RunResult&) {
    if (round.verdict != burnin::Verdict::kExact) power_stop = true;
    if (!round.error.empty()) unreachable = round.error;
  };
  fmt::print("burn-in: {} rounds of {} against {}\n", recipe.rounds, recipe.b, recipe.a);
  std::fflush(stdout);
  ASSIGN_OR_RETURN(const auto result, burnin::run(options, power_stop, progress));
  if (!unreachable.empty()) return fail("the burn-in had no answer to compare: {}", unreachable);
  if (result.exact == result.rounds && result.rounds < recipe.rounds)
    return fail("the burn-in was ended after {} of {} rounds", result.rounds, recipe.rounds);
  fmt::print("burn-in: {} of {} rounds exact ({})\n", result.exact, result.rounds, log);
  return result.exact == recipe.rounds;
}

/// --profiles, else the box's own file, else none.
std::string profiles_file(const PowerArguments& a, const Roots& roots) {
  if (!a.file.empty()) return a.file;
  const auto own = roots.path("/etc/1bit/power.toml");
  std::error_code error;
  return std::filesystem::exists(own, error) ? own : std::string();
}

ordered_json json_of(const box::PowerLimits& limits) {
  return {{"stapm_w", limits.stapm_mw / 1e3},
          {"fast_w", limits.fast_mw / 1e3},
          {"slow_w", limits.slow_mw / 1e3},
          {"tctl_c", limits.tctl_c}};
}

template <class Value>
ordered_json value_or_null(const std::optional<Value>& value) {
  return value ? ordered_json(*value) : ordered_json();
}

/// All that is known of this machine's power now.
ordered_json power_now(const Roots& roots) {
  const auto state = box::read_power_state(roots);
  const auto limits = box::read_limits();
  const auto power = read_power(roots.path("/sys"), kNvmlLibrary, std::chrono::milliseconds(200));
  const auto platform = read_sensors(roots.path("/sys")).platform_profile;
  const auto own = state.profile.empty() ? std::nullopt : std::optional("halo " + state.profile);
  ordered_json root;
  root["profile"] = state.profile.empty() ? ordered_json() : ordered_json(state.profile);
  root["platform_profile"] = value_or_null(platform);
  root["power_profile"] = value_or_null(own ? own : platform);  // as records have it
  root["limits"] = limits ? json_of(*limits) : state.profile.empty() ? ordered_json() : json_of(state.limits);
  root["limits_from"] = limits ? ordered_json("ryzenadj") : state.profile.empty() ? ordered_json() : "as set";
  root["changed_since"] = limits && !state.profile.empty() && *limits != state.limits;
  root["undervolt"] = state.curve_all == 0
                          ? ordered_json()
                          : ordered_json{{"curve_all", state.curve_all}, {"checked", state.undervolt_checked}};
  root["cpu_temperature_c"] = value_or_null(power.cpu_celsius);
  root["gpu_temperature_c"] = value_or_null(power.gpu_celsius);
  root["power"] = ordered_json::array();
  for (const auto& reading : power.readings)
    root["power"].push_back({{"what", reading.what}, {"source", reading.source}, {"watts", reading.watts}});
  root["ryzenadj"] = box::find_program("ryzenadj").has_value();
  return root;
}

std::string celsius_text(const ordered_json& value) {
  return value.is_null() ? "unknown" : fmt::format("{:.1f} °C", value.get<double>());
}

void print_power(const ordered_json& now, const std::vector<box::PowerProfile>& profiles) {
  const auto word = [](const ordered_json& value) { return value.is_null() ? "none" : value.get<std::string>(); };
  fmt::print(
      "profile       {}{}\n", word(now["profile"]),
      now["platform_profile"].is_null() ? "" : fmt::format(" (the platform's: {})", word(now["platform_profile"])));
  if (const auto& limits = now["limits"]; !limits.is_null())
    fmt::print("limits        STAPM {:g} W, fast {:g} W, slow {:g} W, Tctl {} °C ({})\n",
               limits["stapm_w"].get<double>(), limits["fast_w"].get<double>(), limits["slow_w"].get<double>(),
               limits["tctl_c"].get<int>(), now["limits_from"] == "ryzenadj" ? "in force" : "as they were set");
  else
    fmt::print("limits        unknown\n");
  if (now["changed_since"].get<bool>())
    fmt::print("              not the profile's: something else set them since, or the firmware rounds\n");
  if (const auto& undervolt = now["undervolt"]; !undervolt.is_null())
    fmt::print("undervolt     {} counts{}\n", undervolt["curve_all"].get<int>(),
               undervolt["checked"].get<bool>() ? "" : ", NOT CHECKED: its burn-in did not end; set a profile anew");
  fmt::print("temperatures  processor {}, GPU {}\n", celsius_text(now["cpu_temperature_c"]),
             celsius_text(now["gpu_temperature_c"]));
  std::string watts;
  for (const auto& reading : now["power"])
    watts += fmt::format("{}{} {:.1f} W ({})", watts.empty() ? "" : ", ", reading["what"].get<std::string>(),
                         reading["watts"].get<double>(), reading["source"].get<std::string>());
  fmt::print("power         {}\n", watts.empty() ? "nothing tells, or only root is told" : watts);
  for (const auto& profile : profiles)
    fmt::print("{:<13} {}{}{}\n", profile.name, text_of(profile.limits),
               profile.undervolt ? fmt::format(", undervolt {} counts", profile.undervolt->curve_all) : "",
               profile.about.empty() ? "" : ": " + profile.about);
}

void tell_no_ryzenadj() {
  fmt::print(
      stderr,
      "there is no ryzenadj on $PATH: nothing was set; the program (github.com/FlyGoat/RyzenAdj) sets limits of AMD "
      "processors\n");
}

Status set_power(const PowerArguments& a, const std::vector<box::PowerProfile>& profiles, const Roots& roots) {
  auto profile = *std::find_if(profiles.begin(), profiles.end(),
                               [&](const box::PowerProfile& candidate) { return candidate.name == a.profile; });
  if (a.no_undervolt) profile.undervolt.reset();
  const bool there = box::find_program("ryzenadj").has_value();
  if (a.dry_run) {
    for (const auto& call : box::planned_calls(profile, roots)) fmt::print("{}\n", box::command_line(call));
    if (profile.undervolt)
      fmt::print("# then a burn-in of {} rounds; an answer that is not exact takes the undervolt back\n",
                 profile.undervolt->rounds);
  }
  if (!there) tell_no_ryzenadj();
  if (a.dry_run || !there) return {};
  hold_signals();
  const auto log = roots.path("/run/halo/undervolt-burnin.jsonl");
  const auto say = [](const std::string& line) {
    fmt::print("{}\n", line);
    std::fflush(stdout);
  };
  RETURN_IF_ERROR(
      box::set_profile(profile, {roots, say, [&](const box::Undervolt& recipe) { return burn_in(recipe, log); }}));
  fmt::print("{}: {}\n", profile.name, text_of(profile.limits));
  return {};
}

Status power(const PowerArguments& a) {
  const auto roots = Roots::of_environment();
  ASSIGN_OR_RETURN(const auto profiles, box::load_profiles(profiles_file(a, roots)));
  if (!a.profile.empty()) return set_power(a, profiles, roots);
  const auto now = power_now(roots);
  if (a.json)
    fmt::print("{}\n", now.dump(2, ' ', false, ordered_json::error_handler_t::replace));
  else
    print_power(now, profiles);
  return {};
}

}  // namespace

void add_power(CLI::App& app, int& exit_code) {
  auto a = std::make_shared<PowerArguments>();
  auto* command = app.add_subcommand("power", "What the box may take and how warm it may get; sets a profile of both");
  auto* profile = command->add_option("profile", a->profile, "inference, chat, balanced or idle; shows where absent");
  profile->type_name("PROFILE")->check(CLI::IsMember({"inference", "chat", "balanced", "idle"}));
  command->add_flag("--dry-run", a->dry_run, "Print the calls of ryzenadj that would be made, and make none")
      ->needs(profile);
  command->add_flag("--no-undervolt", a->no_undervolt, "Leave the profile's undervolt out")->needs(profile);
  command
      ->add_option("--profiles", a->file,
                   "Profiles that take the place of those built in; /etc/1bit/power.toml where absent")
      ->type_name("FILE");
  command->add_flag("--json", a->json, "What is shown, as one JSON object")->excludes(profile);
  command->footer(
      "Limits are set through the program ryzenadj, as root: sustained (STAPM), at once (fast), over seconds (slow), "
      "and\n"
      "the temperature at which the processor slows down (Tctl). Where a call fails, those before it are undone. An\n"
      "undervolt stays only where a burn-in after it is exact in every round. A restart forgets all of it.");
  command->callback([a, &exit_code] {
    if (auto status = power(*a); !status) exit_code = report(status.error());
  });
}

}  // namespace onebit::halo
