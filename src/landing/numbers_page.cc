#include "landing/numbers_page.h"

#include <sys/stat.h>

#include "base/mapped_file.h"

namespace onebit::landing {

std::shared_ptr<const std::string> NumbersPage::text() {
  struct stat now{};
  if (path_.empty() || ::stat(path_.c_str(), &now) != 0 || !S_ISREG(now.st_mode)) return text_ = nullptr;
  const int64_t changed = now.st_mtim.tv_sec * 1'000'000'000 + now.st_mtim.tv_nsec;
  const auto size = static_cast<uint64_t>(now.st_size);
  if (text_ != nullptr && changed == changed_ && now.st_ino == inode_ && size == size_) return text_;
  auto read = read_text_file(path_, kMostBytes);
  text_ = read ? std::make_shared<const std::string>(*std::move(read)) : nullptr;
  changed_ = changed;
  inode_ = now.st_ino;
  size_ = size;
  return text_;
}

const char* NumbersPage::type() const {
  const bool html = path_.ends_with(".html") || path_.ends_with(".htm");
  return html ? "text/html; charset=utf-8" : "text/plain; charset=utf-8";
}

}  // namespace onebit::landing
