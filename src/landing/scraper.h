// Asks 1bit-server for its metrics, for everybody who wants them: at most once a second, and one request at a time.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <tl/expected.hpp>

#include "landing/broadcast.h"
#include "landing/lookup.h"
#include "landing/stats.h"
#include "landing/target.h"

namespace onebit::landing {

class Scraper {
 public:
  static constexpr std::chrono::milliseconds kCache{1000};
  static constexpr std::chrono::milliseconds kTime{2000};  // for a whole answer, with the look-up
  static constexpr uint64_t kMostBytes = 4 << 20;          // of an answer

  /// `key_file`: the key in it (key_file.h) is sent as a bearer token; empty: none is.
  Scraper(asio::io_context& io, Target target, std::string key_file);

  /// After it, latest() is not null and was under a second old at some moment since the call. Throws std::bad_alloc.
  asio::awaitable<void> refresh();
  const std::shared_ptr<const Scrape>& latest() const { return latest_; }
  uint64_t scrapes() const { return scrapes_; }
  uint64_t failures() const { return failures_; }

 private:
  using Clock = std::chrono::steady_clock;
  /// The metrics' text, or why there is none.
  asio::awaitable<tl::expected<std::string, std::string>> ask();
  asio::awaitable<std::string> find_server(Clock::time_point deadline);
  std::string host() const;
  void take(const tl::expected<std::string, std::string>& answer);

  asio::io_context& io_;
  Target target_;
  std::string key_file_;
  Lookup lookup_;
  Lookup::Addresses endpoints_;
  Clock::time_point looked_up_ = Clock::time_point::min(), taken_{}, seen_{};  // seen_: when the server was up last
  std::shared_ptr<const Scrape> latest_;
  bool under_way_ = false;
  Wakeup done_;
  uint64_t scrapes_ = 0, failures_ = 0;
};

}  // namespace onebit::landing
