// What /_live/stats says, as JSON (docs/live.md).
#pragma once

#include <deque>
#include <optional>
#include <string>

#include "landing/burnin_rate.h"
#include "landing/facts.h"
#include "landing/machine.h"

namespace onebit::landing {

/// One look at the server. Times are seconds since 1970.
struct Scrape {
  double time = 0;  // when its answer was there, or was given up
  bool up = false;
  ServerFacts facts;                // of one that is up
  std::string error;                // of one that is not: a sentence
  std::optional<double> last_seen;  // when it was up last; its own time where it is
  double last_seen_age = 0;         // seconds since then, by a clock that nobody sets; where there is a last_seen
};

struct Stats {
  Scrape scrape;
  MachineFacts machine;
  std::optional<BurninRate> burnin;
  bool numbers = false;  // there is a page of them
};

/// One line; a source that does not exist is null.
std::string stats_json(const Stats& stats);

/// The server's speed over the last ten minutes, as far as somebody watched.
class History {
 public:
  static constexpr double kSeconds = 600;
  void add(const Scrape& scrape);
  /// [[time, tokens a second or null where the server was absent], …], oldest first.
  std::string json() const;

 private:
  struct Point {
    double time;
    std::optional<double> value;
  };
  std::deque<Point> points_;
};

}  // namespace onebit::landing
