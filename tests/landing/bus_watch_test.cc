// Services and the power profile over a bus of our own, on which this test plays those that tell them.
#include "landing/bus_watch.h"

#include <gtest/gtest.h>

#ifdef ONEBIT_SYSTEMD
#include <signal.h>
#include <sys/wait.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdlib>
#include <mutex>
#include <thread>

#include "landing/landing.h"
#include "tests/landing/peers.h"
#include "tests/landing/temporary_folder.h"

namespace onebit::landing {
namespace {

using namespace std::chrono_literals;

/// dbus-daemon on a socket in `folder`; not running where there is no such program.
class BusDaemon {
 public:
  explicit BusDaemon(const TemporaryFolder& folder) : socket_(folder.path("bus")) {
    folder.write("bus.conf",
                 "<busconfig><listen>unix:path=" + socket_ +
                     "</listen><auth>EXTERNAL</auth><policy context='default'><allow own='*'/><allow "
                     "send_destination='*' eavesdrop='true'/><allow receive_sender='*'/></policy></busconfig>");
    const auto config = "--config-file=" + folder.path("bus.conf");
    child_ = ::fork();
    if (child_ == 0) {
      ::execlp("dbus-daemon", "dbus-daemon", config.c_str(), "--nofork", "--nopidfile", static_cast<char*>(nullptr));
      ::_exit(1);
    }
    for (int i = 0; i < 500 && !std::filesystem::exists(socket_); ++i) {
      if (::waitpid(child_, nullptr, WNOHANG) != 0) {
        child_ = 0;
        return;
      }
      std::this_thread::sleep_for(10ms);
    }
    ::setenv("DBUS_SYSTEM_BUS_ADDRESS", ("unix:path=" + socket_).c_str(), 1);
  }
  BusDaemon(const BusDaemon&) = delete;
  BusDaemon& operator=(const BusDaemon&) = delete;
  ~BusDaemon() { stop(); }
  void stop() {
    if (child_ <= 0) return;
    ::kill(child_, SIGTERM);
    ::waitpid(child_, nullptr, 0);
    child_ = 0;
  }
  bool running() const { return child_ > 0; }

 private:
  std::string socket_;
  pid_t child_ = 0;
};

/// Has one unit, whose state can be changed.
class FakeSystemd {
 public:
  FakeSystemd() {
    if (sd_bus_open_system(&bus_) < 0 || sd_bus_request_name(bus_, "org.freedesktop.systemd1", 0) < 0) std::abort();
    sd_bus_add_object_vtable(bus_, nullptr, "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", table(),
                             this);
    thread_ = std::thread([this] { serve(); });
  }
  FakeSystemd(const FakeSystemd&) = delete;
  FakeSystemd& operator=(const FakeSystemd&) = delete;
  ~FakeSystemd() {
    ending_ = true;
    thread_.join();
    sd_bus_close_unref(bus_);
  }
  void set(std::string active) {
    const std::lock_guard lock(mutex_);
    active_ = std::move(active);
    changed_ = true;
  }

 private:
  static const sd_bus_vtable* table() {
    static const sd_bus_vtable methods[] = {
        SD_BUS_VTABLE_START(0), SD_BUS_METHOD("Subscribe", "", "", on_subscribe, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("ListUnitsByPatterns", "asas", "a(ssssssouso)", on_list, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END};
    return methods;
  }
  static int on_subscribe(sd_bus_message* call, void*, sd_bus_error*) { return sd_bus_reply_method_return(call, ""); }
  static int on_list(sd_bus_message* call, void* self, sd_bus_error*) {
    auto* systemd = static_cast<FakeSystemd*>(self);
    const std::lock_guard lock(systemd->mutex_);
    return sd_bus_reply_method_return(call, "a(ssssssouso)", 1, "1bit-server.service", "A server", "loaded",
                                      systemd->active_.c_str(), "running", "", "/unit", 0u, "", "/");
  }
  void serve() {
    while (!ending_) {
      while (sd_bus_process(bus_, nullptr) > 0) {
      }
      bool tell = false;
      {
        const std::lock_guard lock(mutex_);
        tell = std::exchange(changed_, false);
      }
      if (tell)
        sd_bus_emit_signal(bus_, "/org/freedesktop/systemd1/unit/_31bit_2dserver_2eservice",
                           "org.freedesktop.DBus.Properties", "PropertiesChanged", "sa{sv}as",
                           "org.freedesktop.systemd1.Unit", 0, 0);
      sd_bus_wait(bus_, 20'000);
    }
  }

  sd_bus* bus_ = nullptr;
  std::atomic<bool> ending_{false};
  std::mutex mutex_;
  std::string active_ = "active";
  bool changed_ = false;
  std::thread thread_;
};

/// power-profiles-daemon by one of its names, for as long as it lives.
class FakePowerDaemon {
 public:
  FakePowerDaemon(const std::string& name, const std::string& path, std::string profile)
      : name_(name), path_(path), profile_(std::move(profile)) {
    if (sd_bus_open_system(&bus_) < 0 || sd_bus_request_name(bus_, name.c_str(), 0) < 0) std::abort();
    sd_bus_add_object_vtable(bus_, nullptr, path.c_str(), name.c_str(), table(), this);
    thread_ = std::thread([this] { serve(); });
  }
  FakePowerDaemon(const FakePowerDaemon&) = delete;
  FakePowerDaemon& operator=(const FakePowerDaemon&) = delete;
  ~FakePowerDaemon() {
    ending_ = true;
    thread_.join();
    sd_bus_close_unref(bus_);
  }
  void set(std::string profile) {
    const std::lock_guard lock(mutex_);
    profile_ = std::move(profile);
    changed_ = true;
  }

 private:
  static const sd_bus_vtable* table() {
    static const sd_bus_vtable properties[] = {
        SD_BUS_VTABLE_START(0), SD_BUS_PROPERTY("ActiveProfile", "s", on_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_VTABLE_END};
    return properties;
  }
  static int on_get(sd_bus*, const char*, const char*, const char*, sd_bus_message* reply, void* self, sd_bus_error*) {
    auto* daemon = static_cast<FakePowerDaemon*>(self);
    const std::lock_guard lock(daemon->mutex_);
    return sd_bus_message_append(reply, "s", daemon->profile_.c_str());
  }
  void serve() {
    while (!ending_) {
      while (sd_bus_process(bus_, nullptr) > 0) {
      }
      bool tell = false;
      {
        const std::lock_guard lock(mutex_);
        tell = std::exchange(changed_, false);
      }
      if (tell)
        sd_bus_emit_properties_changed(bus_, path_.c_str(), name_.c_str(), "ActiveProfile",
                                       static_cast<const char*>(nullptr));
      sd_bus_wait(bus_, 20'000);
    }
  }

  std::string name_, path_;
  sd_bus* bus_ = nullptr;
  std::atomic<bool> ending_{false};
  std::mutex mutex_;
  std::string profile_;
  bool changed_ = false;
  std::thread thread_;
};

class ServiceWatchTest : public ::testing::Test {
 protected:
  void watch() {
    const auto use = [this](ServiceState state) { last = std::move(state); };
    boost::asio::co_spawn(io, watch_services(use), boost::asio::detached);
  }
  bool comes(const std::function<bool()>& wanted) {
    for (int i = 0; i < 400 && !wanted(); ++i) io.run_for(20ms);
    return wanted();
  }
  bool is(const std::string& active) const { return last.units.size() == 1 && last.units[0].active == active; }

  TemporaryFolder folder;
  ServiceState last;
  boost::asio::io_context io{1};
};

TEST_F(ServiceWatchTest, NoBusIsSaid) {
  ::setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/no/such/socket", 1);
  watch();
  EXPECT_TRUE(comes([&] { return last.reason.find("bus") != std::string::npos; })) << last.reason;
  EXPECT_FALSE(last.available);
}

TEST_F(ServiceWatchTest, NoSystemdIsSaid) {
  const BusDaemon bus(folder);
  if (!bus.running()) GTEST_SKIP() << "there is no dbus-daemon";
  watch();
  EXPECT_TRUE(comes([&] {
    return last.reason.find("systemd") != std::string::npos && last.reason.find("yet") == std::string::npos;
  })) << last.reason;
}

TEST_F(ServiceWatchTest, UnitsAndTheirChanges) {
  BusDaemon bus(folder);
  if (!bus.running()) GTEST_SKIP() << "there is no dbus-daemon";
  {
    FakeSystemd systemd;
    watch();
    ASSERT_TRUE(comes([&] { return is("active"); })) << last.reason;
    EXPECT_EQ(last.units[0].name, "1bit-server.service");
    EXPECT_EQ(last.units[0].description, "A server");
    systemd.set("failed");
    EXPECT_TRUE(comes([&] { return is("failed"); }));
    systemd.set("active");
    EXPECT_TRUE(comes([&] { return is("active"); }));
  }
  bus.stop();
  EXPECT_TRUE(comes([&] { return !last.available; }));
}

TEST_F(ServiceWatchTest, ChangesComeInTheStreamOfFigures) {
  const BusDaemon bus(folder);
  if (!bus.running()) GTEST_SKIP() << "there is no dbus-daemon";
  FakeSystemd systemd;
  FakeServer server;
  server.set_body("tokps_recent 3\n");
  LandingOptions options;
  options.port = 0;
  options.server = *parse_target(server.url());
  Landing landing(std::move(options), [](const std::string&) {});
  const auto port = landing.listen();
  ASSERT_TRUE(port) << port.error().message;
  std::thread running([&] { landing.run(); });
  {
    Client viewer(*port, request_for("/_live/stats?services=1"));
    const auto begin = viewer.until(R"("active":"active")");
    EXPECT_NE(begin.find("event: snapshot\n"), std::string::npos) << begin;
    viewer.until("\ndata: {\"scraped_at\"");
    systemd.set("failed");
    const auto change = viewer.until(R"("active":"failed")");
    EXPECT_NE(change.find("event: delta\n"), std::string::npos) << change;
    viewer.until("\ndata: {\"scraped_at\"");
  }
  landing.stop();
  running.join();
}

TEST_F(ServiceWatchTest, ThePowerProfileAndItsChanges) {
  BusDaemon bus(folder);
  if (!bus.running()) GTEST_SKIP() << "there is no dbus-daemon";
  std::optional<std::string> profile = "not told yet";
  const auto use = [&](std::optional<std::string> now) { profile = std::move(now); };
  boost::asio::co_spawn(io, watch_power_profile(use), boost::asio::detached);
  EXPECT_TRUE(comes([&] { return !profile; })) << "nobody is there to tell it";
  for (const auto& [name, path] :
       {std::pair("org.freedesktop.UPower.PowerProfiles", "/org/freedesktop/UPower/PowerProfiles"),
        std::pair("net.hadess.PowerProfiles", "/net/hadess/PowerProfiles")}) {
    {
      FakePowerDaemon daemon(name, path, "balanced");
      EXPECT_TRUE(comes([&] { return profile == "balanced"; })) << name;
      daemon.set("power-saver\x1b");
      EXPECT_TRUE(comes([&] { return profile == "power-saver\xEF\xBF\xBD"; })) << name;
    }
    EXPECT_TRUE(comes([&] { return !profile; })) << name << " is gone";
  }
}

}  // namespace
}  // namespace onebit::landing
#endif
