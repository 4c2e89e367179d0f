#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "landing/landing_impl.h"
#include "server/access.h"

namespace onebit::landing {
namespace {

namespace http = beast::http;
using server::Connection;
using server::HttpResponse;

/// Of the live page: its own files and events, and nothing else.
constexpr const char* kPagePolicy =
    "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'";
/// Of the page of numbers, which has its style within itself and needs no script.
constexpr const char* kNumbersPolicy =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; sandbox allow-top-navigation-by-user-activation";

HttpResponse plain(int status, std::string sentence) {
  HttpResponse response;
  response.status = status;
  response.body = std::move(sentence) + "\n";
  response.type = "text/plain; charset=utf-8";
  return response;
}

bool is_head(const Connection& c) {
  return c.request().method() == http::verb::head;
}

}  // namespace

const WebFile* Landing::Impl::file_at(std::string_view path) const {
  const auto name = path == "/" ? std::string_view("index.html") : path.substr(1);
  for (const auto& file : options.page)
    if (file.name == name) return &file;
  return nullptr;
}

asio::awaitable<void> Landing::Impl::answer(Connection& c) {
  c.add_header("X-Content-Type-Options", "nosniff");
  c.add_header("Referrer-Policy", "no-referrer");
  c.add_header("Cross-Origin-Resource-Policy", "same-origin");
  if (c.request().method() != http::verb::get && !is_head(c)) {
    auto error = server::api_error(405, "method_not_allowed", "everything here can only be read: GET or HEAD");
    auto response = c.error_response(error);
    response.allow = "GET, HEAD";
    co_await c.respond(std::move(response));
    co_return;
  }
  // Pages of other sites, that somebody here looks at, get nothing: by another name for this machine, or as another
  // origin.
  const auto host = c.header("Host"), origin = c.header("Origin");
  const bool same = origin.empty() || origin.substr(std::min(origin.size(), origin.find("//") + 2)) == host;
  if (!server::names_this_machine(host, options.allowed_hosts) || !same) {
    auto error = server::api_error(403, "host_not_allowed",
                                   "this is not a name of this machine, or a page from elsewhere (--allow-host)");
    co_await c.refuse(error);
    co_return;
  }
  co_await route(c);
}

asio::awaitable<void> Landing::Impl::route(Connection& c) {
  const auto path = c.path();
  if (path == "/_live/stats" || path == "/_live/services") {
    if (is_head(c)) co_return co_await send_head(c, "text/event-stream");
    c.add_header("X-Accel-Buffering", "no");  // proxies would collect events otherwise
    c.forbid_keep_alive();
    if (path == "/_live/stats") co_return co_await watch_stats(c, c.query("services") == "1");
    co_return co_await watch_units(c);
  }
  if (path == "/_health" || path == "/metrics") {
    co_await scraper.refresh();
    HttpResponse response;
    response.body = path == "/metrics" ? metrics_text() : health_json();
    if (path == "/metrics") response.type = "text/plain; version=0.0.4; charset=utf-8";
    co_await c.respond(std::move(response));
    co_return;
  }
  if (path == "/numbers") co_return co_await send_numbers(c);
  if (const auto* file = file_at(path)) co_return co_await send_file(c, *file);
  auto response = path == "/" ? plain(404,
                                      "1bit-landing was built without its page: npm was missing. Its figures are at "
                                      "/_live/stats and /metrics.")
                              : plain(404, "There is nothing here. The page is at /.");
  co_await c.respond(std::move(response));
}

asio::awaitable<void> Landing::Impl::send_head(Connection& c, const char* type) {
  HttpResponse response;
  response.type = type;
  co_await c.respond(std::move(response));
}

asio::awaitable<void> Landing::Impl::send_file(Connection& c, const WebFile& file) {
  c.add_header("Content-Security-Policy", kPagePolicy);
  c.add_header("ETag", std::string(file.etag));
  c.add_header("Cache-Control", "no-cache");
  HttpResponse response;
  response.type = std::string(file.type);
  if (c.header("If-None-Match").find(file.etag) != std::string_view::npos) {
    response.status = 304;
  } else {
    c.add_header("Content-Encoding", "gzip");
    response.body.assign(file.gzip.begin(), file.gzip.end());
  }
  co_await c.respond(std::move(response));
}

asio::awaitable<void> Landing::Impl::send_numbers(Connection& c) {
  const auto text = numbers.text();
  if (text == nullptr) {
    auto response = plain(404,
                          "There is no page of numbers. halo report --format html -o FILE writes one, and "
                          "--records-page FILE shows it here.");
    co_await c.respond(std::move(response));
    co_return;
  }
  c.add_header("Content-Security-Policy", kNumbersPolicy);
  if (is_head(c)) co_return co_await send_head(c, numbers.type());
  c.forbid_keep_alive();  // a body that came with the request is not read
  // Written from the one text, however many read it slowly.
  if (co_await c.begin_stream(numbers.type()) && co_await c.write(*text)) co_await c.end_stream();
}

std::string Landing::Impl::health_json() const {
  const auto& scrape = *scraper.latest();
  nlohmann::ordered_json json{{"status", "ok"}, {"server", scrape.up ? "up" : "down"}, {"error", nullptr}};
  if (!scrape.up) json["error"] = scrape.error;
  json["viewers"] = viewers;
  return json.dump();
}

std::string Landing::Impl::metrics_text() const {
  std::string text;
  const auto add = [&](const char* name, const char* type, const char* help, double value) {
    text += fmt::format("# HELP {0} {1}\n# TYPE {0} {2}\n{0} {3}\n", name, help, type, value);
  };
  const auto& scrape = *scraper.latest();
  add("onebit_landing_server_up", "gauge", "1 where the server answered the last scrape", scrape.up ? 1 : 0);
  add("onebit_landing_last_seen_seconds", "gauge", "When it did so last, since 1970; 0: never",
      scrape.last_seen.value_or(0));
  add("onebit_landing_scrapes_total", "counter", "Scrapes of the server", static_cast<double>(scraper.scrapes()));
  add("onebit_landing_scrape_failures_total", "counter", "Scrapes that failed",
      static_cast<double>(scraper.failures()));
  add("onebit_landing_viewers", "gauge", "Who watches /_live/stats now", static_cast<double>(viewers));
  add("onebit_landing_connections", "gauge", "Open connections", static_cast<double>(connections));
  add("onebit_landing_events_total", "counter", "Events of /_live/stats, each sent to all viewers",
      static_cast<double>(stats_number));
  return text;
}

}  // namespace onebit::landing
