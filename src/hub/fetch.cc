#include "hub/fetch.h"

#include <curl/curl.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <random>
#include <thread>

#include "base/utf8.h"

namespace onebit::hub {
namespace {

constexpr int kMostRedirects = 10;
constexpr size_t kMostHeaderBytes = size_t{256} << 10;  // of an answer
constexpr size_t kMostErrorBytes = size_t{64} << 10;    // of the body of an answer that is no success

template <auto kFree>
struct Freed {
  template <class T>
  void operator()(T* owned) const {
    kFree(owned);
  }
};
using Easy = std::unique_ptr<CURL, Freed<curl_easy_cleanup>>;
using Multi = std::unique_ptr<CURLM, Freed<curl_multi_cleanup>>;
using Parsed = std::unique_ptr<CURLU, Freed<curl_url_cleanup>>;
using HeaderList = std::unique_ptr<curl_slist, Freed<curl_slist_free_all>>;
using CurlText = std::unique_ptr<char, Freed<curl_free>>;

std::string url_part(CURLU* url, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, flags) != CURLUE_OK) return {};
  const CurlText owner(text);
  return text;
}

bool is_here(std::string_view origin) {
  for (const auto* host : {"http://127.0.0.1:", "http://localhost:", "http://[::1]:"})
    if (origin.starts_with(host)) return true;
  return false;
}

/// Everything that curl must be told once for a handle. The URL and the headers come later.
void set_up(CURL* handle, const HostOptions& options) {
  // Not CURLOPT_NOSIGNAL: curl would leave us the SIGPIPE of OpenSSL's writes, which now it ignores while it works.
  curl_easy_setopt(handle, CURLOPT_FOLLOWLOCATION, 0L);  // ours to follow: the token, downgrades
  curl_easy_setopt(handle, CURLOPT_USERAGENT, "1bit-halo");
  curl_easy_setopt(handle, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
  curl_easy_setopt(handle, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  // One connection a request: several ranges in one HTTP/2 connection would share its window.
  curl_easy_setopt(handle, CURLOPT_HTTP_VERSION, long{CURL_HTTP_VERSION_1_1});
  curl_easy_setopt(handle, CURLOPT_BUFFERSIZE, 256L << 10);
  curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options.connect_timeout.count()));
  curl_easy_setopt(handle, CURLOPT_LOW_SPEED_LIMIT, 1000L);
  curl_easy_setopt(handle, CURLOPT_LOW_SPEED_TIME, static_cast<long>(options.silence.count()));
  curl_easy_setopt(handle, CURLOPT_SSL_VERIFYPEER, 1L);
  curl_easy_setopt(handle, CURLOPT_SSL_VERIFYHOST, 2L);
  if (!options.certificates.empty()) curl_easy_setopt(handle, CURLOPT_CAINFO, options.certificates.c_str());
  curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
}

std::optional<uint64_t> number(std::string_view text) {
  uint64_t value = 0;
  const auto end = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end.ec != std::errc() || end.ptr != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return result;
}

/// "bytes 0-99/1000".
void read_content_range(std::string_view value, ReplyHead& head) {
  constexpr std::string_view kUnit = "bytes ";
  const size_t dash = value.find('-'), slash = value.find('/');
  if (!value.starts_with(kUnit) || dash == std::string_view::npos || slash == std::string_view::npos || dash > slash)
    return;
  head.range_begin = number(value.substr(kUnit.size(), dash - kUnit.size()));
  head.range_last = number(value.substr(dash + 1, slash - dash - 1));
  head.range_total = number(value.substr(slash + 1));
}

bool may_pass(CURLcode code) {
  switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_PARTIAL_FILE:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_WEIRD_SERVER_REPLY:
      return true;
    default:
      return false;
  }
}

/// What an answer that is no success means for whoever asked.
std::string explain_status(int status, std::string_view what, std::string_view origin, bool has_token,
                           bool token_sent) {
  const auto token = has_token && !token_sent ? "; $HF_TOKEN was not sent: it goes to the endpoint only, over https"
                     : has_token              ? "; see that $HF_TOKEN is valid and may read it"
                                 : "; if it is private or gated, set $HF_TOKEN to a token that may read it";
  switch (status) {
    case 401:
      return fmt::format("{}: {} wants a login (401): look at the name{}", what, origin, token);
    case 403:
      return fmt::format("{}: {} refuses access (403): gated models have terms to accept on their page{}", what, origin,
                         token);
    case 404:
      return fmt::format("{}: {} has none such (404): look at the name, revision and file", what, origin);
    case 429:
      return fmt::format("{}: {} has too many requests of yours (429): wait a while, or set $HF_TOKEN", what, origin);
    default:
      return fmt::format("{}: {} answers with status {}", what, origin, status);
  }
}

bool status_may_pass(int status) {
  return status == 408 || status == 425 || status == 429 || (status >= 500 && status <= 504);
}

}  // namespace

/// One GET and the redirects it leads to.
struct Get {
  GetRequest request;
  const HostOptions* options = nullptr;
  std::string endpoint_origin;

  Easy handle{curl_easy_init()};
  HeaderList headers;
  std::string url, origin;
  bool left_endpoint = false;  // by a redirect: from then on no token
  bool token_sent = false;
  int hops = 0;
  ReplyHead head;
  size_t header_bytes = 0, error_bytes = 0;
  bool head_told = false;
  std::optional<Error> refused;  // by on_head or on_body, or by bounds

  Status go_to(std::string target);
  size_t take_header(std::string_view line);
  size_t take_body(std::string_view piece);
  Status tell_head();
  GetOutcome outcome(CURLcode code);
  /// The next URL where the answer is a redirect.
  std::string redirect() const;
};

namespace {

size_t on_header(char* data, size_t size, size_t count, void* get) {
  return static_cast<Get*>(get)->take_header({data, size * count});
}
size_t on_piece(char* data, size_t size, size_t count, void* get) {
  return static_cast<Get*>(get)->take_body({data, size * count});
}

}  // namespace

Status Get::go_to(std::string target) {
  auto parsed = origin_of(target);
  if (!parsed && hops > 0)
    return fail("{}: {} redirects to what is not followed: {}", request.what, origin, parsed.error().message);
  ASSIGN_OR_RETURN(auto next, std::move(parsed));
  if (origin.starts_with("https:") && !next.starts_with("https:"))
    return fail("{}: {} redirects to {}, which is not encrypted: refused", request.what, origin, next);
  if (next != endpoint_origin) left_endpoint = true;
  origin = std::move(next);
  url = std::move(target);
  curl_slist* list = nullptr;
  const auto add = [&](const std::string& line) {
    if (curl_slist* longer = curl_slist_append(list, line.c_str())) list = longer;
  };
  token_sent = !options->token.empty() && !left_endpoint && (origin.starts_with("https:") || is_here(origin));
  if (token_sent) add("Authorization: Bearer " + options->token);
  if (request.range) {
    add(fmt::format("Range: bytes={}-{}", request.range->first, request.range->second - 1));
    if (!request.if_range.empty()) add("If-Range: " + request.if_range);
  }
  head.status = 0;
  // What is for this machine never goes by a proxy, null: what the environment says.
  curl_easy_setopt(handle.get(), CURLOPT_PROXY, is_here(origin) ? "" : nullptr);
  header_bytes = error_bytes = 0;
  curl_easy_setopt(handle.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(handle.get(), CURLOPT_HTTPHEADER, list);
  headers.reset(list);
  return {};
}

size_t Get::take_header(std::string_view line) {
  header_bytes += line.size();
  if (header_bytes > kMostHeaderBytes) {
    refused = Error{fmt::format("{}: {} sends more than {} bytes of headers", request.what, origin, kMostHeaderBytes)};
    return 0;
  }
  read_header_line(line, !left_endpoint, head);
  return line.size();
}

Status Get::tell_head() {
  if (head_told) return {};
  head_told = true;
  head.origin = origin;
  return request.on_head ? request.on_head(head) : Status{};
}

size_t Get::take_body(std::string_view piece) {
  if (head.status != 200 && head.status != 206) {
    error_bytes += piece.size();
    return error_bytes > kMostErrorBytes ? 0 : piece.size();  // the status is known; the rest is not worth reading
  }
  auto status = tell_head();
  if (status) status = request.on_body(piece);
  if (status) return piece.size();
  refused = std::move(status).error();
  return 0;
}

std::string Get::redirect() const {
  if (head.status < 300 || head.status > 399) return {};
  const char* next = nullptr;
  curl_easy_getinfo(handle.get(), CURLINFO_REDIRECT_URL, &next);
  return next == nullptr ? std::string() : next;
}

GetOutcome Get::outcome(CURLcode code) {
  using Kind = GetOutcome::Kind;
  if (refused) return {Kind::kFailed, head.status, *refused};
  const bool success = head.status == 200 || head.status == 206;
  if (head.status >= 300 && !success) {
    curl_off_t seconds = 0;
    curl_easy_getinfo(handle.get(), CURLINFO_RETRY_AFTER, &seconds);
    return {status_may_pass(head.status) ? Kind::kRetry : Kind::kFailed, head.status,
            Error{explain_status(head.status, request.what, origin, !options->token.empty(), token_sent)},
            std::chrono::seconds(seconds)};
  }
  if (code != CURLE_OK) {
    const auto* reason = curl_easy_strerror(code);
    if (code == CURLE_SSL_CACERT_BADFILE)
      return {
          Kind::kFailed, 0,
          Error{fmt::format("{}: there are no authorities to check {} by: install Debian's ca-certificates, or name "
                            "a file of them with $SSL_CERT_FILE",
                            request.what, origin)}};
    if (code == CURLE_PEER_FAILED_VERIFICATION)
      return {
          Kind::kFailed, 0,
          Error{fmt::format("{}: {}: its certificate is not to be trusted: nothing was sent to it; where a proxy of "
                            "yours stands between, name its authority with $SSL_CERT_FILE",
                            request.what, origin)}};
    return {may_pass(code) ? Kind::kRetry : Kind::kFailed, head.status,
            Error{fmt::format("{}: {}: {}", request.what, origin, reason)}};
  }
  if (!success)
    return {Kind::kFailed, head.status,
            Error{fmt::format("{}: {} answers with status {}", request.what, origin, head.status)}};
  if (auto status = tell_head(); !status) return {Kind::kFailed, head.status, status.error()};  // an empty body
  return {Kind::kDone, head.status};
}

struct Fetcher::Impl {
  HostOptions options;
  std::string endpoint, origin;
  Multi multi{curl_multi_init()};
  std::map<uint64_t, std::unique_ptr<Get>> gets;
  std::vector<std::pair<uint64_t, GetOutcome>> ended;
  uint64_t last_id = 0;

  void finish(uint64_t id, GetOutcome outcome);
  void follow(uint64_t id, Get& get, CURLcode code);
};

void Fetcher::Impl::finish(uint64_t id, GetOutcome outcome) {
  curl_multi_remove_handle(multi.get(), gets.at(id)->handle.get());
  gets.erase(id);
  ended.emplace_back(id, std::move(outcome));
}

void Fetcher::Impl::follow(uint64_t id, Get& get, CURLcode code) {
  const auto next = get.refused ? std::string() : get.redirect();
  if (next.empty()) return finish(id, get.outcome(code));
  if (++get.hops > kMostRedirects) {
    const auto message =
        fmt::format("{}: {} redirects more than {} times", get.request.what, get.origin, kMostRedirects);
    return finish(id, {GetOutcome::Kind::kFailed, get.head.status, Error{message}});
  }
  if (auto status = get.go_to(next); !status)
    return finish(id, {GetOutcome::Kind::kFailed, get.head.status, status.error()});
  curl_multi_remove_handle(multi.get(), get.handle.get());
  curl_multi_add_handle(multi.get(), get.handle.get());
}

Fetcher::Fetcher(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Fetcher::Fetcher(Fetcher&&) noexcept = default;
Fetcher::~Fetcher() {
  if (!impl_) return;
  for (const auto& [id, get] : impl_->gets) curl_multi_remove_handle(impl_->multi.get(), get->handle.get());
}

Result<Fetcher> Fetcher::open(const HostOptions& options) {
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (ready != CURLE_OK) return fail("libcurl cannot be used: {}", curl_easy_strerror(ready));
  auto impl = std::make_unique<Impl>();
  if (!impl->multi) return fail("libcurl cannot be used: out of memory");
  impl->options = options;
  impl->endpoint = options.endpoint;
  while (impl->endpoint.ends_with('/')) impl->endpoint.pop_back();
  const bool odd = impl->endpoint.find_first_of("?#@ \t\r\n") != std::string::npos;
  auto origin = odd ? Result<std::string>(fail("")) : origin_of(impl->endpoint);
  if (!origin)
    return fail("{}: expected a host as https://HOST or http://HOST:PORT, without a user or a query",
                printable(impl->endpoint, 80));
  impl->origin = *std::move(origin);
  if (std::any_of(options.token.begin(), options.token.end(), [](char c) { return c <= ' ' || c > '~'; }))
    return fail("$HF_TOKEN holds something that is no letter, digit or sign: it is no token");
  return Fetcher(std::move(impl));
}

const std::string& Fetcher::endpoint() const {
  return impl_->endpoint;
}

uint64_t Fetcher::start(GetRequest request) {
  auto& impl = *impl_;
  const uint64_t id = ++impl.last_id;
  auto& get = *(impl.gets[id] = std::make_unique<Get>());
  get.request = std::move(request);
  get.options = &impl.options;
  get.endpoint_origin = impl.origin;
  set_up(get.handle.get(), impl.options);
  curl_easy_setopt(get.handle.get(), CURLOPT_HEADERFUNCTION, &on_header);
  curl_easy_setopt(get.handle.get(), CURLOPT_HEADERDATA, &get);
  curl_easy_setopt(get.handle.get(), CURLOPT_WRITEFUNCTION, &on_piece);
  curl_easy_setopt(get.handle.get(), CURLOPT_WRITEDATA, &get);
  curl_easy_setopt(get.handle.get(), CURLOPT_PRIVATE, &get);
  if (auto status = get.go_to(get.request.url); !status) {
    impl.finish(id, {GetOutcome::Kind::kFailed, 0, status.error()});
  } else {
    curl_multi_add_handle(impl.multi.get(), get.handle.get());
  }
  return id;
}

void Fetcher::cancel(uint64_t id) {
  auto& impl = *impl_;
  std::erase_if(impl.ended, [&](const auto& entry) { return entry.first == id; });
  const auto it = impl.gets.find(id);
  if (it == impl.gets.end()) return;
  curl_multi_remove_handle(impl.multi.get(), it->second->handle.get());
  impl.gets.erase(it);
}

std::vector<std::pair<uint64_t, GetOutcome>> Fetcher::work() {
  auto& impl = *impl_;
  int running = 0;
  curl_multi_perform(impl.multi.get(), &running);
  if (running > 0 && impl.ended.empty()) {
    curl_multi_poll(impl.multi.get(), nullptr, 0, 100, nullptr);
    curl_multi_perform(impl.multi.get(), &running);
  }
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(impl.multi.get(), &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode code = message->data.result;
    const auto it = std::find_if(impl.gets.begin(), impl.gets.end(),
                                 [&](const auto& entry) { return entry.second->handle.get() == message->easy_handle; });
    if (it != impl.gets.end()) impl.follow(it->first, *it->second, code);
  }
  return std::exchange(impl.ended, {});
}

Result<std::chrono::milliseconds> wait_before_retry(const HostOptions& options, unsigned failures,
                                                    const GetOutcome& outcome) {
  if (failures >= options.attempts)
    return fail("{} (tried {} times; the same command goes on where this ended)", outcome.error.message, failures);
  if (outcome.retry_after > options.longest_retry_after)
    return fail("{}; the host asks to wait {} s: try again after that", outcome.error.message,
                outcome.retry_after.count());
  const auto doubled = options.first_wait * (1U << std::min(failures - 1, 16U));
  auto wait = std::min(doubled, options.longest_wait);
  static std::minstd_rand random{std::random_device{}()};
  wait += wait * static_cast<int>(random() % 250) / 1000;  // so that many who failed together do not come together
  return std::max<std::chrono::milliseconds>(wait, outcome.retry_after);
}

Status wait_for(const HostOptions& options, std::chrono::milliseconds time, std::string_view what) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < end) {
    if (options.stop()) return fail("{}: stopped", what);
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    std::this_thread::sleep_for(std::clamp(left, std::chrono::milliseconds(1), std::chrono::milliseconds(50)));
  }
  return {};
}

Result<std::optional<Text>> get_text(Fetcher& fetcher, const HostOptions& options, const std::string& url,
                                     const std::string& what, size_t most_bytes) {
  for (unsigned failures = 0;;) {
    Text text;
    GetRequest request{.url = url, .what = what, .range = {}, .if_range = {}, .on_head = {}, .on_body = {}};
    request.on_head = [&](const ReplyHead& head) -> Status {
      text.head = head;
      return {};
    };
    request.on_body = [&](std::string_view piece) -> Status {
      if (piece.size() > most_bytes - text.body.size())
        return fail("{}: the answer has more than {} bytes", what, most_bytes);
      text.body += piece;
      return {};
    };
    const uint64_t id = fetcher.start(std::move(request));
    std::optional<GetOutcome> outcome;
    while (!outcome) {
      if (options.stop()) {
        fetcher.cancel(id);
        return fail("{}: stopped", what);
      }
      for (auto& [ended, how] : fetcher.work())
        if (ended == id) outcome = std::move(how);
    }
    if (outcome->kind == GetOutcome::Kind::kDone) return std::optional(std::move(text));
    if (outcome->status == 404) return std::optional<Text>();
    if (outcome->kind == GetOutcome::Kind::kFailed) return tl::unexpected(outcome->error);
    ASSIGN_OR_RETURN(const auto wait, wait_before_retry(options, ++failures, *outcome));
    RETURN_IF_ERROR(wait_for(options, wait, what));
  }
}

std::string url_path(std::string_view path) {
  std::string result;
  for (const char c : path) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("-._~/").find(c) != std::string_view::npos;
    if (plain) {
      result += c;
    } else {
      result += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return result;
}

Result<std::string> origin_of(const std::string& text) {
  const Parsed url(curl_url());
  if (!url || curl_url_set(url.get(), CURLUPART_URL, text.c_str(), CURLU_DISALLOW_USER) != CURLUE_OK)
    return fail("'{}' is no URL without a user", printable(text, 80));
  const auto scheme = url_part(url.get(), CURLUPART_SCHEME);
  if (scheme != "http" && scheme != "https") return fail("'{}' is neither http nor https", printable(text, 80));
  const auto host = lower(url_part(url.get(), CURLUPART_HOST));
  constexpr size_t kLongest = 253;  // of a name in DNS
  if (host.size() > kLongest || std::any_of(host.begin(), host.end(), [](char c) { return c <= ' ' || c > '~'; }))
    return fail("'{}' has a host that is no name", printable(text, 80));
  return fmt::format("{}://{}:{}", scheme, host, url_part(url.get(), CURLUPART_PORT, CURLU_DEFAULT_PORT));
}

void read_header_line(std::string_view line, bool from_endpoint, ReplyHead& head) {
  if (line.starts_with("HTTP/")) {  // the next answer: a redirect's, or after one of 100 to 199
    auto linked = std::move(head.linked_etag);
    head = ReplyHead();
    head.linked_etag = std::move(linked);
    const size_t space = line.find(' ');
    if (space != std::string_view::npos) head.status = static_cast<int>(number(line.substr(space + 1, 3)).value_or(0));
    return;
  }
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return;
  const auto name = lower(line.substr(0, colon));
  const auto value = trim_white_space(line.substr(colon + 1));
  if (name == "etag") {
    head.etag = value;
  } else if (name == "x-linked-etag" && from_endpoint) {
    head.linked_etag = value;
    std::erase(head.linked_etag, '"');
  } else if (name == "content-length") {
    head.length = number(value);
  } else if (name == "content-range") {
    read_content_range(value, head);
  } else if (name == "link") {
    head.link = value;
  }
}

}  // namespace onebit::hub
