// A server in this process, and a client that takes its answers apart.
#pragma once

#include <gtest/gtest.h>

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "server/server.h"

namespace onebit::server::test {

using boost::asio::ip::tcp;
using nlohmann::json;

/// A server on a thread of its own.
class Running {
 public:
  explicit Running(ServerOptions options, std::vector<std::string> keys = {})
      : server_(std::move(options), *AccessKeys::load(std::move(keys), ""),
                [this](const std::string& line) { log_line(line); }) {
    port = *server_.listen();
    thread_ = std::thread([this] { EXPECT_TRUE(server_.run()); });
    while (get("/health").find(" 200 ") == std::string::npos) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  ~Running() { stop(); }
  void stop() {
    if (!thread_.joinable()) return;
    server_.stop();
    thread_.join();
  }

  /// The whole answer, header and body; `bytes` of it at most, after which the client leaves.
  std::string exchange(const std::string& request, size_t bytes = ~size_t{0}) const {
    boost::asio::io_context io;
    tcp::socket socket(io);
    boost::system::error_code error;
    socket.connect({boost::asio::ip::make_address("127.0.0.1"), port}, error);
    boost::asio::write(socket, boost::asio::buffer(request), error);
    std::string answer;
    while (!error && answer.size() < bytes) {
      char part[4096];
      const size_t n = socket.read_some(boost::asio::buffer(part), error);
      answer.append(part, n);
    }
    return answer;
  }
  std::string get(const std::string& path) const {
    return exchange("GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  }
  std::string post(const std::string& path, const json& body, size_t bytes = ~size_t{0}) const {
    const auto text = body.dump();
    return exchange("POST " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: " +
                        std::to_string(text.size()) + "\r\n\r\n" + text,
                    bytes);
  }
  /// A metric without labels.
  double metric(const std::string& name) const {
    const auto page = get("/metrics");
    const size_t at = page.find("\n" + name + " ");
    return at == std::string::npos ? -1 : std::stod(page.substr(at + name.size() + 2));
  }

  std::string log() const {
    const std::lock_guard lock(mutex_);
    return log_;
  }

  uint16_t port = 0;

 private:
  void log_line(const std::string& line) {
    const std::lock_guard lock(mutex_);
    log_ += line + "\n";
  }

  mutable std::mutex mutex_;
  std::string log_;
  Server server_;
  std::thread thread_;
};

inline json body_of(const std::string& answer) {
  const size_t at = answer.find("\r\n\r\n");
  return at == std::string::npos ? json() : json::parse(answer.substr(at + 4), nullptr, false);
}

}  // namespace onebit::server::test
