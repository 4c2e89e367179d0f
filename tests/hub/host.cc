#include "tests/hub/host.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <span>

#include "hub/digest.h"

namespace onebit::test {
namespace {

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

HostRequest parse(const std::string& text) {
  HostRequest request;
  const size_t space = text.find(' ');
  request.target = text.substr(space + 1, text.find(' ', space + 1) - space - 1);
  for (size_t at = text.find("\r\n"); at != std::string::npos && at + 2 < text.size();) {
    const size_t next = text.find("\r\n", at + 2);
    const auto line = text.substr(at + 2, next - at - 2);
    if (const size_t colon = line.find(": "); colon != std::string::npos)
      request.headers[lower(line.substr(0, colon))] = line.substr(colon + 2);
    at = next;
  }
  return request;
}

class PlainConnection : public HostConnection {
 public:
  explicit PlainConnection(int client) : client_(client) {}
  bool send(std::string_view bytes) override {
    while (!bytes.empty()) {
      const ssize_t n = ::send(client_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }
  std::string receive_request() override {
    std::string text;
    std::array<char, 4096> piece;
    while (text.find("\r\n\r\n") == std::string::npos) {
      const ssize_t n = ::recv(client_, piece.data(), piece.size(), 0);
      if (n <= 0) return {};
      text.append(piece.data(), static_cast<size_t>(n));
    }
    return text;
  }

 private:
  int client_;
};

class TlsConnection : public HostConnection {
 public:
  TlsConnection(SSL_CTX* context, int client) : ssl_(SSL_new(context)) {
    SSL_set_fd(ssl_, client);
    open_ = SSL_accept(ssl_) == 1;
  }
  TlsConnection(const TlsConnection&) = delete;
  TlsConnection& operator=(const TlsConnection&) = delete;
  ~TlsConnection() override {
    if (open_) SSL_shutdown(ssl_);
    SSL_free(ssl_);
  }
  bool send(std::string_view bytes) override {
    return open_ && (bytes.empty() || SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size())) > 0);
  }
  std::string receive_request() override {
    std::string text;
    std::array<char, 4096> piece;
    while (open_ && text.find("\r\n\r\n") == std::string::npos) {
      const int n = SSL_read(ssl_, piece.data(), static_cast<int>(piece.size()));
      if (n <= 0) return {};
      text.append(piece.data(), static_cast<size_t>(n));
    }
    return text;
  }

 private:
  SSL* ssl_;
  bool open_ = false;
};

/// A certificate for 127.0.0.1, signed by itself.
X509* make_certificate(EVP_PKEY* key) {
  X509* certificate = X509_new();
  X509_set_version(certificate, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
  X509_set_pubkey(certificate, key);
  X509_NAME* name = X509_get_subject_name(certificate);
  constexpr std::array<unsigned char, 9> kName{'t', 'e', 's', 't', ' ', 'h', 'o', 's', 't'};
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, kName.data(), kName.size(), -1, 0);
  X509_set_issuer_name(certificate, name);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, "IP:127.0.0.1");
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
  X509_sign(certificate, key, EVP_sha256());
  return certificate;
}

}  // namespace

struct Host::Tls {
  explicit Tls(const std::string& certificate_path) : context(SSL_CTX_new(TLS_server_method())) {
    std::string curve = "P-256";
    EVP_PKEY* key = EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", curve.data());
    X509* certificate = make_certificate(key);
    const bool used = SSL_CTX_use_certificate(context, certificate) == 1 && SSL_CTX_use_PrivateKey(context, key) == 1;
    std::FILE* file = std::fopen(certificate_path.c_str(), "w");
    if (!used || file == nullptr || PEM_write_X509(file, certificate) != 1) std::abort();
    std::fclose(file);
    X509_free(certificate);
    EVP_PKEY_free(key);
  }
  Tls(const Tls&) = delete;
  Tls& operator=(const Tls&) = delete;
  ~Tls() { SSL_CTX_free(context); }

  SSL_CTX* context;
};

std::optional<std::pair<size_t, size_t>> HostRequest::range() const {
  const auto value = header("range");
  constexpr std::string_view kUnit = "bytes=";
  const size_t dash = value.find('-');
  if (!value.starts_with(kUnit) || dash == std::string::npos) return std::nullopt;
  return std::pair(std::stoul(value.substr(kUnit.size(), dash - kUnit.size())), std::stoul(value.substr(dash + 1)) + 1);
}

Host::Host(const std::string& certificate_path) {
  if (!certificate_path.empty()) tls_ = std::make_unique<Tls>(certificate_path);
  socket_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (::bind(socket_, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(socket_, 64) != 0 ||
      ::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size) != 0)
    std::abort();
  port_ = ::ntohs(address.sin_port);
}

void Host::start(Answer answer) {
  answer_ = std::move(answer);
  listener_ = std::thread([this] { listen(); });
}

void Host::settle() {
  for (bool busy = true; busy;) {
    std::vector<std::thread> threads;
    {
      const std::lock_guard lock(mutex_);
      threads.swap(threads_);
      pollfd waiting{socket_, POLLIN, 0};
      busy = !threads.empty() || (!over_ && ::poll(&waiting, 1, 0) > 0);
    }
    for (auto& thread : threads) thread.join();
  }
}

Host::~Host() {
  over_ = true;
  ::shutdown(socket_, SHUT_RDWR);
  if (listener_.joinable()) listener_.join();
  {
    const std::lock_guard lock(mutex_);
    for (const int client : clients_) ::shutdown(client, SHUT_RDWR);
  }
  settle();
  for (const int client : clients_) ::close(client);
  ::close(socket_);
}

std::string Host::url() const {
  return fmt::format("{}://127.0.0.1:{}", tls_ ? "https" : "http", port_);
}

std::vector<HostRequest> Host::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

/// Takes a connection and counts its thread in one step, so that settle() sees it before or after.
void Host::listen() {
  pollfd waiting{socket_, POLLIN, 0};
  while (!over_ && ::poll(&waiting, 1, -1) >= 0) {
    const std::lock_guard lock(mutex_);
    const int client = ::accept4(socket_, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) continue;
    clients_.push_back(client);
    threads_.emplace_back([this, client] { serve(client); });
  }
}

void Host::serve(int client) {
  sigset_t pipe;  // OpenSSL's writes; of this thread only, so that the client's own are seen
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  ::pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
  {
    std::unique_ptr<HostConnection> connection;
    if (tls_) {
      connection = std::make_unique<TlsConnection>(tls_->context, client);
    } else {
      connection = std::make_unique<PlainConnection>(client);
    }
    const auto text = connection->receive_request();
    if (!text.empty()) {
      const auto request = parse(text);
      {
        const std::lock_guard lock(mutex_);
        requests_.push_back(request);
      }
      answer_(request, *connection);
    }
  }
  ::shutdown(client, SHUT_RDWR);
}

std::string http_answer(std::string_view status, std::string_view body, std::string_view headers) {
  return fmt::format("HTTP/1.1 {}\r\nContent-Length: {}\r\nConnection: close\r\n{}\r\n{}", status, body.size(), headers,
                     body);
}

std::string sha256_hex(std::string_view bytes) {
  auto digest = hub::Digest::sha256();
  digest.update(std::as_bytes(std::span(bytes)));
  return digest.finish();
}

std::string git_hex(std::string_view bytes) {
  auto digest = hub::Digest::git_blob(bytes.size());
  digest.update(std::as_bytes(std::span(bytes)));
  return digest.finish();
}

namespace {

std::string hash_of(const HostedFile& file) {
  if (!file.hash.empty()) return file.hash;
  return file.lfs ? sha256_hex(file.bytes) : git_hex(file.bytes);
}

nlohmann::json entry_of(const HostedFile& file, const char* git_key, const char* sha_key) {
  const uint64_t size = file.listed.value_or(file.bytes.size());
  nlohmann::json entry{{"size", size}};
  if (file.lfs) {
    entry[git_key] = std::string(40, 'a');  // of the pointer
    entry["lfs"] = {{"size", size}, {"pointerSize", 134}};
    if (file.hash_listed) entry["lfs"][sha_key] = hash_of(file);
  } else if (file.hash_listed) {
    entry[git_key] = hash_of(file);
  }
  return entry;
}

}  // namespace

std::string etag_of(const HostedFile& file) {
  return '"' + (file.lfs ? sha256_hex(file.bytes) : git_hex(file.bytes)) + '"';
}

std::string HostedRepo::info() const {
  auto siblings = nlohmann::json::array();
  for (const auto& [path, file] : files) {
    auto entry = entry_of(file, "blobId", "sha256");
    entry["rfilename"] = path;
    siblings.push_back(std::move(entry));
  }
  return nlohmann::json{{"id", name}, {"sha", commit}, {"siblings", std::move(siblings)}}.dump(
      -1, ' ', false, nlohmann::json::error_handler_t::ignore);
}

std::string HostedRepo::tree() const {
  auto entries = nlohmann::json::array({{{"type", "directory"}, {"path", "folder"}, {"size", 0}}});
  for (const auto& [path, file] : files) {
    auto entry = entry_of(file, "oid", "oid");
    entry["type"] = "file";
    entry["path"] = path;
    entries.push_back(std::move(entry));
  }
  return entries.dump();
}

const HostedFile* HostedRepo::file_of(const std::string& target) const {
  const auto begin = fmt::format("/{}/resolve/{}/", name, commit);
  const auto it = target.starts_with(begin) ? files.find(target.substr(begin.size())) : files.end();
  return it == files.end() ? nullptr : &it->second;
}

std::pair<std::string, std::string> file_answer(const HostedFile& file, const HostRequest& request) {
  const auto range = request.range();
  const auto etag = etag_of(file), if_range = request.header("if-range");
  if (!range || (!if_range.empty() && if_range != etag))
    return {fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nETag: {}\r\nConnection: close\r\n\r\n",
                        file.bytes.size(), etag),
            file.bytes};
  return {
      fmt::format("HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {}-{}/{}\r\nETag: {}\r\n"
                  "Connection: close\r\n\r\n",
                  range->second - range->first, range->first, range->second - 1, file.bytes.size(), etag),
      file.bytes.substr(range->first, range->second - range->first)};
}

void HostedRepo::answer(const HostRequest& request, HostConnection& connection) const {
  if (request.target.starts_with(fmt::format("/api/models/{}/revision/", name))) {
    connection.send(http_answer("200 OK", info()));
  } else if (request.target.starts_with(fmt::format("/api/models/{}/tree/", name))) {
    connection.send(http_answer("200 OK", tree()));
  } else if (const auto* file = file_of(request.target)) {
    const auto [head, body] = file_answer(*file, request);
    connection.send(head) && connection.send(body);
  } else {
    connection.send(http_answer("404 Not Found", "Entry not found"));
  }
}

}  // namespace onebit::test
