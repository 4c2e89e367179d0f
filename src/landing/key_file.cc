#include "landing/key_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

namespace onebit::landing {
namespace {

constexpr size_t kMostBytes = 64 << 10;

Result<std::string> read_file(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a pipe that nobody writes into is empty
  std::string text(kMostBytes, '\0');
  const ssize_t size = file < 0 ? -1 : ::read(file, text.data(), text.size());
  const int error = errno;
  if (file >= 0) ::close(file);
  if (size < 0)
    return fail("the file of the server's API key (--api-key-file) cannot be read: {}", std::strerror(error));
  text.resize(static_cast<size_t>(size));
  return text;
}

}  // namespace

Result<std::string> read_key(const std::string& path) {
  const auto text = read_file(path);
  if (!text) return tl::unexpected(text.error());
  for (std::string_view rest = *text; !rest.empty();) {
    auto line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line.front() == '#') continue;
    if (!std::all_of(line.begin(), line.end(), [](char c) { return c >= ' ' && c <= '~'; }) || line.size() > 4096)
      return fail("the file of the server's API key (--api-key-file) holds something that can be no key");
    return std::string(line);
  }
  return fail("the file of the server's API key (--api-key-file) holds no key");
}

}  // namespace onebit::landing
