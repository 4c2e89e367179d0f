// The daemon in this process, before a server that counts who asks it.
#include "landing/landing.h"

#include <gtest/gtest.h>

#include <chrono>
#include <list>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/landing/peers.h"
#include "tests/landing/temporary_folder.h"

namespace onebit::landing {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;

class LandingTest : public ::testing::Test {
 protected:
  void start(LandingOptions options = {}) {
    options.port = 0;
    if (options.server.host.empty()) options.server = *parse_target(server.url());
    landing = std::make_unique<Landing>(std::move(options), [](const std::string&) {});
    const auto listening = landing->listen();
    ASSERT_TRUE(listening) << listening.error().message;
    port = *listening;
    thread = std::thread([this] { landing->run(); });
  }
  void TearDown() override {
    if (!thread.joinable()) return;
    landing->stop();
    thread.join();
  }
  std::string ask(const std::string& path, const std::string& method = "GET", const std::string& more = "") const {
    return Client(port, request_for(path, method, more)).until("no such words");
  }
  /// The next event of /_live/stats.
  static json next(Client& viewer) {
    viewer.until("\ndata: {");
    return json::parse("{" + viewer.until("\n\n"));
  }

  FakeServer server;
  std::unique_ptr<Landing> landing;
  std::thread thread;
  uint16_t port = 0;
};

TEST_F(LandingTest, OneLookServesAllViewers) {
  server.set_body("tokps_recent 42.5\n");
  start();
  std::this_thread::sleep_for(300ms);
  EXPECT_EQ(server.requests(), 0) << "nobody watches";
  std::list<Client> viewers;
  for (int i = 0; i < 40; ++i) viewers.emplace_back(port, request_for("/_live/stats"));
  for (int round = 0; round < 3; ++round) {
    json first;
    for (auto& viewer : viewers) {
      const auto stats = next(viewer);
      EXPECT_EQ(stats["tokps_recent"], 42.5);
      EXPECT_EQ(stats["state"], "up");
    }
  }
  EXPECT_LE(server.requests(), 4);
  viewers.clear();
  std::this_thread::sleep_for(4500ms);  // each is noticed when something is written to it
  const int after = server.requests();
  std::this_thread::sleep_for(2s);
  EXPECT_EQ(server.requests(), after) << "nobody watches any more";
}

TEST_F(LandingTest, AViewerStartsWithTheHistory) {
  server.set_body("tokps_recent 1\n");
  start();
  Client first(port, request_for("/_live/stats"));
  next(first);
  next(first);
  Client second(port, request_for("/_live/stats"));
  second.until("event: history\ndata: ");
  EXPECT_GE(json::parse(second.until("\n\n")).size(), 2u);
}

TEST_F(LandingTest, AServerThatGoesAndComesBack) {
  server.set_body("tokps_recent 3\n");
  start();
  Client viewer(port, request_for("/_live/stats"));
  const auto up = next(viewer);
  EXPECT_EQ(up["state"], "up");
  for (const auto& [answer, words] : {std::pair<std::string, std::string>{"", "whole"},
                                      {"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", "not ready"},
                                      {"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", "API key"},
                                      {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "no tokps_recent"},
                                      {"noise\r\n\r\n", "whole"},
                                      {"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", "too much"}}) {
    server.set(answer);
    auto down = next(viewer);
    for (int i = 0; i < 2 && !down["error"].is_string(); ++i) down = next(viewer);
    for (int i = 0; i < 2 && down["error"].get<std::string>().find(words) == std::string::npos; ++i)
      down = next(viewer);
    EXPECT_EQ(down["state"], "down");
    EXPECT_NE(down["error"].get<std::string>().find(words), std::string::npos) << down["error"];
    EXPECT_TRUE(down["tokps_recent"].is_null());
    EXPECT_TRUE(down["last_seen"].is_number());
    EXPECT_GT(down["last_seen_age"], 0);
    EXPECT_NEAR(down["last_seen_age"], down["scraped_at"].get<double>() - down["last_seen"].get<double>(), 0.5);
  }
  server.set_body("tokps_recent 4\n");
  auto back = next(viewer);
  for (int i = 0; i < 2 && back["state"] == "down"; ++i) back = next(viewer);
  EXPECT_EQ(back["tokps_recent"], 4);
}

TEST_F(LandingTest, NothingCanBeWritten) {
  start();
  for (const char* path : {"/", "/_live/stats", "/_live/services", "/_health", "/metrics", "/numbers", "/none"})
    for (const char* method : {"POST", "PUT", "DELETE", "PATCH", "OPTIONS"}) {
      const auto answer = ask(path, method, "Content-Length: 0\r\n");
      EXPECT_TRUE(answer.starts_with("HTTP/1.1 405 ")) << method << path << answer;
      EXPECT_NE(answer.find("Allow: GET, HEAD\r\n"), std::string::npos);
    }
}

TEST_F(LandingTest, PagesFromElsewhereGetNothing) {
  server.set_body("tokps_recent 3\n");
  start();
  EXPECT_TRUE(ask("/metrics", "GET", "Origin: http://evil.example\r\n").starts_with("HTTP/1.1 403 "));
  EXPECT_TRUE(ask("/metrics", "GET", "Origin: http://localhost\r\n").starts_with("HTTP/1.1 200 "));
  Client other(port, "GET /metrics HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(other.until("\r\n").starts_with("HTTP/1.1 403 "));
}

TEST_F(LandingTest, HealthAndMetrics) {
  server.set_body("tokps_recent 3\n");
  start();
  const auto health = ask("/_health");
  EXPECT_TRUE(health.starts_with("HTTP/1.1 200 ")) << health;
  EXPECT_NE(health.find(R"("server":"up")"), std::string::npos) << health;
  EXPECT_NE(ask("/metrics").find("\nonebit_landing_server_up 1\n"), std::string::npos);
  EXPECT_EQ(server.requests(), 1) << "two within a second are one look";
}

TEST_F(LandingTest, TheKeyIsSent) {
  const TemporaryFolder folder;
  folder.write("key", "# of the server\nsecret-1\n");
  server.set_body("tokps_recent 3\n");
  LandingOptions options;
  options.api_key_file = folder.path("key");
  start(std::move(options));
  ask("/_health");
  EXPECT_NE(server.last_request().find("Authorization: Bearer secret-1\r\n"), std::string::npos);
}

TEST_F(LandingTest, AKeyThatIsGoneIsSaid) {
  const TemporaryFolder folder;
  folder.write("key", "secret-1\n");
  server.set_body("tokps_recent 3\n");
  LandingOptions options;
  options.api_key_file = folder.path("key");
  start(std::move(options));
  EXPECT_NE(ask("/_health").find(R"("server":"up")"), std::string::npos);
  std::filesystem::remove(folder.path("key"));
  std::this_thread::sleep_for(1100ms);
  const auto gone = ask("/_health");
  EXPECT_NE(gone.find("--api-key-file) cannot be read"), std::string::npos) << gone;
  EXPECT_EQ(gone.find(folder.path()), std::string::npos) << gone;
  folder.write("key", "");
  std::this_thread::sleep_for(1100ms);
  EXPECT_NE(ask("/_health").find("holds no key"), std::string::npos);
  folder.write("key", "secret-2\n");
  std::this_thread::sleep_for(1100ms);
  EXPECT_NE(ask("/_health").find(R"("server":"up")"), std::string::npos);
  EXPECT_NE(server.last_request().find("Bearer secret-2\r\n"), std::string::npos);
}

TEST_F(LandingTest, ANameThatNobodyLooksUpHoldsNothingUp) {
  LandingOptions options;
  options.server = *parse_target("http://60.seconds.test:80");
  const auto begin = std::chrono::steady_clock::now();
  start(std::move(options));
  Client viewer(port, request_for("/_live/stats"));
  for (int i = 0; i < 2; ++i) {
    const auto stats = next(viewer);
    EXPECT_EQ(stats["state"], "down");
    EXPECT_NE(stats["error"].get<std::string>().find("name (60.seconds.test)"), std::string::npos) << stats["error"];
  }
  EXPECT_NE(ask("/_health").find("60.seconds.test"), std::string::npos);
  TearDown();
  landing.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 30s);
}

TEST_F(LandingTest, ANameThatIsLookedUpSlowlyIsUsedThen) {
  server.set_body("tokps_recent 3\n");
  LandingOptions options;
  options.server = *parse_target(server.url());
  options.server.host = "3.seconds.test";
  start(std::move(options));
  Client viewer(port, request_for("/_live/stats"));
  EXPECT_EQ(next(viewer)["state"], "down");
  json later;
  for (int i = 0; i < 5 && later["state"] != "up"; ++i) later = next(viewer);
  EXPECT_EQ(later["state"], "up") << later;
}

TEST_F(LandingTest, ThePageOfNumbers) {
  const TemporaryFolder folder;
  LandingOptions options;
  options.numbers_page = folder.path("page.html");
  start(std::move(options));
  EXPECT_NE(ask("/numbers").find("--records-page"), std::string::npos);
  folder.write("page.html", "<h1>numbers</h1>");
  const auto page = ask("/numbers");
  EXPECT_NE(page.find("<h1>numbers</h1>"), std::string::npos) << page;
  EXPECT_NE(page.find("Content-Security-Policy: default-src 'none'"), std::string::npos);
  folder.write("page.html", "<h1>newer numbers</h1>");
  EXPECT_NE(ask("/numbers").find("newer"), std::string::npos);
}

TEST_F(LandingTest, FilesOfThePage) {
  const uint8_t bytes[] = {1, 2, 3};
  const WebFile files[] = {{"index.html", "text/html; charset=utf-8", "\"tag\"", bytes}};
  LandingOptions options;
  options.page = files;
  start(std::move(options));
  const auto page = ask("/");
  EXPECT_NE(page.find("Content-Encoding: gzip\r\n"), std::string::npos) << page;
  EXPECT_TRUE(page.ends_with("\r\n\r\n\x01\x02\x03"));
  EXPECT_NE(page.find("script-src 'self'"), std::string::npos);
  EXPECT_TRUE(ask("/", "GET", "If-None-Match: \"tag\"\r\n").starts_with("HTTP/1.1 304 "));
  EXPECT_TRUE(ask("/../index.html").starts_with("HTTP/1.1 404 "));
  TearDown();
  start();
  EXPECT_NE(ask("/").find("built without its page"), std::string::npos);
}

TEST_F(LandingTest, HeadersAndConnectionsHaveLimits) {
  LandingOptions options;
  options.most_connections = 3;
  start(std::move(options));
  EXPECT_TRUE(ask("/", "GET", "X: " + std::string(20'000, 'x') + "\r\n").starts_with("HTTP/1.1 431 "));
  std::this_thread::sleep_for(100ms);
  std::list<Client> silent;
  for (int i = 0; i < 3; ++i) silent.emplace_back(port, "");
  std::this_thread::sleep_for(100ms);
  EXPECT_TRUE(ask("/").starts_with("HTTP/1.1 503 "));
  silent.clear();
  std::this_thread::sleep_for(100ms);
  EXPECT_TRUE(ask("/").starts_with("HTTP/1.1 404 "));
}

TEST_F(LandingTest, ServicesBeginWithASnapshot) {
  start();
  Client viewer(port, request_for("/_live/services"));
  viewer.until("event: snapshot\ndata: ");
  EXPECT_TRUE(json::parse(viewer.until("\n\n"))["available"].is_boolean());
}

TEST_F(LandingTest, OneStreamMayCarryTheServicesToo) {
  server.set_body("tokps_recent 3\n");
  start();
  Client both(port, request_for("/_live/stats?services=1"));
  const auto first = both.until("\ndata: {\"scraped_at\"");
  EXPECT_NE(first.find("event: snapshot\ndata: "), std::string::npos) << first;
  EXPECT_NE(first.find("event: history\ndata: "), std::string::npos) << first;
  next(both);
  Client figures(port, request_for("/_live/stats"));
  next(figures);
  EXPECT_EQ(figures.until("\ndata: {\"scraped_at\"").find("event: snapshot"), std::string::npos);
}

}  // namespace
}  // namespace onebit::landing
