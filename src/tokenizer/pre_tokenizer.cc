#define PCRE2_CODE_UNIT_WIDTH 8
#include "tokenizer/pre_tokenizer.h"

#include <pcre2.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <limits>
#include <string>
#include <utility>

#include "base/utf8.h"

namespace onebit {
namespace {

// What Unicode 15 to 16 added to \p{L} and \p{N}. PCRE2 10.42 knows Unicode 14, later versions know more: with
// these in the pattern the pieces are the same whichever is installed, and on every code point those of
// Hugging Face's tokenizers 0.23.
constexpr char kNewLetters[] =
    "\\x{1C89}\\x{1C8A}\\x{A7CB}-\\x{A7CD}\\x{A7DA}-\\x{A7DC}\\x{105C0}-\\x{105F3}\\x{10D4A}-\\x{10D65}"
    "\\x{10D6F}-\\x{10D85}\\x{10EC2}-\\x{10EC4}\\x{1123F}\\x{11240}\\x{11380}-\\x{11389}\\x{1138B}\\x{1138E}"
    "\\x{11390}-\\x{113B5}\\x{113B7}\\x{113D1}\\x{113D3}\\x{11BC0}-\\x{11BE0}\\x{11F02}\\x{11F04}-\\x{11F10}"
    "\\x{11F12}-\\x{11F33}\\x{1342F}\\x{13441}-\\x{13446}\\x{13460}-\\x{143FA}\\x{16100}-\\x{1611D}"
    "\\x{16D40}-\\x{16D6C}\\x{18CFF}\\x{1B132}\\x{1B155}\\x{1DF25}-\\x{1DF2A}\\x{1E030}-\\x{1E06D}"
    "\\x{1E4D0}-\\x{1E4EB}\\x{1E5D0}-\\x{1E5ED}\\x{1E5F0}\\x{2B739}\\x{2EBF0}-\\x{2EE5D}\\x{31350}-\\x{323AF}";
constexpr char kNewNumbers[] =
    "\\x{10D40}-\\x{10D49}\\x{116D0}-\\x{116E3}\\x{11BF0}-\\x{11BF9}\\x{11F50}-\\x{11F59}\\x{16130}-\\x{16139}"
    "\\x{16D70}-\\x{16D79}\\x{1CCF0}-\\x{1CCF9}\\x{1D2C0}-\\x{1D2D3}\\x{1E4F0}-\\x{1E4F9}\\x{1E5F1}-\\x{1E5FA}";

// The patterns of the models' tokenizer.json files, with three changes that keep their meaning: the letters and numbers
// above; \s written out, since PCRE2's also matches U+180E, which left White_Space in Unicode 6.3; and possessive
// repetitions where giving back what they took could not lead to a match.
//
// LLaMA-3's is
//   (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
// and Qwen2's the same with \p{N} instead of \p{N}{1,3}.
constexpr char kLlama3Form[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    "|[^\\r\\n{L}{N}]?+[{L}]++"
    "|[{N}]{digits}"
    "| ?+[^{S}{L}{N}]++[\\r\\n]*+"
    "|{S}*[\\r\\n]++"
    "|{S}+(?![^{S}])"
    "|{S}++";

// GPT-2's, the one that a ByteLevel pre-tokenizer with use_regex brings along:
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
constexpr char kGpt2Form[] =
    "'s|'t|'re|'ve|'m|'ll|'d"
    "| ?+[{L}]++"
    "| ?+[{N}]++"
    "| ?+[^{S}{L}{N}]++"
    "|{S}+(?![^{S}])"
    "|{S}++";

/// Empty where text is not cut.
std::string pattern_of(PreTokenizer kind) {
  if (kind == PreTokenizer::kSentencePiece) return {};
  const std::string letters = std::string("\\p{L}") + kNewLetters;
  const std::string numbers = std::string("\\p{N}") + kNewNumbers;
  return fmt::format(fmt::runtime(kind == PreTokenizer::kGpt2 ? kGpt2Form : kLlama3Form), fmt::arg("L", letters),
                     fmt::arg("N", numbers), fmt::arg("S", "\\p{White_Space}"),
                     fmt::arg("digits", kind == PreTokenizer::kQwen2 ? "" : "{1,3}+"));
}

struct Free {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};

std::string pcre2_message(int code) {
  PCRE2_UCHAR buffer[256] = {};
  pcre2_get_error_message(code, buffer, sizeof(buffer));
  return std::string(std::begin(buffer), std::find(std::begin(buffer), std::end(buffer), PCRE2_UCHAR{0}));
}

}  // namespace

struct PieceSplitter::Impl {
  std::unique_ptr<pcre2_code, Free> code;              // none: text is not cut
  std::unique_ptr<pcre2_match_context, Free> context;  // read-only after creation
  bool jit = false;
};

struct PieceSplitter::Cursor::Match {
  std::unique_ptr<pcre2_match_data, Free> data;
};

Result<PieceSplitter> PieceSplitter::create(PreTokenizer kind) {
  auto impl = std::make_unique<Impl>();
  const std::string pattern = pattern_of(kind);
  if (pattern.empty()) return PieceSplitter(std::move(impl));
  int error = 0;
  PCRE2_SIZE offset = 0;
  // Anchored: the alternatives cover every character, so each piece begins where the last one ended.
  impl->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                 PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED, &error, &offset, nullptr));
  if (!impl->code)
    return fail("pre-tokenizer: PCRE2 does not compile the pattern: {} (at {})", pcre2_message(error), offset);
  impl->context.reset(pcre2_match_context_create(nullptr));
  if (!impl->context) return fail("pre-tokenizer: out of memory");
  // A run of ten million spaces is a legitimate text: the interpreter may look at each once.
  pcre2_set_match_limit(impl->context.get(), std::numeric_limits<uint32_t>::max());
  impl->jit = pcre2_jit_compile(impl->code.get(), PCRE2_JIT_COMPLETE) == 0;
  return PieceSplitter(std::move(impl));
}

PieceSplitter::PieceSplitter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PieceSplitter::PieceSplitter(PieceSplitter&&) noexcept = default;
PieceSplitter& PieceSplitter::operator=(PieceSplitter&&) noexcept = default;
PieceSplitter::~PieceSplitter() = default;

bool PieceSplitter::uses_jit() const {
  return impl_->jit;
}
void PieceSplitter::disable_jit() {
  impl_->jit = false;
}

PieceSplitter::Cursor::Cursor(const PieceSplitter& splitter, std::string_view text)
    : splitter_(splitter), match_(std::make_unique<Match>()) {
  match_->data.reset(pcre2_match_data_create(1, nullptr));
  restart(text);
}

PieceSplitter::Cursor::~Cursor() = default;

void PieceSplitter::Cursor::restart(std::string_view text) {
  rest_ = text;
  if (splitter_.impl_->code) return find_stretch();
  stretch_ = invalid_ = {};
  position_ = 0;
}

/// Splits the front of rest_ into valid characters (stretch_) and the invalid bytes that follow them.
void PieceSplitter::Cursor::find_stretch() {
  size_t valid = 0;
  while (valid < rest_.size()) {
    const size_t n = static_cast<unsigned char>(rest_[valid]) < 0x80 ? 1 : utf8_front(rest_.substr(valid)).length;
    if (n == 0) break;
    valid += n;
  }
  size_t end = valid;
  while (end < rest_.size() && utf8_front(rest_.substr(end)).length == 0) ++end;
  stretch_ = rest_.substr(0, valid);
  invalid_ = rest_.substr(valid, end - valid);
  rest_.remove_prefix(end);
  position_ = 0;
}

std::string_view PieceSplitter::Cursor::next() {
  if (position_ == stretch_.size()) {
    if (!invalid_.empty()) return std::exchange(invalid_, {});
    if (rest_.empty() || !splitter_.impl_->code) return std::exchange(rest_, {});
    find_stretch();
    if (stretch_.empty()) return std::exchange(invalid_, {});
  }
  const Impl& impl = *splitter_.impl_;
  pcre2_match_data* data = match_->data.get();
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(stretch_.data());
  int found = PCRE2_ERROR_JIT_STACKLIMIT;
  if (impl.jit && data != nullptr)
    found = pcre2_jit_match(impl.code.get(), subject, stretch_.size(), position_, 0, data, impl.context.get());
  if (found == PCRE2_ERROR_JIT_STACKLIMIT && data != nullptr)
    found = pcre2_match(impl.code.get(), subject, stretch_.size(), position_, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data,
                        impl.context.get());
  size_t end = found > 0 ? pcre2_get_ovector_pointer(data)[1] : position_;
  // Only lack of memory leads here, and no byte may be lost to it: the rest is one piece.
  if (end <= position_ || end > stretch_.size()) end = stretch_.size();
  const auto piece = stretch_.substr(position_, end - position_);
  position_ = end;
  return piece;
}

}  // namespace onebit
