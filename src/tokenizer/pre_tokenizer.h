// Text -> pieces, the stretches inside which tokens may merge.
#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include "base/result.h"
#include "format/tokenizer_data.h"

namespace onebit {

/// A compiled pattern, or none (SentencePiece): then a text is one piece. Immutable: any number of threads may hold
/// cursors over one object.
class PieceSplitter {
 public:
  /// Fails only where PCRE2 cannot compile the pattern (a library without Unicode support).
  static Result<PieceSplitter> create(PreTokenizer kind);
  PieceSplitter(PieceSplitter&&) noexcept;
  PieceSplitter& operator=(PieceSplitter&&) noexcept;
  ~PieceSplitter();

  /// Whether there is a pattern that runs as machine code; otherwise PCRE2's interpreter gives the same pieces.
  bool uses_jit() const;
  /// For tests of the interpreter.
  void disable_jit();

  /// The pieces of one text in order; together they are the text, and none is empty.
  ///
  /// The pattern is defined on characters only. Where bytes are not UTF-8, each longest stretch of bytes
  /// that belong to no valid character is one piece, and the valid stretches between such are matched as
  /// texts of their own (a look-ahead does not see past their end).
  class Cursor {
   public:
    /// Both must outlive the cursor. One cursor is for one thread.
    Cursor(const PieceSplitter& splitter, std::string_view text);
    Cursor(Cursor&&) = delete;
    Cursor& operator=(Cursor&&) = delete;
    ~Cursor();

    /// Empty at the end of the text.
    std::string_view next();
    /// Begins another text, keeping what was allocated.
    void restart(std::string_view text);

   private:
    void find_stretch();

    const PieceSplitter& splitter_;
    struct Match;
    std::unique_ptr<Match> match_;
    std::string_view stretch_;  // valid UTF-8 that is being matched
    size_t position_ = 0;       // in stretch_
    std::string_view invalid_;  // the bytes after stretch_ that are not UTF-8
    std::string_view rest_;     // what follows those
  };

 private:
  struct Impl;
  explicit PieceSplitter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace onebit
