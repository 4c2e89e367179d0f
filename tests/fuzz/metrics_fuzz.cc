// A server's metrics of any bytes: figures that can be, or none; names that can be shown; and JSON of them on one line.
#include <cmath>
#include <cstdlib>

#include "base/utf8.h"
#include "landing/stats.h"
#include "landing/words.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace onebit::landing;
  Stats stats;
  stats.scrape.facts = facts_of({reinterpret_cast<const char*>(bytes), size});
  const auto& facts = stats.scrape.facts;
  for (const auto& value : {facts.tokens_a_second, facts.running, facts.queued, facts.kv_pages, facts.kv_pages_limit})
    if (value && !(std::isfinite(*value) && *value >= 0)) std::abort();
  double before = 0;
  for (const double at : {0.0, 0.5, 0.9, 0.99, 1.0}) {
    const auto quantile = quantile_of(facts.first_token, at);
    if (quantile && std::isnan(*quantile)) std::abort();
    if (quantile && at > 0 && *quantile < before) std::abort();
    before = quantile.value_or(before);
  }
  for (const auto& word : {facts.model, facts.version, facts.isa})
    if (!onebit::utf8_valid(word) || word.size() > 200 || fit_to_show(word) != word) std::abort();
  if (stats_json(stats).find('\n') != std::string::npos) std::abort();
  return 0;
}
