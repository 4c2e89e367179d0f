#include "halo/line_editor.h"

#include <editline/readline.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <memory>

#include "base/utf8.h"
#include "halo/common.h"

namespace onebit::halo {
namespace {

namespace fs = std::filesystem;

constexpr int kHistoryLines = 1000;

std::string history_path() {
  const char* state = std::getenv("XDG_STATE_HOME");
  const char* home = std::getenv("HOME");
  fs::path folder;
  if (state != nullptr && *state == '/') {
    folder = state;
  } else if (home != nullptr && *home == '/') {
    folder = fs::path(home) / ".local" / "state";
  } else {
    return {};
  }
  folder /= "1bit";
  std::error_code error;
  fs::create_directories(folder, error);
  return error ? std::string() : (folder / "chat_history").string();
}

/// A line without its end; nothing at the end of input and on Ctrl-C.
std::optional<std::string> read_line(const char* prompt) {
  const std::unique_ptr<char, void (*)(void*)> line(::readline(prompt), std::free);
  if (!line) return std::nullopt;
  return std::string(line.get());
}

}  // namespace

LineEditor::LineEditor() : history_file_(history_path()) {
  ::using_history();
  ::stifle_history(kHistoryLines);
  if (!history_file_.empty()) ::read_history(history_file_.c_str());
}

std::optional<std::string> LineEditor::read_message() {
  auto line = read_line("> ");
  std::string message = line.value_or("");
  if (trim_white_space(message) == "\"\"\"") {
    message.clear();
    while ((line = read_line(". ")) && trim_white_space(*line) != "\"\"\"") message += *line + "\n";
  } else {
    while (message.ends_with('\\')) {
      message.back() = '\n';
      line = read_line(". ");
      if (!line) break;
      message += *line;
    }
  }
  if (interrupted()) {  // as in a shell: what was typed is dropped
    fmt::print("\n");
    clear_interrupt();
    return std::string();
  }
  if (!line && message.empty()) return std::nullopt;
  if (trim_white_space(message).empty()) return message;
  ::add_history(message.c_str());
  if (!history_file_.empty()) {
    const auto mask = ::umask(077);
    ::write_history(history_file_.c_str());
    ::umask(mask);
  }
  return message;
}

}  // namespace onebit::halo
