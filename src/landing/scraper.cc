#include "landing/scraper.h"

#include <fmt/format.h>

#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <new>

#include "landing/key_file.h"
#include "landing/words.h"

namespace onebit::landing {
namespace {

namespace beast = boost::beast;
namespace http = beast::http;
using server::kAwait;
using Answer = tl::expected<std::string, std::string>;

double seconds_since_1970() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string sentence_for(unsigned status) {
  switch (status) {
    case 401:
      return "the server wants an API key: start with --api-key-file";
    case 403:
      return "the server refuses to be asked by this name: give its address to --server, or allow the name there";
    case 503:
      return "the server is there, but not ready";
    default:
      return fmt::format("the server answers with status {}", status);
  }
}

std::string why(const std::string& what, boost::system::error_code error) {
  if (error == beast::error::timeout) return "the server gives no answer in time";
  if (error == http::error::body_limit) return "what answers there says too much to be 1bit-server";
  return fmt::format("{}: {}", what, error.message());
}

}  // namespace

Scraper::Scraper(asio::io_context& io, Target target, std::string key_file)
    : io_(io),
      target_(std::move(target)),
      key_file_(std::move(key_file)),
      lookup_(io, target_.host, target_.port),
      done_(io.get_executor()) {
  boost::system::error_code is_a_name;
  const auto address = asio::ip::make_address(target_.host, is_a_name);
  if (is_a_name) return;
  const asio::ip::tcp::endpoint endpoint(address, static_cast<uint16_t>(std::stoi(target_.port)));
  endpoints_ = Lookup::Addresses::create(endpoint, target_.host, target_.port);
  looked_up_ = Clock::time_point::max();
}

asio::awaitable<void> Scraper::refresh() {
  if (latest_ != nullptr && Clock::now() - taken_ < kCache) co_return;
  if (under_way_) {
    const auto before = scrapes_;
    while (under_way_ && scrapes_ == before) co_await done_.wait();
  } else {
    under_way_ = true;
    try {
      const auto answer = co_await ask();
      take(answer);
    } catch (const std::exception&) {  // no memory: what was known stays known, and is told with its time
    }
    under_way_ = false;
    done_.all();
  }
  if (latest_ == nullptr) throw std::bad_alloc();
}

/// Why its address is not known; empty where it is. Names are looked up again each minute, or at each look while they
/// cannot be; meanwhile what was found before is good enough.
asio::awaitable<std::string> Scraper::find_server(Clock::time_point deadline) {
  const auto now = Clock::now();
  if (looked_up_ > now - std::chrono::minutes(1)) co_return std::string();
  lookup_.start();
  boost::system::error_code error;
  endpoints_ = co_await lookup_.addresses(deadline, error);
  if (error == asio::error::timed_out)
    co_return fmt::format("the server's name ({}) is not found in time: what looks up names does not answer", host());
  if (error) co_return why(fmt::format("the server's name ({}) cannot be resolved", host()), error);
  looked_up_ = now;
  co_return std::string();
}

/// For a sentence that anybody may read.
std::string Scraper::host() const {
  return fit_to_show(target_.host, 80);
}

asio::awaitable<Answer> Scraper::ask() {
  const auto deadline = Clock::now() + kTime;
  const auto key = key_file_.empty() ? Result<std::string>() : read_key(key_file_);  // it may change under us
  if (!key) co_return tl::unexpected(key.error().message);
  auto unknown = co_await find_server(deadline);
  if (!unknown.empty()) co_return tl::unexpected(std::move(unknown));
  beast::tcp_stream stream(io_);
  stream.expires_at(deadline);
  const auto [refused, endpoint] = co_await stream.async_connect(endpoints_, kAwait);
  if (refused) co_return tl::unexpected(why("the server cannot be reached", refused));
  http::request<http::empty_body> request(http::verb::get, target_.path, 11);
  const bool v6 = target_.host.find(':') != std::string::npos;
  request.set(http::field::host, fmt::format(fmt::runtime(v6 ? "[{}]:{}" : "{}:{}"), target_.host, target_.port));
  request.set(http::field::user_agent, "1bit-landing");
  request.set(http::field::connection, "close");
  if (!key->empty()) request.set(http::field::authorization, "Bearer " + *key);
  const auto [lost, written] = co_await http::async_write(stream, request, kAwait);
  if (lost) co_return tl::unexpected(why("the server takes no request", lost));
  beast::flat_buffer buffer(64 << 10);
  http::response_parser<http::string_body> parser;
  parser.header_limit(16 << 10);
  parser.body_limit(kMostBytes);
  const auto [cut, read] = co_await http::async_read(stream, buffer, parser, kAwait);
  if (cut) co_return tl::unexpected(why("the server's answer is not whole", cut));
  auto response = parser.release();
  if (response.result_int() != 200) co_return tl::unexpected(sentence_for(response.result_int()));
  co_return std::move(response.body());
}

void Scraper::take(const Answer& answer) {
  auto scrape = std::make_shared<Scrape>();
  scrape->time = seconds_since_1970();
  if (answer) scrape->facts = facts_of(*answer);
  scrape->up = scrape->facts.tokens_a_second.has_value();
  if (!answer)
    scrape->error = answer.error();
  else if (!scrape->up)
    scrape->error = "what answers there is not 1bit-server: it tells no tokps_recent";
  if (!scrape->up) scrape->facts = {};
  scrape->last_seen = scrape->up ? scrape->time : latest_ != nullptr ? latest_->last_seen : std::nullopt;
  taken_ = Clock::now();
  if (scrape->up) seen_ = taken_;
  if (scrape->last_seen) scrape->last_seen_age = std::chrono::duration<double>(taken_ - seen_).count();
  latest_ = std::move(scrape);
  ++scrapes_;
  failures_ += latest_->up ? 0 : 1;
}

}  // namespace onebit::landing
