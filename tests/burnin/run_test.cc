// The loop against endpoints that misbehave: sockets that answer what a test says.
#include "burnin/run.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <thread>

#include "base/http_client.h"
#include "burnin/stats.h"
#include "tests/support/temp_folder.h"

namespace onebit::burnin {
namespace {

/// Answers each connection's requests with what `answer` gives for the request's number; "" closes the connection.
class Endpoint {
 public:
  explicit Endpoint(std::function<std::string(int)> answer) : answer_(std::move(answer)) {
    socket_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
    ::bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address);
    ::listen(socket_, 16);
    socklen_t size = sizeof address;
    ::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size);
    url_ = fmt::format("http://127.0.0.1:{}", ::ntohs(address.sin_port));
    thread_ = std::thread([this] { serve(); });
  }
  Endpoint(const Endpoint&) = delete;
  Endpoint& operator=(const Endpoint&) = delete;
  ~Endpoint() {
    ::shutdown(socket_, SHUT_RDWR);
    thread_.join();
    ::close(socket_);
  }
  const std::string& url() const { return url_; }

 private:
  void serve() {
    int number = 0;
    for (int client; (client = ::accept(socket_, nullptr, nullptr)) >= 0; ::close(client)) {
      std::string request;
      std::array<char, 65536> piece;
      for (ssize_t n; (n = ::recv(client, piece.data(), piece.size(), 0)) > 0;) {
        request.append(piece.data(), static_cast<size_t>(n));
        if (request.find("}", request.find("\r\n\r\n")) == std::string::npos) continue;  // the body is JSON
        request.clear();
        const auto answer = answer_(number++);
        if (answer.empty()) break;
        ::send(client, answer.data(), answer.size(), MSG_NOSIGNAL);
      }
    }
  }

  std::function<std::string(int)> answer_;
  int socket_ = -1;
  std::string url_;
  std::thread thread_;
};

std::string http(const std::string& body, int status = 200) {
  return fmt::format("HTTP/1.1 {} X\r\nContent-Length: {}\r\n\r\n{}", status, body.size(), body);
}
std::string says(const std::string& text) {
  return http(R"({"choices":[{"text":")" + text + R"(","finish_reason":"stop"}]})");
}

RunOptions options(const Endpoint& a, const Endpoint& b, const std::string& log, uint64_t rounds) {
  RunOptions o;
  o.a = a.url();
  o.b = b.url();
  o.log = log;
  o.prompts = *parse_prompts(R"({"id":"one","kind":"k","prompt":"x"})", "test");
  o.rounds = rounds;
  o.timeout = std::chrono::milliseconds(300);
  return o;
}

TEST(BurninRun, DifferencesAndFailuresAreToldApart) {
  const test::TempFolder folder;
  const Endpoint a([](int) { return says("abc"); });
  // Exact, no match (and its second look), an HTTP error, no JSON.
  const Endpoint b([](int i) {
    return i == 0   ? says("abc")
           : i <= 2 ? says("xyz")
           : i == 3 ? http(R"({"error":{"message":"full"}})", 429)
                    : http("no");
  });
  const std::atomic<bool> stop{false};
  std::vector<Round> rounds;
  const auto keep = [&](const Round& round, const RunResult&) { rounds.push_back(round); };
  const auto result = run(options(a, b, folder.path("log"), 4), stop, keep);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->rounds, 4u);
  EXPECT_EQ(result->exact, 1u);
  ASSERT_EQ(rounds.size(), 4u);
  EXPECT_EQ(rounds[0].verdict, Verdict::kExact);
  EXPECT_EQ(rounds[1].verdict, Verdict::kNoMatch);
  EXPECT_EQ(rounds[2].verdict, Verdict::kBUnreachable);
  EXPECT_EQ(rounds[2].error, "HTTP 429: full");
  EXPECT_EQ(rounds[3].verdict, Verdict::kBUnreachable);
  const auto stats = read_stats(folder.path("log"));
  EXPECT_EQ(stats->of(Verdict::kBUnreachable), 2u);
}

TEST(BurninRun, AServerThatClosesIdleConnectionsIsAskedAgain) {
  const Endpoint server(
      [](int i) { return i % 2 == 0 ? says("abc") : std::string(); });  // every second is not answered
  auto client = HttpClient::open(server.url(), "", std::chrono::milliseconds(2000));
  ASSERT_TRUE(client);
  for (int i = 0; i < 3; ++i) {
    const auto reply = client->post("/v1/completions", "{}");
    ASSERT_TRUE(reply) << i << ": " << reply.error().message;
    EXPECT_EQ(reply->status, 200);
  }
}

TEST(BurninRun, AServerThatSaysNothingIsGivenUp) {
  const Endpoint server([](int) { return std::string("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"); });
  auto client = HttpClient::open(server.url(), "", std::chrono::milliseconds(100));
  ASSERT_TRUE(client);
  const auto reply = client->post("/", "{}");
  ASSERT_FALSE(reply);
  EXPECT_NE(reply.error().message.find("no answer within 100 ms"), std::string::npos);
}

TEST(BurninRun, UrlsThatCannotBe) {
  for (const char* url : {"", "localhost:80", "https://x", "http://", "http://:80", "http://x:", "http://x:0",
                          "http://x:99999", "http://x:abc", "http://a@x:80", "http://x:80/?q"})
    EXPECT_FALSE(HttpClient::open(url, "", std::chrono::milliseconds(100))) << url;
  EXPECT_TRUE(HttpClient::open("http://[::1]:80/base/", "", std::chrono::milliseconds(100)));
}

TEST(BurninRun, StopEndsItBetweenRoundsAndPauses) {
  const test::TempFolder folder;
  const Endpoint a([](int) { return says("abc"); });
  auto o = options(a, a, folder.path("log"), 0);
  o.every = std::chrono::milliseconds(60000);
  std::atomic<bool> stop{false};
  const auto result = run(o, stop, [&](const Round&, const RunResult&) { stop = true; });
  ASSERT_TRUE(result);
  EXPECT_EQ(result->rounds, 1u);
}

}  // namespace
}  // namespace onebit::burnin
