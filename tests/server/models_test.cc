// Several models: by name, loaded on demand, unloaded when nobody asks or another needs the memory. And keys: no route
// without one.
#include "server/models.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>

#include "format/synth.h"
#include "server/handlers.h"
#include "tests/server/running_server.h"
#include "tests/support/temp_folder.h"
#include "tests/support/test_model.h"
#include "tests/support/tiny_model.h"

namespace onebit::server {
namespace {

using nlohmann::json;
using test::body_of;
using test::Running;

class ModelsTest : public ::testing::Test {
 protected:
  ModelsTest() {
    std::filesystem::create_directory(folder_.path("models"));
    for (const char* name : {"a", "b", "c"}) make(name);
  }

  void make(const std::string& name) {
    auto config = onebit::test::tiny_config();
    config.context = 1000;
    const auto seed = static_cast<uint64_t>(name[0]);
    EXPECT_TRUE(write_synthetic_model(path_of(name), onebit::test::tiny_parts(config), {}, seed));
  }
  std::string path_of(const std::string& name) const { return folder_.path("models/" + name + ".h1b"); }

  ServerOptions options() const {
    ServerOptions o;
    o.port = 0;
    o.models_folder = folder_.path("models");
    o.model.threads = 1;
    o.engine.scheduler.kv_bytes = 8 << 20;
    return o;
  }
  /// A model's cost is its file and 8 MiB.
  uint64_t room_for(size_t models) const {
    return models * (std::filesystem::file_size(path_of("a")) + (8 << 20)) + 1000;
  }

  static std::string ask(const Running& server, const std::string& model, int tokens = 5) {
    return server.post(
        "/v1/completions",
        {{"model", model}, {"prompt", "Once"}, {"max_tokens", tokens}, {"temperature", 0}, {"ignore_eos", true}});
  }
  static bool ok(const std::string& answer) { return answer.starts_with("HTTP/1.1 200"); }
  static std::string state(const Running& server, const std::string& model) {
    return body_of(server.get("/v1/models/" + model)).value("state", "none");
  }
  static bool becomes(const std::function<bool()>& what) {
    for (int i = 0; i < 1000; ++i) {
      if (what()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }

  onebit::test::TempFolder folder_;
};

TEST_F(ModelsTest, EachIsLoadedWhenItIsAskedForAndAnswersAsItself) {
  const Running server(options());
  EXPECT_EQ(state(server, "a"), "unloaded");
  const auto a = ask(server, "a"), b = ask(server, "b");
  ASSERT_TRUE(ok(a)) << a;
  ASSERT_TRUE(ok(b)) << b;
  EXPECT_EQ(body_of(a)["model"], "a");
  EXPECT_NE(body_of(a)["choices"][0]["text"], body_of(b)["choices"][0]["text"]);
  EXPECT_EQ(state(server, "a"), "loaded");
  EXPECT_EQ(state(server, "c"), "unloaded");
  EXPECT_EQ(body_of(server.get("/v1/models"))["data"].size(), 3u);
  const auto none = ask(server, "d");
  EXPECT_TRUE(none.starts_with("HTTP/1.1 404")) << none;
  EXPECT_EQ(body_of(none)["error"]["param"], "model");
  EXPECT_EQ(body_of(server.get("/api/tags"))["models"].size(), 3u);
  EXPECT_EQ(body_of(server.get("/api/ps"))["models"].size(), 2u);
  // Without a name: the first. Every protocol names it in its own way.
  EXPECT_EQ(body_of(server.post("/v1/completions", {{"prompt", "x"}, {"max_tokens", 1}}))["model"], "a");
  EXPECT_EQ(body_of(server.post("/v1/embeddings", {{"model", "b"}, {"input", "x"}}))["model"], "b");
  EXPECT_TRUE(ok(server.post("/api/generate", {{"model", "c:latest"}, {"prompt", ""}})));
  EXPECT_EQ(state(server, "c"), "loaded");
  EXPECT_TRUE(ok(server.get("/tokenizer_info?x=y&model=b")));
  EXPECT_TRUE(server.get("/tokenizer_info?model=d").starts_with("HTTP/1.1 404"));
  EXPECT_TRUE(ok(server.get("/health")));
}

TEST_F(ModelsTest, UnusedOnesGoAndCountsStay) {
  auto o = options();
  o.model_path = path_of("a");
  o.model_name = "stays";
  o.model_idle = std::chrono::milliseconds(300);
  const Running server(o);
  EXPECT_EQ(state(server, "stays"), "loaded");
  ASSERT_TRUE(ok(ask(server, "b")));
  EXPECT_EQ(server.metric("onebit_generated_tokens_total"), 5);
  EXPECT_TRUE(becomes([&] { return state(server, "b") == "unloaded"; }));
  EXPECT_EQ(server.metric("onebit_generated_tokens_total"), 5);
  EXPECT_EQ(state(server, "stays"), "loaded");
  ASSERT_TRUE(ok(ask(server, "b"))) << "and come again";
  EXPECT_EQ(server.metric("onebit_generated_tokens_total"), 10);
}

TEST_F(ModelsTest, TheOneThatWasNotUsedForLongestMakesRoom) {
  auto o = options();
  o.models_bytes = room_for(2);
  const Running server(o);
  ASSERT_TRUE(ok(ask(server, "a")));
  ASSERT_TRUE(ok(ask(server, "b")));
  ASSERT_TRUE(ok(ask(server, "a")));
  ASSERT_TRUE(ok(ask(server, "c")));
  EXPECT_EQ(state(server, "b"), "unloaded");
  EXPECT_EQ(state(server, "a"), "loaded");
  EXPECT_EQ(state(server, "c"), "loaded");
}

TEST_F(ModelsTest, RequestsUnderWayKeepTheirModelAndOthersWaitForIt) {
  auto o = options();
  o.models_bytes = room_for(1);
  const Running server(o);
  const auto alone = body_of(ask(server, "a", 900))["choices"][0]["text"];
  std::atomic<int> wrong{0}, answered{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 12; ++i)
    clients.emplace_back([&, i] {
      const std::string name(1, static_cast<char>('a' + i % 3));
      for (int round = 0; round < 3; ++round) {
        const auto answer = ask(server, name, 900);
        if (!ok(answer) || body_of(answer)["model"] != name) ++wrong;
        if (name == "a" && body_of(answer)["choices"][0]["text"] != alone) ++wrong;
        ++answered;
      }
    });
  for (auto& client : clients) client.join();
  EXPECT_EQ(wrong, 0) << server.log();
  EXPECT_EQ(answered, 36);
  EXPECT_EQ(body_of(server.get("/api/ps"))["models"].size(), 1u);
}

TEST_F(ModelsTest, WhatCannotBeLoadedIsSaid) {
  std::ofstream(path_of("broken")) << "no model";
  auto o = options();
  o.models_bytes = room_for(1);
  auto config = onebit::test::tiny_config();
  config.layers = 60;
  EXPECT_TRUE(write_synthetic_model(path_of("large"), onebit::test::tiny_parts(config), {}, 1));
  o.engine.scheduler.kv_bytes = 8 << 20;
  const Running server(o);
  EXPECT_NE(server.log().find("model left out"), std::string::npos) << server.log();
  EXPECT_TRUE(ask(server, "broken").starts_with("HTTP/1.1 404"));
  if (std::filesystem::file_size(path_of("large")) > std::filesystem::file_size(path_of("a")) + 1000) {
    const auto large = ask(server, "large");
    EXPECT_EQ(body_of(large)["error"]["code"], "model_too_large") << large;
  }
  std::filesystem::resize_file(path_of("b"), 100);
  const auto damaged = ask(server, "b");
  EXPECT_TRUE(damaged.starts_with("HTTP/1.1 500")) << damaged;
  EXPECT_EQ(body_of(damaged)["error"]["code"], "model_failed");
  EXPECT_EQ(state(server, "b"), "failed");
  make("b");
  EXPECT_TRUE(ok(ask(server, "b"))) << "it is tried again";
  EXPECT_TRUE(ok(ask(server, "a")));
}

TEST_F(ModelsTest, OptionsThatCannotBeEndTheServer) {
  const auto error_of = [&](const ServerOptions& o) {
    Server server(o, *AccessKeys::load({}, ""), [](const std::string&) {});
    EXPECT_TRUE(server.listen());
    const auto status = server.run();
    return status ? std::string() : status.error().message;
  };
  auto o = options();
  o.more_models = {{"a", path_of("a")}, {"a", path_of("b")}};
  o.models_folder.clear();
  EXPECT_NE(error_of(o).find("another model of the name 'a'"), std::string::npos);
  o.more_models = {{"x", "/nowhere.h1b"}};
  EXPECT_NE(error_of(o).find("/nowhere.h1b"), std::string::npos);
  o.more_models.clear();
  o.models_folder = folder_.path("absent");
  EXPECT_NE(error_of(o).find("the folder of models cannot be read"), std::string::npos);
  std::filesystem::create_directory(o.models_folder);
  EXPECT_NE(error_of(o).find("there is no model"), std::string::npos);
}

TEST_F(ModelsTest, ANameOfNoModelMayMeanTheFirst) {
  auto o = options();
  o.any_model = true;
  const Running server(o);
  EXPECT_EQ(body_of(ask(server, "gpt-4o"))["model"], "a");
  EXPECT_EQ(body_of(ask(server, "b"))["model"], "b");
}

TEST_F(ModelsTest, StoppingEndsModelsThatAreLoadingOrBusy) {
  for (int i = 0; i < 3; ++i) {
    auto o = options();
    o.drain = std::chrono::seconds(0);
    std::vector<std::thread> clients;
    Running server(o);
    for (const char* name : {"a", "b", "c"}) clients.emplace_back([&server, name] { ask(server, name, 900); });
    std::this_thread::sleep_for(std::chrono::milliseconds(10 * i));
    server.stop();  // its clients are cut off
    for (auto& client : clients) client.join();
  }
}

TEST_F(ModelsTest, SlotsTellNumbersOfWhatIsUnderWayAndNoWords) {
  const Running server(options());
  EXPECT_EQ(body_of(server.get("/slots")), json::array());
  ASSERT_TRUE(ok(ask(server, "a")));
  std::thread client([&] { ask(server, "a", 990); });
  json slots;
  EXPECT_TRUE(becomes([&] { return !(slots = body_of(server.get("/slots"))).empty(); }));
  client.join();
  EXPECT_EQ(slots[0]["model"], "a");
  EXPECT_EQ(slots[0]["max_tokens"], 990);
  EXPECT_EQ(slots.dump().find("Once"), std::string::npos);
}

TEST_F(ModelsTest, AConversationIsSavedAndGoesOnInAnotherServer) {
  auto o = options();
  o.kv_folder = folder_.path("kv");
  std::filesystem::create_directory(o.kv_folder);
  json body{
      {"model", "a"}, {"prompt", std::string(500, 'x')}, {"max_tokens", 20}, {"temperature", 0}, {"ignore_eos", true}};
  const auto cached = [](const json& answer) {
    return answer["usage"]["prompt_tokens_details"]["cached_tokens"].get<int>();
  };
  json before;
  {
    const Running server(o);
    auto wish = body;
    wish["file"] = "talk-1";
    EXPECT_TRUE(server.post("/kv/save", wish).starts_with("HTTP/1.1 404")) << "nothing is remembered";
    before = body_of(server.post("/v1/completions", body));
    EXPECT_EQ(cached(before), 0);
    const auto saved = body_of(server.post("/kv/save", wish));
    EXPECT_GE(saved.value("saved", 0), 448) << saved;
    for (const char* name : {"", "../x", "a/b", ".x", "x y"}) {
      wish["file"] = name;
      EXPECT_TRUE(server.post("/kv/save", wish).starts_with("HTTP/1.1 400")) << name;
    }
  }
  const Running server(o);
  const auto restored = body_of(server.post("/kv/restore", {{"model", "a"}, {"file", "talk-1"}}));
  EXPECT_GE(restored.value("restored", 0), 448) << restored;
  const auto after = body_of(server.post("/v1/completions", body));
  EXPECT_GE(cached(after), 448);
  EXPECT_EQ(after["choices"], before["choices"]);
  EXPECT_TRUE(server.post("/kv/restore", {{"model", "a"}, {"file", "none"}}).starts_with("HTTP/1.1 404"));
  const auto other = server.post("/kv/restore", {{"model", "b"}, {"file", "talk-1"}});
  EXPECT_TRUE(other.starts_with("HTTP/1.1 422")) << other;
  EXPECT_NE(other.find("another model"), std::string::npos) << other;
  std::filesystem::resize_file(o.kv_folder + "/talk-1.kv", 5000);
  EXPECT_TRUE(server.post("/kv/restore", {{"model", "a"}, {"file", "talk-1"}}).starts_with("HTTP/1.1 422"));
  std::filesystem::remove_all(o.kv_folder);
  body["file"] = "talk-2";
  EXPECT_TRUE(server.post("/kv/save", body).starts_with("HTTP/1.1 500"));
  const Running without(options());
  EXPECT_TRUE(without.post("/kv/save", body).starts_with("HTTP/1.1 403"));
}

TEST_F(ModelsTest, NoRouteWithoutAKeyButHealth) {
  const Running server(options(), {"its-key"});
  for (const auto& [path, post] : Handlers::all_routes()) {
    const auto answer = post ? server.post(std::string(path), json::object()) : server.get(std::string(path));
    if (path == "/health") {
      EXPECT_TRUE(ok(answer)) << answer;
    } else {
      EXPECT_TRUE(answer.starts_with("HTTP/1.1 401")) << path << "\n" << answer;
      EXPECT_TRUE(body_of(answer).contains("error")) << path;
    }
  }
  for (const char* path : {"/none", "/v1/models/a", "/v1/messages/x", "/api/", "/api/none"})
    EXPECT_TRUE(server.get(path).starts_with("HTTP/1.1 401")) << path;
  EXPECT_EQ(body_of(server.post("/v1/messages", {}))["error"]["type"], "authentication_error");
  EXPECT_TRUE(body_of(server.post("/api/chat", {}))["error"].is_string());
}

}  // namespace
}  // namespace onebit::server
