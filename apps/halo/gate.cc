#include <fmt/format.h>

#include "burnin/gate.h"
#include "halo/commands.h"
#include "halo/common.h"

namespace onebit::halo {
namespace {

struct GateArguments {
  std::string thresholds, log, ppl_a, ppl_b;
};

/// Whether all thresholds hold.
Result<bool> gate(const GateArguments& a) {
  ASSIGN_OR_RETURN(const auto thresholds, burnin::read_thresholds(a.thresholds));
  std::optional<burnin::PerplexityPair> ppl;
  if (!a.ppl_a.empty()) {
    ASSIGN_OR_RETURN(ppl, burnin::compare_perplexity(a.ppl_a, a.ppl_b));
  }
  std::optional<burnin::Stats> stats;
  if (!a.log.empty()) {
    ASSIGN_OR_RETURN(stats, burnin::read_stats(a.log));
  }
  bool all = true;
  for (const auto& check : burnin::check(thresholds, ppl, stats)) {
    fmt::print("{}  {}\n", check.passed ? "pass" : "FAIL", check.reason);
    all = all && check.passed;
  }
  fmt::print("{}\n", all ? "passed" : "failed");
  return all;
}

}  // namespace

void add_gate(CLI::App& app, int& exit_code) {
  auto a = std::make_shared<GateArguments>();
  auto* command = app.add_subcommand("gate", "May the new engine take over? Exit code 0: yes, 1: no");
  command->add_option("thresholds", a->thresholds, "A TOML file (docs/burnin.md)")->required()->type_name("FILE");
  command->add_option("--log", a->log, "The burn-in's log")->type_name("FILE");
  auto* old_one = command->add_option("--ppl-a", a->ppl_a, "halo ppl --json of the engine that is trusted");
  auto* new_one = command->add_option("--ppl-b", a->ppl_b, "and of the one that is to prove itself");
  old_one->needs(new_one)->type_name("FILE");
  new_one->needs(old_one)->type_name("FILE");
  command->callback([a, &exit_code] {
    const auto passed = gate(*a);
    if (!passed)
      exit_code = report(passed.error());
    else if (!*passed)
      exit_code = 1;
  });
}

}  // namespace onebit::halo
