// Text that is still being written, cut where a sentence ends, so that its first sentence can be spoken.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace onebit::voice {

struct SplitOptions {
  size_t soft_bytes = 240;   // a longer sentence is cut after a comma or colon where there is one
  size_t hard_bytes = 1000;  // a longer one between words; a word longer than that between characters
};

/// The pieces together are the text, byte for byte: white space belongs to what stands before it. Cuts depend on the
/// text alone, not on the parts it came in. A cut is after . ! ? … 。！？ with the quotes and brackets that close
/// there, where what follows begins a sentence; after a blank line; between the lines of a list. None is after an
/// abbreviation, an initial, the number of a list's entry, or inside of `code`, a code block, a number or an address.
class SentenceSplitter {
 public:
  explicit SentenceSplitter(const SplitOptions& options = {}) : options_(options) {}

  /// Appends the pieces that are now certain.
  void push(std::string_view text, std::vector<std::string>& pieces);
  /// The rest; after it another text may begin.
  void finish(std::vector<std::string>& pieces);

 private:
  void scan(bool end, std::vector<std::string>& pieces);

  SplitOptions options_;
  std::string text_;  // not given yet
  size_t at_ = 0;     // how far of it is known to have no cut
  bool in_block_ = false, in_code_ = false;
};

std::vector<std::string> sentences(std::string_view text, const SplitOptions& options = {});

/// What a voice should say of a piece of a model's answer: without Markdown's signs, an address as its host, code
/// blocks left out. Empty where there is nothing to say.
std::string speakable(std::string_view piece);

}  // namespace onebit::voice
