// The state of a Landing, all of it of one thread; its routes are in routes.cc.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "landing/broadcast.h"
#include "landing/landing.h"
#include "landing/numbers_page.h"
#include "landing/scraper.h"
#include "landing/services.h"
#include "landing/stats.h"

namespace onebit::landing {

namespace beast = boost::beast;
using Clock = std::chrono::steady_clock;

/// Counts one more for as long as it lives.
class Hold {
 public:
  explicit Hold(uint64_t& number) : number_(number) { ++number_; }
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;
  ~Hold() { --number_; }

 private:
  uint64_t& number_;
};

inline std::string plain_error(const server::ApiError& error) {
  return error.json();
}
inline server::ErrorForm plain_form(std::string_view) {
  return plain_error;
}

struct Landing::Impl {
  Impl(LandingOptions o, std::function<void(const std::string&)> l);

  asio::awaitable<void> accept();
  asio::awaitable<void> serve(beast::tcp_stream stream);
  asio::awaitable<void> tick();
  asio::awaitable<void> tick_services();
  void publish();

  asio::awaitable<void> answer(server::Connection& connection);
  asio::awaitable<void> route(server::Connection& connection);
  asio::awaitable<void> watch_stats(server::Connection& connection, bool with_services);
  asio::awaitable<void> watch_units(server::Connection& connection);
  asio::awaitable<void> send_file(server::Connection& connection, const WebFile& file);
  asio::awaitable<void> send_numbers(server::Connection& connection);
  asio::awaitable<void> send_head(server::Connection& connection, const char* type);
  std::string metrics_text() const;
  std::string health_json() const;
  const WebFile* file_at(std::string_view path) const;

  LandingOptions options;
  std::function<void(const std::string&)> log;
  uint64_t connections = 0, viewers = 0;  // viewers: of /_live/stats
  asio::io_context io{1};
  asio::ip::tcp::acceptor acceptor;
  asio::steady_timer accept_timer, tick_timer, services_timer;
  Scraper scraper;
  BurninLog burnin;
  NumbersPage numbers;
  History history;
  bool server_up = false;
  ServiceFeed services;
  std::optional<std::string> power_profile;  // as the daemon that sets it says
  Wakeup viewer_came, stats_changed, services_changed;
  uint64_t stats_number = 0;  // of the newest event; 0: there was none
  Clock::time_point stats_time{};
  std::shared_ptr<const std::string> stats_text, first_text;  // it; with what a new viewer needs before it
};

}  // namespace onebit::landing
