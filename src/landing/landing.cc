#include "landing/landing.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>

#include "base/service_manager.h"
#include "landing/bus_watch.h"
#include "landing/landing_impl.h"
#include "server/listen.h"

namespace onebit::landing {
namespace {

using asio::ip::tcp;
using server::kAwait;

constexpr std::chrono::milliseconds kEvery{1500};  // between two events of /_live/stats
constexpr std::chrono::seconds kSilence{15};       // between comments in /_live/services

}  // namespace

Landing::Landing(LandingOptions options, std::function<void(const std::string&)> log)
    : impl_(std::make_unique<Impl>(std::move(options), std::move(log))) {}

Landing::~Landing() = default;

Result<uint16_t> Landing::listen() {
  return server::listen_at(impl_->acceptor, impl_->options.host, impl_->options.port);
}
void Landing::run() {
  asio::co_spawn(impl_->io, impl_->accept(), asio::detached);
  asio::co_spawn(impl_->io, impl_->tick(), asio::detached);
  asio::co_spawn(impl_->io, impl_->tick_services(), asio::detached);
  const auto use = [impl = impl_.get()](ServiceState state) {
    if (!impl->services.set(std::move(state))) return;
    impl->services_changed.all();
    impl->stats_changed.all();
  };
  asio::co_spawn(impl_->io, watch_services(use), asio::detached);
  const auto use_profile = [impl = impl_.get()](std::optional<std::string> profile) {
    impl->power_profile = std::move(profile);
  };
  asio::co_spawn(impl_->io, watch_power_profile(use_profile), asio::detached);
  asio::co_spawn(impl_->io, server::tell_watchdog(), asio::detached);
  notify_manager("READY=1");
  impl_->io.run();
}
void Landing::stop() {
  notify_manager("STOPPING=1");
  impl_->io.stop();
}

Landing::Impl::Impl(LandingOptions o, std::function<void(const std::string&)> l)
    : options(std::move(o)),
      log(std::move(l)),
      acceptor(io),
      accept_timer(io),
      tick_timer(io),
      services_timer(io),
      scraper(io, options.server, options.api_key_file),
      burnin(options.burnin_log),
      numbers(options.numbers_page),
      viewer_came(io.get_executor()),
      stats_changed(io.get_executor()),
      services_changed(io.get_executor()) {}

asio::awaitable<void> Landing::Impl::accept() {
  while (true) {
    auto [error, socket] = co_await acceptor.async_accept(kAwait);
    if (error) {  // out of file descriptors, most often: some will close
      accept_timer.expires_after(std::chrono::milliseconds(50));
      co_await accept_timer.async_wait(kAwait);
      continue;
    }
    boost::system::error_code ignored;
    socket.set_option(tcp::no_delay(true), ignored);
    socket.set_option(asio::socket_base::send_buffer_size(64 << 10), ignored);  // what a slow viewer may leave there
    try {
      asio::co_spawn(io, serve(beast::tcp_stream(std::move(socket))), asio::detached);
    } catch (const std::exception&) {  // no memory for it
    }
  }
}

asio::awaitable<void> Landing::Impl::serve(beast::tcp_stream stream) {
  const Hold open(connections);
  const bool too_many = connections > options.most_connections;
  auto limits = options.connection;
  if (too_many) limits.header = std::min(limits.header, std::chrono::seconds(2));  // long enough to be told so
  server::Connection connection(std::move(stream), limits, plain_form);
  try {
    do {
      if (!co_await connection.read_header()) break;
      if (!too_many) {
        co_await answer(connection);
        continue;
      }
      connection.forbid_keep_alive();
      auto error = server::api_error(503, "too_many_connections", "too many look at this already", 1);
      co_await connection.refuse(error);
    } while (connection.keep_alive());
    co_await connection.finish();
  } catch (const std::exception&) {  // no memory, most likely: this viewer's loss only
  }
  connection.close();
}

/// Looks at the server for as long as somebody watches, at moments 1.5 s apart.
asio::awaitable<void> Landing::Impl::tick() {
  auto next = Clock::now();
  while (true) {
    while (viewers == 0) co_await viewer_came.wait();
    next = std::max(next + kEvery, Clock::now());
    try {
      co_await scraper.refresh();
      publish();
    } catch (const std::exception&) {  // no memory: the next may have
    }
    tick_timer.expires_at(next + kEvery);
    co_await tick_timer.async_wait(kAwait);
  }
}

void Landing::Impl::publish() {
  const auto& scrape = *scraper.latest();
  if (scrape.up != server_up || stats_number == 0) log(scrape.up ? "server up" : "server down: " + scrape.error);
  server_up = scrape.up;
  history.add(scrape);
  Stats stats{.scrape = scrape, .machine = read_machine(options.sys), .burnin = burnin.read()};
  if (power_profile) stats.machine.power_profile = power_profile;
  stats.numbers = numbers.text() != nullptr;
  stats_text = std::make_shared<const std::string>("data: " + stats_json(stats) + "\n\n");
  first_text = std::make_shared<const std::string>("retry: 1000\nevent: history\ndata: " + history.json() + "\n\n" +
                                                   *stats_text);
  stats_time = Clock::now();
  ++stats_number;
  stats_changed.all();
}

/// Each viewer takes the newest when it is ready for it; whoever takes nothing for write-time is dropped. Browsers
/// allow few connections, so that one stream may carry what /_live/services has, too.
asio::awaitable<void> Landing::Impl::watch_stats(server::Connection& c, bool with_services) {
  const Hold watching(viewers);
  viewer_came.all();
  if (!co_await c.begin_stream()) co_return;
  uint64_t seen = Clock::now() - stats_time < 2 * kEvery ? 0 : stats_number;  // an old one is of nobody's use
  uint64_t services_seen = 0;
  for (bool first = true, there = true; there;) {
    while (seen == stats_number && (!with_services || services_seen == services.number()))
      co_await stats_changed.wait();
    if (with_services && services_seen != services.number()) {
      const auto events = services.events_since(services_seen);
      services_seen = services.number();
      there = co_await c.write(*events);
    }
    if (there && seen != stats_number) {
      seen = stats_number;
      const auto text = std::exchange(first, false) ? first_text : stats_text;
      there = co_await c.write(*text);
    }
  }
}

/// Wakes who watches services, so that those that left are noticed, and proxies see that there is somebody.
asio::awaitable<void> Landing::Impl::tick_services() {
  while (true) {
    services_timer.expires_after(kSilence);
    co_await services_timer.async_wait(kAwait);
    services_changed.all();
  }
}

asio::awaitable<void> Landing::Impl::watch_units(server::Connection& c) {
  static const std::string kComment = ":\n\n";
  if (!co_await c.begin_stream()) co_return;
  uint64_t seen = 0;
  for (bool there = true; there;) {
    const auto events = services.events_since(seen);
    seen = services.number();
    there = co_await c.write(events != nullptr ? *events : kComment);
    if (there && seen == services.number()) co_await services_changed.wait();
  }
}

}  // namespace onebit::landing
