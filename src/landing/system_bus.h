// A connection to the system's bus, driven by a coroutine.
#pragma once

#include <systemd/sd-bus.h>

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <functional>
#include <string>

namespace onebit::landing {

/// Callbacks of sd-bus run within serve(), that is in its coroutine.
class SystemBus {
 public:
  using Clock = std::chrono::steady_clock;

  SystemBus() = default;
  SystemBus(const SystemBus&) = delete;
  SystemBus& operator=(const SystemBus&) = delete;
  ~SystemBus() { sd_bus_close_unref(bus_); }

  /// A negative number, of errno, where there is none.
  int open() { return sd_bus_open_system(&bus_); }
  sd_bus* get() const { return bus_; }

  /// Has serve() end with this sentence.
  void lose(std::string why) { lost_ = std::move(why); }
  /// Has serve() call `work` once, shortly: several wishes until then are one. `work` returns as sd-bus does.
  void call_soon();
  /// Until the bus is lost; returns why, as a sentence.
  boost::asio::awaitable<std::string> serve(std::function<int()> work);

 private:
  Clock::time_point next_moment() const;

  sd_bus* bus_ = nullptr;
  std::string lost_;
  Clock::time_point due_ = Clock::time_point::max();  // when `work` is to be called
};

/// "what: why", of a negative or positive errno.
std::string bus_sentence(const char* what, int error);

}  // namespace onebit::landing
