// The server under load from many threads at once: made to be run under the sanitizers.
#include "server/server.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "tests/server/running_server.h"
#include "tests/support/test_model.h"

namespace onebit::server {
namespace {

using boost::asio::ip::tcp;
using nlohmann::json;
using test::body_of;
using test::Running;

ServerOptions options() {
  ServerOptions o;
  o.port = 0;
  o.model_path = onebit::test::bundled_model();
  o.engine.scheduler.most_running = 6;
  o.engine.most_waiting = 8;
  return o;
}

size_t open_files() {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++count;
  return count;
}

TEST(Server, RandomClientsGetTheSameAnswersAndLeaveNothingBehind) {
  auto o = options();
  o.engine.scheduler.kv_bytes = 24 << 20;  // few enough pages that some are put back
  const Running server(o);
  std::mutex mutex;
  std::map<int, std::string> answers;  // by seed: whoever asks first decides
  std::atomic<int> refused{0}, answered{0};
  const auto client = [&](unsigned number) {
    std::mt19937 random(number);
    for (int i = 0; i < 12; ++i) {
      const int seed = static_cast<int>(random() % 5);
      json body{{"prompt", "Once upon a time number " + std::to_string(seed)},
                {"max_tokens", 20 + 10 * seed},
                {"seed", seed},
                {"temperature", 1.0},
                {"ignore_eos", true}};
      const auto kind = random() % 6;
      if (kind == 0) {  // leaves in the middle of a stream
        body["stream"] = true;
        body["max_tokens"] = 2000;
        server.post("/v1/completions", body, 300 + random() % 3000);
        continue;
      }
      if (kind == 1) {  // leaves at once
        server.post("/v1/completions", body, 0);
        continue;
      }
      if (kind == 2) server.get("/metrics");
      const auto answer = server.post("/v1/completions", body);
      if (answer.starts_with("HTTP/1.1 429")) {
        ++refused;
        continue;
      }
      ASSERT_TRUE(answer.starts_with("HTTP/1.1 200")) << answer;
      const auto text = body_of(answer)["choices"][0]["text"].get<std::string>();
      ++answered;
      const std::lock_guard lock(mutex);
      EXPECT_EQ(answers.emplace(seed, text).first->second, text) << "seed " << seed;
    }
  };
  const auto files = open_files();
  std::vector<std::thread> clients;
  for (unsigned i = 0; i < 10; ++i) clients.emplace_back(client, i);
  for (auto& c : clients) c.join();
  EXPECT_GT(answered, 0);
  for (int i = 0; i < 500 && server.metric("onebit_running_requests") + server.metric("onebit_queue_length") > 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(server.metric("onebit_running_requests"), 0);
  EXPECT_EQ(server.metric("onebit_kv_pages"), server.metric("onebit_prefix_cache_pages"))
      << "only prefixes hold memory";
  for (int i = 0; i < 500 && open_files() > files; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_LE(open_files(), files);
}

TEST(Server, ABodyHasBoundsAroundItToo) {
  const Running server(options());
  const std::string head =
      "POST /tokenize HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
  const std::string chunk = "f\r\n{\"content\":\"x\"}\r\n";
  EXPECT_TRUE(server.exchange(head + chunk + "0\r\n\r\n").starts_with("HTTP/1.1 200"));
  EXPECT_TRUE(server.exchange(head + "f;" + std::string(1 << 20, 'x')).starts_with("HTTP/1.1 400")) << "an extension";
  std::string trailers;
  for (int i = 0; i < 100'000; ++i) trailers += "A: b\r\n";
  EXPECT_TRUE(server.exchange(head + chunk + "0\r\n" + trailers).starts_with("HTTP/1.1 400"));
}

TEST(Server, WhatHasTwoMeaningsIsRefusedOnce) {
  const Running server(options());
  for (const char* line : {"Transfer-Encoding: xchunked", "Transfer-Encoding: chunked, identity",
                           "Content-Length: 0\r\nHost: evil.example", "Content-Length: 0\r\nContent-Length: 4"}) {
    const auto answer = server.exchange(std::string("POST /tokenize HTTP/1.1\r\nHost: localhost\r\n") + line +
                                        "\r\n\r\nGET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 400")) << line << answer;
    EXPECT_EQ(answer.find("HTTP/1.1", 1), std::string::npos) << line << answer;
  }
}

TEST(Server, StopsWhileItIsBusy) {
  for (int i = 0; i < 3; ++i) {
    auto o = options();
    o.drain = std::chrono::seconds(0);
    std::vector<std::thread> clients;
    {
      const Running server(o);
      for (int c = 0; c < 4; ++c)
        clients.emplace_back([port = server.port] {
          boost::asio::io_context io;
          tcp::socket socket(io);
          boost::system::error_code error;
          socket.connect({boost::asio::ip::make_address("127.0.0.1"), port}, error);
          const std::string body = R"({"prompt": "Once", "max_tokens": 4000, "ignore_eos": true, "stream": true})";
          boost::asio::write(socket,
                             boost::asio::buffer("POST /v1/completions HTTP/1.1\r\nContent-Length: " +
                                                 std::to_string(body.size()) + "\r\n\r\n" + body),
                             error);
          char part[4096];
          while (!error) socket.read_some(boost::asio::buffer(part), error);
        });
      std::this_thread::sleep_for(std::chrono::milliseconds(20 * i));
    }
    for (auto& c : clients) c.join();
  }
}

TEST(Server, AModelThatCannotBeLoadedEndsIt) {
  ServerOptions o;
  o.port = 0;
  o.model_path = "/nowhere.h1b";
  Server server(o, *AccessKeys::load({}, ""), [](const std::string&) {});
  ASSERT_TRUE(server.listen());
  const auto status = server.run();
  ASSERT_FALSE(status);
  EXPECT_NE(status.error().message.find("/nowhere.h1b"), std::string::npos);
}

TEST(Server, AnAddressThatIsTakenIsSaid) {
  ServerOptions o;
  o.port = 0;
  Server first(o, *AccessKeys::load({}, ""), [](const std::string&) {});
  o.port = *first.listen();
  Server second(o, *AccessKeys::load({}, ""), [](const std::string&) {});
  const auto port = second.listen();
  ASSERT_FALSE(port);
  EXPECT_NE(port.error().message.find("127.0.0.1:" + std::to_string(o.port)), std::string::npos);
}

}  // namespace
}  // namespace onebit::server
