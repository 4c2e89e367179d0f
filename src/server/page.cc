#include "server/page.h"

#include <boost/beast/zlib/inflate_stream.hpp>
#include <cstring>

#include "base/web_file.h"

namespace onebit::server {
namespace {

/// Nothing but the page's own files and this server: a hostile answer that got past the sanitiser could neither run a
/// script nor send a word elsewhere. Trusted Types: no text becomes markup but through the sanitiser.
constexpr const char* kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types dompurify";

const WebFile* find_file(std::string_view path) {
  if (!path.starts_with('/')) return nullptr;
  path.remove_prefix(1);
  if (path.empty()) path = "index.html";
  for (const auto& file : chat_page())
    if (file.name == path) return &file;
  return nullptr;
}

std::string_view trimmed(std::string_view text) {
  const auto begin = text.find_first_not_of(" \t"), end = text.find_last_not_of(" \t");
  return begin == text.npos ? std::string_view{} : text.substr(begin, end - begin + 1);
}

std::string_view taken_until(std::string_view& rest, char mark) {
  const auto end = std::min(rest.size(), rest.find(mark));
  const auto taken = trimmed(rest.substr(0, end));
  rest.remove_prefix(std::min(rest.size(), end + 1));
  return taken;
}

/// Whether parameters of a coding have a weight of zero: "not this one".
bool weighs_nothing(std::string_view parameters) {
  while (!parameters.empty()) {
    const auto parameter = taken_until(parameters, ';');
    if (parameter.size() > 2 && (parameter[0] == 'q' || parameter[0] == 'Q') && parameter[1] == '=')
      return parameter.find_first_not_of("0.", 2) == parameter.npos;
  }
  return false;
}

/// Bytes of one form have one tag, of the other another.
std::string tag_of(const WebFile& file, bool gzip) {
  std::string tag(file.etag);
  if (!gzip) tag.insert(tag.size() - 1, "-plain");
  return tag;
}

}  // namespace

bool is_page(std::string_view path) {
  return path == "/" || find_file(path) != nullptr;
}

bool takes_gzip(std::string_view accept) {
  bool any = false;
  while (!accept.empty()) {
    auto parameters = taken_until(accept, ',');
    const auto coding = taken_until(parameters, ';');
    const bool wanted = !weighs_nothing(parameters);
    if (beast::iequals(beast::string_view(coding.data(), coding.size()), "gzip")) return wanted;
    if (coding == "*") any = wanted;
  }
  return any;
}

std::string gunzip(std::span<const uint8_t> gzip) {
  constexpr size_t kHeader = 10, kTrailer = 8;  // RFC 1952: the trailer ends with the size, little-endian
  if (gzip.size() < kHeader + kTrailer) return {};
  size_t size = 0;
  for (size_t i = 0; i < 4; ++i) size |= static_cast<size_t>(gzip[gzip.size() - 4 + i]) << (8 * i);
  std::string plain(size, '\0');
  beast::zlib::inflate_stream stream;
  beast::zlib::z_params todo;
  todo.next_in = gzip.data() + kHeader;
  todo.avail_in = gzip.size() - kHeader - kTrailer;
  todo.next_out = plain.data();
  todo.avail_out = plain.size();
  boost::system::error_code end;  // of the stream, which is what it should be
  stream.write(todo, beast::zlib::Flush::sync, end);
  plain.resize(todo.total_out);
  return plain;
}

HttpResponse page_response(Connection& c) {
  const auto method = c.request().method();
  if (method != http::verb::get && method != http::verb::head) {
    auto response = c.error_response(api_error(405, "method_not_allowed", "the page takes GET"));
    response.allow = "GET, HEAD";
    return response;
  }
  c.add_header("X-Content-Type-Options", "nosniff");
  const auto* file = find_file(c.path());
  if (file == nullptr)
    return {
        .status = 404,
        .body = "This 1bit-server was built without its chat page (that needs npm); its API is here all the same.\n",
        .type = "text/plain; charset=utf-8"};
  c.add_header("Content-Security-Policy", kPolicy);
  c.add_header("Referrer-Policy", "no-referrer");
  c.add_header("Cross-Origin-Opener-Policy", "same-origin");
  c.add_header("Cross-Origin-Resource-Policy", "same-origin");
  c.add_header("Cache-Control", "no-cache");  // may be kept, and is asked for again by its tag
  c.add_header("Vary", "Accept-Encoding");
  const bool gzip = takes_gzip(c.header("Accept-Encoding"));
  const auto tag = tag_of(*file, gzip), known = std::string(c.header("If-None-Match"));
  c.add_header("ETag", tag);
  HttpResponse response;
  response.type = file->type;
  if (known == "*" || known.find(tag) != known.npos) {
    response.status = 304;
    return response;
  }
  if (gzip) c.add_header("Content-Encoding", "gzip");
  response.body = gzip ? std::string(file->gzip.begin(), file->gzip.end()) : gunzip(file->gzip);
  return response;
}

}  // namespace onebit::server
