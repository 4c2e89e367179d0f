#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <ctime>

#include "base/utf8.h"
#include "burnin/run.h"
#include "burnin/stats.h"
#include "halo/commands.h"
#include "halo/common.h"
#include "halo/progress.h"

namespace onebit::halo {
namespace {

using burnin::Stats;

std::atomic<bool> stop_asked{false};
static_assert(std::atomic<bool>::is_always_lock_free);

/// The first Ctrl-C or SIGTERM lets the rounds under way end; a second one ends the program.
void stop_on_signals() {
  for (const int signal : {SIGINT, SIGTERM})
    std::signal(signal, [](int caught) {
      stop_asked = true;
      std::signal(caught, SIG_DFL);
    });
}

std::string default_log() {
  const char* folder = std::getenv("HALO_OUTPUT_DIR");
  return (folder == nullptr || *folder == '\0' ? std::string(".") : std::string(folder)) + "/burnin.jsonl";
}

double now_unix() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string time_text(double seconds) {
  const auto whole = static_cast<std::time_t>(seconds);
  std::tm utc{};
  ::gmtime_r(&whole, &utc);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S", &utc);
  return text.data();
}

double percent(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
}

/// A text that came from a model or a server, on one line and without what moves a terminal's cursor.
std::string shown(std::string_view text) {
  std::string safe;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = [&](size_t at) { return at < text.size() ? static_cast<uint8_t>(text[at]) : 0; };
    const bool c1 = byte(i) == 0xc2 && byte(i + 1) >= 0x80 && byte(i + 1) < 0xa0;
    const bool turns = byte(i) == 0xe2 && ((byte(i + 1) == 0x80 && byte(i + 2) >= 0xaa && byte(i + 2) <= 0xae) ||
                                           (byte(i + 1) == 0x81 && byte(i + 2) >= 0xa6 && byte(i + 2) <= 0xa9));
    const size_t escaped = turns ? 3 : c1 ? 2 : byte(i) < 0x20 || byte(i) == 0x7f ? 1 : 0;
    for (size_t j = 0; j < escaped; ++j) safe += fmt::format("\\x{:02x}", byte(i + j));
    if (escaped == 0) safe += text[i];
    if (escaped > 0) i += escaped - 1;
  }
  return utf8_replace_invalid(safe);
}

struct RunArguments {
  burnin::RunOptions options;
  std::string prompts;
  bool only = false;
  double every = 0, timeout = 120;
};

Status run_burnin(RunArguments& a) {
  auto& o = a.options;
  if (!a.only) o.prompts = burnin::builtin_prompts();
  if (!a.prompts.empty()) {
    ASSIGN_OR_RETURN(const auto own, burnin::read_prompts(a.prompts));
    for (const auto& prompt : own) {
      const auto same = [&](const burnin::Prompt& other) { return other.id == prompt.id; };
      if (std::any_of(o.prompts.begin(), o.prompts.end(), same))
        return fail("{}: the id '{}' is a built-in prompt's", a.prompts, prompt.id);
      o.prompts.push_back(prompt);
    }
  }
  const auto ms = [](double seconds) { return std::chrono::milliseconds(std::llround(seconds * 1000)); };
  o.every = ms(a.every);
  o.timeout = ms(a.timeout);
  stop_on_signals();
  StatusLine line;
  const auto begin = std::chrono::steady_clock::now();
  auto shown_at = begin - std::chrono::hours(1);
  const auto progress = [&](const burnin::Round& round, const burnin::RunResult& so_far) {
    const auto now = std::chrono::steady_clock::now();
    if (now - shown_at < std::chrono::seconds(1) && round.verdict == burnin::Verdict::kExact) return;
    shown_at = now;
    const double seconds = std::chrono::duration<double>(now - begin).count();
    line.show(fmt::format(
        "round {}: {} of {} exact, {:.1f} a second{}{}", round.number, so_far.exact, so_far.rounds,
        static_cast<double>(so_far.rounds) / seconds,
        round.verdict == burnin::Verdict::kExact ? "" : fmt::format("; {} {}", name_of(round.verdict), round.prompt),
        round.error.empty() ? "" : ": " + shown(round.error)));
  };
  ASSIGN_OR_RETURN(const auto result, burnin::run(o, stop_asked, progress));
  if (result.repaired_bytes > 0)
    fmt::print(stderr, "{}: {} bytes of a round that was not finished were cut off\n", o.log, result.repaired_bytes);
  fmt::print("{} rounds, {} exact ({:.3f} %), in {}\n", result.rounds, result.exact,
             percent(result.exact, result.rounds), o.log);
  return {};
}

void print_stats(const Stats& s) {
  fmt::print("rounds          {} ({} prompts), {} to {} UTC\n", s.rounds, s.prompts.size(), time_text(s.first_time),
             time_text(s.last_time));
  for (size_t i = 0; i < burnin::kVerdicts; ++i)
    fmt::print("{:<15} {} ({:.3f} %)\n", name_of(static_cast<burnin::Verdict>(i)), s.by_verdict[i],
               percent(s.by_verdict[i], s.rounds));
  fmt::print("exact rate      {:.3f} % of the rounds that both answered\n", 100 * s.exact_rate());
  const auto gap = [&](double q) { return s.b.quantile(q) - s.a.quantile(q); };
  fmt::print(
      "latency         A p50 {:.1f} ms, p95 {:.1f} ms; B p50 {:.1f} ms, p95 {:.1f} ms; gap {:+.1f} ms, {:+.1f} ms\n",
      s.a.quantile(0.5), s.a.quantile(0.95), s.b.quantile(0.5), s.b.quantile(0.95), gap(0.5), gap(0.95));
  if (s.misses() > 0) fmt::print("median prefix   {} bytes agree in the rounds that differ\n", s.median_prefix());
  const auto names = s.drifting();
  for (size_t i = 0; i < std::min<size_t>(5, names.size()); ++i)
    fmt::print("{}{:<20} {} misses, {:.1f} % of all\n", i == 0 ? "top misses      " : "                ",
               shown(names[i]), s.prompts.at(names[i]).misses, percent(s.prompts.at(names[i]).misses, s.misses()));
  if (s.damaged_lines > 0) fmt::print("damaged lines   {} (left out)\n", s.damaged_lines);
}

void print_drift(const Stats& s) {
  const auto names = s.drifting();
  if (names.empty()) fmt::print("no drift: {} rounds, none differs\n", s.rounds - s.unreachable());
  for (const auto& name : names) {
    const auto& p = s.prompts.at(name);
    fmt::print("{}: {} of {} rounds differ, {:.1f} % of all misses\n", shown(name), p.misses, p.rounds,
               percent(p.misses, s.misses()));
    if (!p.last_miss) continue;
    const auto& last = *p.last_miss;
    fmt::print("  last in round {} ({} UTC), {} of {} bytes agree\n", last.number, time_text(last.time), last.prefix,
               last.bytes);
    if (const auto& d = last.divergence)
      fmt::print("  token {}: A '{}' ({:.9g}), B '{}' ({:.9g})\n", d->token, shown(d->a.token), d->a.logprob,
                 shown(d->b.token), d->b.logprob);
    fmt::print("  A: {}\n  B: {}\n", shown(last.a_text), shown(last.b_text));
  }
}

void print_recent(const std::vector<burnin::Round>& rounds) {
  for (const auto& r : rounds)
    fmt::print("{} {:>8} {:<14} {:<20} A {:7.1f} ms  B {:7.1f} ms{}{}\n", time_text(r.time), r.number,
               name_of(r.verdict), shown(r.prompt), r.a_ms, r.b_ms, r.error.empty() ? "" : "  ", shown(r.error));
}

struct LookArguments {
  std::string log = default_log();
  std::string since;
  size_t count = 20;
  bool json = false;
};

Result<Stats> look(const LookArguments& a) {
  double since = 0;
  if (!a.since.empty()) {
    ASSIGN_OR_RETURN(since, burnin::parse_when(a.since, now_unix()));
  }
  return burnin::read_stats(a.log, since);
}

Status show(const LookArguments& a, void (*print)(const Stats&)) {
  ASSIGN_OR_RETURN(const auto stats, look(a));
  if (a.json)
    fmt::print("{}\n", burnin::to_json(stats));
  else
    print(stats);
  return {};
}

Status show_recent(const LookArguments& a) {
  ASSIGN_OR_RETURN(const auto rounds, burnin::recent(a.log, a.count));
  if (!a.json) print_recent(rounds);
  for (size_t i = 0; a.json && i < rounds.size(); ++i) fmt::print("{}\n", to_line(rounds[i]));
  return {};
}

void add_burnin_run(CLI::App& parent, int& exit_code) {
  auto a = std::make_shared<RunArguments>();
  a->options.log = default_log();
  auto& o = a->options;
  auto* command = parent.add_subcommand("run", "Ask both, round after round, going on where the log ends");
  command->add_option("--a", o.a, "The endpoint that is trusted")->required()->type_name("URL");
  command->add_option("--b", o.b, "The endpoint that is to prove itself")->required()->type_name("URL");
  command->add_option("--a-key", o.a_key, "API key of A")->envname("HALO_A_KEY")->type_name("KEY");
  command->add_option("--b-key", o.b_key, "API key of B")->envname("HALO_B_KEY")->type_name("KEY");
  command->add_option("--log", o.log, "Where rounds are kept, a line each")->capture_default_str()->type_name("FILE");
  command->add_option("--prompts", a->prompts, "A file of further prompts (docs/burnin.md)")->type_name("FILE");
  command->add_flag("--only", a->only, "Only the prompts of that file")->needs("--prompts");
  command->add_option("-n,--rounds", o.rounds, "Rounds to run; 0: until Ctrl-C")->capture_default_str();
  command->add_option("--parallel", o.parallel, "Rounds under way at once")
      ->check(CLI::Range(1u, 256u))
      ->capture_default_str();
  command->add_option("--every", a->every, "Seconds at least from one round to the next")
      ->check(CLI::Range(0.0, 86400.0))
      ->capture_default_str();
  command->add_option("--timeout", a->timeout, "Seconds for an answer")
      ->check(CLI::Range(0.001, 86400.0))
      ->capture_default_str();
  command->add_option("--max-tokens", o.max_tokens, "Tokens of an answer, at most; 0: what the prompts say")
      ->capture_default_str();
  command->add_flag("--logprobs", o.logprobs,
                    "Ask for log-probabilities, which must then be equal too: a stricter test than the text");
  command->callback([a, &exit_code] {
    if (auto status = run_burnin(*a); !status) exit_code = report(status.error());
  });
}

/// A command that reads the log; `more` adds its own options.
template <class Show, class More>
void add_look(CLI::App& parent, const char* name, const char* help, int& exit_code, Show show_it, More more) {
  auto a = std::make_shared<LookArguments>();
  auto* command = parent.add_subcommand(name, help);
  command->add_option("--log", a->log, "The log")->capture_default_str()->type_name("FILE");
  command->add_flag("--json", a->json, "As JSON");
  more(*command, *a);
  command->callback([a, show_it, &exit_code] {
    if (auto status = show_it(*a); !status) exit_code = report(status.error());
  });
}

}  // namespace

void add_burnin(CLI::App& app, int& exit_code) {
  auto* burnin = app.add_subcommand("burnin", "The same questions to two servers: do they answer alike?");
  burnin->require_subcommand(1);
  add_burnin_run(*burnin, exit_code);
  const auto since = [](CLI::App& command, LookArguments& a) {
    command.add_option("--since", a.since, "Only rounds since WHEN: 90m, 24h, 7d, 2026-11-23")->type_name("WHEN");
  };
  const auto stats = [](const LookArguments& a) { return show(a, print_stats); };
  add_look(*burnin, "stats", "Rates, latencies, top misses", exit_code, stats, since);
  add_look(
      *burnin, "drift", "Every prompt whose answers differ, and where", exit_code,
      [](const LookArguments& a) { return show(a, print_drift); }, since);
  add_look(*burnin, "recent", "The last rounds", exit_code, show_recent, [](CLI::App& command, LookArguments& a) {
    command.add_option("-n", a.count, "How many")->check(CLI::Range(size_t{1}, size_t{100000}))->capture_default_str();
  });
  add_look(*burnin, "since", "The statistics since a time", exit_code, stats, [](CLI::App& command, LookArguments& a) {
    command.add_option("when", a.since, "90m, 24h, 7d, 2026-11-23 or 2026-11-23T14:00 (UTC)")->required();
  });
}

}  // namespace onebit::halo
