#include "landing/burnin_rate.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string_view>
#include <vector>

namespace onebit::landing {
namespace {

constexpr size_t kPiece = 256 << 10, kMostAtOnce = 32 << 20, kMostLine = 64 << 10;

class OpenFile {
 public:
  explicit OpenFile(const std::string& path) : handle_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  ~OpenFile() {
    if (handle_ >= 0) ::close(handle_);
  }
  int handle() const { return handle_; }

 private:
  int handle_;
};

/// In a text of the line every quote has a backslash before it, so that this can only be the field itself.
constexpr std::string_view kVerdict = ",\"verdict\":\"";

void count(std::string_view line, BurninRate& rate) {
  if (!line.starts_with("{\"round\":") || !line.ends_with('}')) return;
  const auto at = line.find(kVerdict);
  if (at == std::string_view::npos) return;
  const auto verdict = line.substr(at + kVerdict.size());
  const bool exact = verdict.starts_with("exact\"");
  if (!exact && !verdict.starts_with("prefix_only\"") && !verdict.starts_with("no_match\"")) return;
  ++rate.rounds;
  rate.exact += exact ? 1 : 0;
}

}  // namespace

void BurninLog::take(std::string_view bytes) {
  while (!bytes.empty()) {
    const auto end = bytes.find('\n');
    const auto part = bytes.substr(0, end);
    if (!skip_) held_ += part;
    if (held_.size() > kMostLine) {
      skip_ = true;
      held_.clear();
    }
    if (end == std::string_view::npos) return;
    if (!skip_) count(held_, rate_);
    skip_ = false;
    held_.clear();
    bytes.remove_prefix(end + 1);
  }
}

std::optional<BurninRate> BurninLog::read() {
  if (path_.empty()) return std::nullopt;
  const OpenFile file(path_);
  struct stat now{};
  if (file.handle() < 0 || ::fstat(file.handle(), &now) != 0 || !S_ISREG(now.st_mode)) return std::nullopt;
  const auto size = static_cast<uint64_t>(now.st_size);
  if (now.st_dev != device_ || now.st_ino != inode_ || size < offset_) {
    device_ = now.st_dev;
    inode_ = now.st_ino;
    offset_ = 0;
    held_.clear();
    skip_ = false;
    rate_ = {};
  }
  std::vector<char> piece(size > offset_ ? kPiece : 0);
  for (size_t all = 0; offset_ < size && all < kMostAtOnce;) {
    const auto got = ::pread(file.handle(), piece.data(), piece.size(), static_cast<off_t>(offset_));
    if (got <= 0) break;
    take({piece.data(), static_cast<size_t>(got)});
    offset_ += static_cast<uint64_t>(got);
    all += static_cast<size_t>(got);
  }
  if (offset_ < size || rate_.rounds == 0) return std::nullopt;
  return rate_;
}

}  // namespace onebit::landing
