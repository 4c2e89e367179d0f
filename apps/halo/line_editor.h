// Lines from a terminal, with editing, a history kept between sessions, and texts of several lines.
#pragma once

#include <optional>
#include <string>

namespace onebit::halo {

class LineEditor {
 public:
  /// Reads the history of earlier sessions: $XDG_STATE_HOME/1bit/chat_history (~/.local/state/…), readable
  /// by its owner only. Without a place to keep it there is none.
  LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  /// A message: one line, lines joined by a backslash at their ends, or everything between two lines of """.
  /// Nothing at the end of input, an empty message on Ctrl-C. Messages go into the history at once.
  std::optional<std::string> read_message();

  const std::string& history_file() const { return history_file_; }

 private:
  std::string history_file_;
};

}  // namespace onebit::halo
