#include "box/roots.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "base/process.h"
#include "base/utf8.h"

namespace onebit::box {
namespace {

bool is_program(const std::string& path) {
  struct stat file{};
  return ::stat(path.c_str(), &file) == 0 && S_ISREG(file.st_mode) && ::access(path.c_str(), X_OK) == 0;
}

}  // namespace

Roots Roots::of_environment() {
  const char* folder = std::getenv("HALO_ROOT");
  return {folder == nullptr ? std::string() : std::string(folder)};
}

std::optional<std::string> find_program(std::string_view program) {
  const char* variable = std::getenv("PATH");
  const std::string_view folders = variable == nullptr ? "" : variable;
  for (size_t at = 0; at < folders.size();) {
    const size_t end = std::min(folders.find(':', at), folders.size());
    const auto path = fmt::format("{}/{}", folders.substr(at, end - at), program);
    if (end > at && is_program(path)) return path;
    at = end + 1;
  }
  return {};
}

Result<std::string> output_of(const std::vector<std::string>& command, std::chrono::milliseconds timeout) {
  std::string output;
  const auto take = [&](std::string_view part) {
    output += part;
    return true;
  };
  if (auto status = run_process(command, {}, take, {.timeout = timeout, .most_bytes = 4 << 20}); !status) {
    // Some programs, ryzenadj among them, say on their standard output what went wrong.
    while (output.ends_with('\n')) output.pop_back();
    const auto line = output.substr(output.rfind('\n') + 1);
    return fail("{}{}", status.error().message, line.empty() ? "" : ": " + printable(line, 200));
  }
  return output;
}

std::string command_line(const std::vector<std::string>& command) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=./:,+@%~";
  std::string line;
  for (const auto& word : command) {
    if (!line.empty()) line += ' ';
    if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) {
      line += word;
      continue;
    }
    line += '\'';
    for (const char c : word) line += c == '\'' ? std::string("'\\''") : std::string(1, c);
    line += '\'';
  }
  return line;
}

std::string needs_root(std::string_view what_to_run) {
  const bool elsewhere = !Roots::of_environment().folder.empty();  // in a folder anybody may be its root
  return ::geteuid() == 0 || elsewhere ? std::string() : fmt::format(" (it needs root: sudo {})", what_to_run);
}

}  // namespace onebit::box
