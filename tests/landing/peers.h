// Those that a Landing speaks with: a server before it, and viewers.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>
#include <mutex>
#include <string>
#include <thread>

namespace onebit::landing {

namespace asio = boost::asio;
using asio::ip::tcp;

/// Answers each request with what set() said last, and counts them.
class FakeServer {
 public:
  FakeServer() : acceptor_(io_, {asio::ip::make_address("127.0.0.1"), 0}), thread_([this] { serve(); }) {}
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;
  ~FakeServer() {
    ending_ = true;
    tcp::socket last(io_);
    boost::system::error_code ignored;
    last.connect(acceptor_.local_endpoint(), ignored);
    thread_.join();
  }

  std::string url() const { return "http://127.0.0.1:" + std::to_string(acceptor_.local_endpoint().port()); }
  int requests() const { return requests_; }
  std::string last_request() {
    const std::lock_guard lock(mutex_);
    return request_;
  }
  void set(std::string answer) {
    const std::lock_guard lock(mutex_);
    answer_ = std::move(answer);
  }
  void set_body(const std::string& body, const std::string& status = "200 OK") {
    set("HTTP/1.1 " + status + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  }

 private:
  void serve() {
    while (true) {
      tcp::socket socket(io_);
      boost::system::error_code error;
      acceptor_.accept(socket, error);
      if (ending_) return;
      std::string header;
      asio::read_until(socket, asio::dynamic_buffer(header), "\r\n\r\n", error);
      ++requests_;
      std::string answer;
      {
        const std::lock_guard lock(mutex_);
        request_ = header;
        answer = answer_;
      }
      asio::write(socket, asio::buffer(answer), error);
    }
  }

  asio::io_context io_;
  tcp::acceptor acceptor_;
  std::atomic<bool> ending_{false};
  std::atomic<int> requests_{0};
  std::mutex mutex_;
  std::string answer_, request_;
  std::thread thread_;
};

class Client {
 public:
  Client(uint16_t port, const std::string& request) : socket_(io_) {
    socket_.connect({asio::ip::make_address("127.0.0.1"), port});
    asio::write(socket_, asio::buffer(request));
  }
  /// What comes until it holds `word`, or the connection ends.
  std::string until(const std::string& word) {
    boost::system::error_code error;
    const auto size = asio::read_until(socket_, asio::dynamic_buffer(held_), word, error);
    const auto text = held_.substr(0, error ? held_.size() : size);
    held_.erase(0, text.size());
    return text;
  }

 private:
  asio::io_context io_;
  tcp::socket socket_;
  std::string held_;
};

inline std::string request_for(const std::string& path, const std::string& method = "GET",
                               const std::string& more = "") {
  return method + " " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + more + "\r\n";
}

}  // namespace onebit::landing
