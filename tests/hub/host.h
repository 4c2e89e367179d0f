// A Hugging-Face-shaped host of a test's own: a real socket, with or without TLS, that answers well unless told to lie.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace onebit::test {

struct HostRequest {
  std::string target;                          // as it stands in the first line
  std::map<std::string, std::string> headers;  // names in lower case

  std::string header(const std::string& name) const {
    const auto it = headers.find(name);
    return it == headers.end() ? std::string() : it->second;
  }
  /// "bytes=BEGIN-LAST" as [begin, end).
  std::optional<std::pair<size_t, size_t>> range() const;
};

/// The connection of a request; each request has one of its own.
class HostConnection {
 public:
  virtual ~HostConnection() = default;
  /// False once the client has left.
  virtual bool send(std::string_view bytes) = 0;
  virtual std::string receive_request() = 0;
};

/// Listens on 127.0.0.1, a thread for each connection, until it is destroyed.
class Host {
 public:
  using Answer = std::function<void(const HostRequest&, HostConnection&)>;
  /// `certificate_path`: where it is not empty, by TLS, with a certificate for 127.0.0.1 that is made and written
  /// there.
  explicit Host(const std::string& certificate_path = {});
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;
  ~Host();

  void start(Answer answer);
  /// Waits until all who came have been answered: what answers touch is the caller's again. Clients must have left.
  void settle();

  std::string url() const;
  uint16_t port() const { return port_; }
  /// Those that came, in their order.
  std::vector<HostRequest> requests() const;
  /// True once the host is to end: an answer that waits must look at it.
  bool over() const { return over_; }

 private:
  struct Tls;
  void listen();
  void serve(int client);

  Answer answer_;
  std::unique_ptr<Tls> tls_;
  int socket_ = -1;
  uint16_t port_ = 0;
  std::atomic<bool> over_{false};
  mutable std::mutex mutex_;
  std::vector<HostRequest> requests_;
  std::vector<int> clients_;
  std::vector<std::thread> threads_;
  std::thread listener_;
};

struct HostedFile {
  std::string bytes;
  bool lfs = false;                // named by its sha256; else by git's hash
  std::optional<uint64_t> listed;  // a size that is not its own
  std::string hash;                // a hash that is not its own
  bool hash_listed = true;
};

/// A repository and how a sound host answers about it.
struct HostedRepo {
  std::string name = "tester/tiny";
  std::string commit = "0123456789abcdef0123456789abcdef01234567";
  std::map<std::string, HostedFile> files;

  void add(const std::string& path, std::string bytes, bool lfs = false) {
    files[path] = HostedFile{std::move(bytes), lfs, {}, {}, true};
  }
  std::string info() const;  // the body of /api/models/NAME/revision/…
  std::string tree() const;  // of …/tree/…
  void answer(const HostRequest& request, HostConnection& connection) const;
  /// The file that a target of …/resolve/… means; null for another target.
  const HostedFile* file_of(const std::string& target) const;
};

std::string http_answer(std::string_view status, std::string_view body, std::string_view headers = {});
std::string sha256_hex(std::string_view bytes);
std::string git_hex(std::string_view bytes);
std::string etag_of(const HostedFile& file);
/// The head of an answer to a GET of `file`, ranges and If-Range understood, and the part of its bytes that follows.
std::pair<std::string, std::string> file_answer(const HostedFile& file, const HostRequest& request);

}  // namespace onebit::test
