// A folder of a test's own, and whole files in and out of it.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace onebit::test {

/// Made anew, removed with everything in it at the end.
class TempFolder {
 public:
  /// `in_memory`: where there is a file system for that, so that hundreds of files need not wait for a disk.
  explicit TempFolder(bool in_memory = false) {
    const std::filesystem::path memory = "/dev/shm";
    in_memory = in_memory && ::access(memory.c_str(), W_OK) == 0;
    std::string pattern = ((in_memory ? memory : std::filesystem::temp_directory_path()) / "onebit-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    path_ = pattern;
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const std::string& path() const { return path_; }
  std::string path(std::string_view name) const { return path_ + "/" + std::string(name); }

  /// Names of what lies in the folder, sorted; hidden files too.
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }

 private:
  std::string path_;
};

/// Empty where the file cannot be read.
inline std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// Not by emptying an old file first: file systems put that on the disk at once, and tests write thousands.
inline void write_file(const std::string& path, std::string_view bytes) {
  const int fd = ::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
  if (fd < 0 || ::pwrite(fd, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()) ||
      ::ftruncate(fd, static_cast<off_t>(bytes.size())) != 0)
    std::abort();
  ::close(fd);
}

}  // namespace onebit::test
