// GET requests to a host that may be hostile, several at once on one thread: redirects by our own rules, bounds on all
// that comes, every end named as one that another try may mend or as one that it will not.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace onebit::hub {

struct HostOptions {
  std::string endpoint = "https://huggingface.co";  // http or https, with a port and a prefix where there are any
  /// Sent as a bearer token to the endpoint's own scheme, host and port and no other, and over plain http only to this
  /// machine. Empty: none.
  std::string token;
  std::string certificates;  // a file of authorities to trust instead of the system's; empty: the system's
  unsigned connections = 4;  // at once, for one file
  unsigned attempts = 6;     // in a row without progress
  std::chrono::milliseconds connect_timeout{20'000};
  std::chrono::seconds silence{30};                   // with less than 1 kB a second, a request has failed
  std::chrono::milliseconds first_wait{1'000};        // before the second attempt; twice as long before each further
  std::chrono::milliseconds longest_wait{30'000};     // the limit of those
  std::chrono::seconds longest_retry_after{300};      // a host that asks for more ends the download
  std::function<bool()> stop = [] { return false; };  // asked often; true ends whatever is under way
};

/// What the headers of an answer say; of redirects, what the endpoint itself said in them.
struct ReplyHead {
  int status = 0;
  std::string origin;                   // scheme, host and port that answer; set for on_head
  std::string etag;                     // as it stands, with quotes
  std::string linked_etag;              // X-Linked-ETag, without quotes: of the endpoint only
  std::optional<uint64_t> length;       // Content-Length
  std::optional<uint64_t> range_begin;  // Content-Range: bytes BEGIN-LAST/TOTAL
  std::optional<uint64_t> range_last;
  std::optional<uint64_t> range_total;
  std::string link;  // Link
};

struct GetRequest {
  std::string url;
  std::string what;                                    // begins errors: the file's name, or what is asked for
  std::optional<std::pair<uint64_t, uint64_t>> range;  // [first, second) of the file
  std::string if_range;                                // the ETag that the range is of
  std::function<Status(const ReplyHead&)> on_head;     // of an answer of 200 or 206, before its body; an error ends it
  std::function<Status(std::string_view)> on_body;     // a piece
};

struct GetOutcome {
  enum class Kind { kDone, kRetry, kFailed };
  Kind kind = Kind::kDone;
  int status = 0;                       // of the last answer; 0: there was none
  Error error{};                        // unless kDone
  std::chrono::seconds retry_after{0};  // of kRetry, where the host says it
};

/// Several GETs at once. For one thread.
class Fetcher {
 public:
  /// Errors: an endpoint that is no URL or not http(s), a token that is none.
  static Result<Fetcher> open(const HostOptions& options);
  Fetcher(Fetcher&&) noexcept;
  ~Fetcher();

  /// The endpoint without a slash at its end.
  const std::string& endpoint() const;
  /// Begins a GET, named by the returned number.
  uint64_t start(GetRequest request);
  /// Ends one without an outcome.
  void cancel(uint64_t id);
  /// Works for at most 100 ms; the GETs that ended meanwhile.
  std::vector<std::pair<uint64_t, GetOutcome>> work();

 private:
  struct Impl;
  explicit Fetcher(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// How long to wait before the attempt after the `failures`th in a row, or an error where the host wants longer than is
/// allowed or the attempts are used up.
Result<std::chrono::milliseconds> wait_before_retry(const HostOptions& options, unsigned failures,
                                                    const GetOutcome& outcome);

/// Waits, but not beyond a stop.
Status wait_for(const HostOptions& options, std::chrono::milliseconds time, std::string_view what);

struct Text {
  std::string body;
  ReplyHead head;
};
/// A whole answer of at most `most_bytes`, tried again as the options say. An outcome of status 404 is null.
Result<std::optional<Text>> get_text(Fetcher& fetcher, const HostOptions& options, const std::string& url,
                                     const std::string& what, size_t most_bytes);

/// `path` as it stands in a URL: all but letters, digits, "-._~" and '/' as %XX.
std::string url_path(std::string_view path);

/// "http://127.0.0.1:80" of a URL; an error where it is not http or https or has a user.
Result<std::string> origin_of(const std::string& url);

/// What an answer's headers say, line by line; redirects are `from_endpoint` or not.
void read_header_line(std::string_view line, bool from_endpoint, ReplyHead& head);

}  // namespace onebit::hub
