// The server with GPUs: several of them, and what it does when they fail. They are the host's, loaded as a module.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "format/synth.h"
#include "tests/server/running_server.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"

namespace onebit::server {
namespace {

using nlohmann::json;
using test::body_of;
using test::Running;

class ServerDevices : public ::testing::Test {
 protected:
  ServerDevices() {
    ::setenv("HALO_GPU_MODULES", ONEBIT_TEST_MODULES, 1);
    auto config = onebit::test::tiny_config();
    config.context = 400;
    EXPECT_TRUE(write_synthetic_model(model_, onebit::test::tiny_parts(config), {}, 1));
    void* library = ::dlopen(ONEBIT_TEST_MODULES "/libonebit_gpu_host.so", RTLD_NOW | RTLD_LOCAL);
    EXPECT_NE(library, nullptr) << ::dlerror();
    set_machine_ = reinterpret_cast<void (*)(int, int64_t, int)>(::dlsym(library, "onebit_gpu_host_set"));
  }
  ~ServerDevices() override {
    set_machine_(1, -1, -1);
    ::unsetenv("HALO_GPU_MODULES");
  }

  ServerOptions options(const std::string& device) const {
    ServerOptions o;
    o.port = 0;
    o.model_path = model_;
    o.model.devices = *devices_by_name(device);
    o.model.threads = 2;
    return o;
  }

  static json request(int seed, int tokens = 40) {
    return {{"prompt", "In another town, number " + std::to_string(seed)},
            {"max_tokens", tokens},
            {"seed", seed},
            {"temperature", seed % 2 == 0 ? 0.0 : 1.0},
            {"ignore_eos", true}};
  }
  /// What many clients get at once.
  static std::vector<std::string> ask_all(const Running& server) {
    std::vector<std::string> texts(8);
    std::vector<std::thread> clients;
    for (int seed = 0; seed < 8; ++seed)
      clients.emplace_back([&, seed] {
        const auto body = body_of(server.post("/v1/completions", request(seed)));
        texts[static_cast<size_t>(seed)] = body.contains("choices") ? body["choices"][0]["text"].dump() : body.dump();
      });
    for (auto& client : clients) client.join();
    return texts;
  }

  onebit::test::TempFolder folder_;
  std::string model_ = folder_.path("model.h1b");
  void (*set_machine_)(int, int64_t, int) = nullptr;
};

TEST_F(ServerDevices, ALostDeviceCostsNoAnswerAndChangesNone) {
  const auto expected = ask_all(Running(options("cpu")));
  const Running server(options("host:0"));
  EXPECT_NE(server.log().find("device=host:0"), std::string::npos) << server.log();
  EXPECT_EQ(server.metric("onebit_devices_lost_total"), 0);
  EXPECT_EQ(ask_all(server), expected);
  set_machine_(1, 120, -1);  // in the midst of answers
  EXPECT_EQ(ask_all(server), expected);
  EXPECT_EQ(server.metric("onebit_devices_lost_total"), 1);
  EXPECT_EQ(server.metric("onebit_devices"), 1);
  EXPECT_EQ(server.metric("onebit_generated_tokens_total"), 2 * 8 * 40);
  EXPECT_NE(server.get("/health").find(" 200 "), std::string::npos);
  EXPECT_EQ(ask_all(server), expected);
  EXPECT_NE(server.log().find("device lost: the GPU host:0 failed: "), std::string::npos) << server.log();
}

TEST_F(ServerDevices, WithoutAFallbackAClientIsToldAndSoIsWhoWatches) {
  auto o = options("host:0");
  o.model.cpu_fallback = false;
  const Running server(o);
  set_machine_(1, 20, -1);
  const auto cut = server.post("/v1/completions", request(1, 300));
  EXPECT_NE(cut.find(" 500 "), std::string::npos) << cut;
  EXPECT_NE(cut.find("the device is lost"), std::string::npos) << cut;
  const auto later = server.post("/v1/completions", request(2));
  EXPECT_NE(later.find(" 503 "), std::string::npos) << later;
  EXPECT_EQ(body_of(later)["error"]["code"], "device_lost") << later;
  const auto health = server.get("/health");
  EXPECT_NE(health.find(" 503 "), std::string::npos) << health;
  EXPECT_NE(health.find("device lost"), std::string::npos) << health;
  EXPECT_EQ(server.metric("onebit_devices"), 0);
}

TEST_F(ServerDevices, SeveralShareTheRequestsAndCountTogether) {
  const auto expected = ask_all(Running(options("cpu")));
  set_machine_(3, -1, -1);
  const Running server(options("host:all"));
  EXPECT_NE(server.log().find("device=host:0,host:1,host:2"), std::string::npos) << server.log();
  EXPECT_EQ(server.metric("onebit_devices"), 3);
  EXPECT_EQ(ask_all(server), expected);
  EXPECT_EQ(server.metric("onebit_generated_tokens_total"), 8 * 40);
  set_machine_(3, 0, 1);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(ask_all(server), expected);
  EXPECT_EQ(server.metric("onebit_devices"), 2);
  EXPECT_EQ(server.metric("onebit_devices_lost_total"), 1);
}

TEST_F(ServerDevices, ADeviceThatIsNotThereEndsTheServer) {
  Server server(options("host:0,host:5"), *AccessKeys::load({}, ""), [](const std::string&) {});
  ASSERT_TRUE(server.listen());
  const auto status = server.run();
  ASSERT_FALSE(status);
  EXPECT_NE(status.error().message.find("host:5: there is no host device 5"), std::string::npos)
      << status.error().message;
}

}  // namespace
}  // namespace onebit::server
