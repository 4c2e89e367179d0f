#include "voice/sentences.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/utf8.h"

namespace onebit::voice {
namespace {

constexpr size_t kMostSpace = 256;  // of white space that one piece ends with

// Before a dot; in lower case. What stands before a name or a number, or within a sentence.
constexpr std::array<std::string_view, 62> kAbbreviations{
    "a.k.a", "a.m", "approx", "apr", "art",  "aug", "ave", "b.c", "bros", "c.f", "ca",   "capt", "cf",
    "ch",    "co",  "col",    "dec", "dept", "dr",  "e.g", "ed",  "eq",   "esp", "est",  "etc",  "feb",
    "fig",   "gen", "gov",    "hon", "i.e",  "inc", "jan", "jr",  "jul",  "jun", "lt",   "ltd",  "mr",
    "mrs",   "ms",  "mt",     "no",  "nov",  "nr",  "oct", "p.m", "ph.d", "pp",  "prof", "rep",  "rev",
    "sen",   "sep", "sgt",    "sr",  "st",   "u.k", "u.s", "vol", "vs",   "z.b"};

bool one_of(char32_t c, std::u32string_view set) {
  return set.find(c) != std::u32string_view::npos;
}
bool is_closing(char32_t c) {
  return one_of(c, U"\"')]}»”’*_`」』");
}
bool is_opening(char32_t c) {
  return one_of(c, U"\"'([{«“‘*_`¿¡");
}
bool is_digit(char32_t c) {
  return c >= '0' && c <= '9';
}
bool is_letter(char32_t c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= 0xc0 && c != 0xd7 && c != 0xf7 && c < 0x2000);
}
bool is_lower(char32_t c) {
  return (c >= 'a' && c <= 'z') || (c >= 0xdf && c <= 0xff && c != 0xf7) || (c >= 0x3ac && c <= 0x3ce) ||
         (c >= 0x430 && c <= 0x45f);
}

/// A text of which more may come.
struct Reader {
  std::string_view text;
  bool end;  // nothing more comes

  /// The character at `at`; length 0: it is not there yet, or the text ends before it.
  Utf8Character operator[](size_t at) const {
    const auto rest = text.substr(std::min(at, text.size()));
    const auto c = utf8_front(rest);
    if (c.length > 0 || rest.empty()) return c;
    if (!end && rest.size() < 4 && utf8_incomplete_suffix(rest) == rest.size()) return {};
    return {0xfffd, 1};
  }
  /// Whether what stands at `at` is still open.
  bool open(size_t at) const { return !end && (*this)[at].length == 0; }
};

/// Past the white space that begins at `at`, or kMostSpace of it; nothing: its end is not known yet.
std::optional<size_t> past_space(const Reader& text, size_t at) {
  const size_t begin = at;
  while (at < begin + kMostSpace) {
    const auto c = text[at];
    if (c.length == 0) return text.end ? std::optional(at) : std::nullopt;
    if (!is_white_space(c.code_point)) return at;
    at += c.length;
  }
  return at;
}

/// "- ", "* ", "• ", "12. ", "3) ", "# " or a code block's fence at `at`; nothing: not known yet.
std::optional<bool> begins_entry(const Reader& text, size_t at) {
  auto c = text[at];
  if (c.length == 0) return text.end ? std::optional(false) : std::nullopt;
  if (c.code_point == U'•') return true;
  if (one_of(c.code_point, U"#`-*+")) {
    const char32_t sign = c.code_point;
    size_t n = 0;
    for (; n < 6 && c.code_point == sign && c.length > 0; ++n) c = text[at += 1];
    if (c.length == 0 && !text.end) return std::nullopt;
    if (sign == '`') return n >= 3;
    return (sign == '#' || n == 1) && c.length > 0 && is_white_space(c.code_point);
  }
  size_t digits = 0;
  for (; digits < 4 && is_digit(c.code_point) && c.length > 0; ++digits) c = text[++at];
  if (digits == 0) return false;
  if (c.length == 0) return text.end ? std::optional(false) : std::nullopt;
  return c.code_point == '.' || c.code_point == ')';
}

/// What stands directly before `at`: letters and the dots among them, or digits, in lower case; at most 12 bytes.
std::string word_before(std::string_view text, size_t at) {
  size_t begin = at;
  while (begin > 0 && at - begin < 12) {
    const auto c = static_cast<unsigned char>(text[begin - 1]);
    if (!(c >= 0x80 || c == '.' || is_letter(c) || is_digit(c))) break;
    --begin;
  }
  std::string word(text.substr(begin, at - begin));
  for (auto& c : word)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return word;
}

/// Whether the dot at `at` belongs to what stands before it: an abbreviation, an initial, the number of a list's entry.
bool dot_of_word(std::string_view text, size_t at) {
  const auto word = word_before(text, at);
  if (word.empty()) return false;
  if (std::find(kAbbreviations.begin(), kAbbreviations.end(), word) != kAbbreviations.end()) return true;
  const size_t last_dot = word.rfind('.');
  const size_t letters = word.size() - (last_dot == std::string::npos ? 0 : last_dot + 1);
  const char last = text[at - 1];
  if (letters == 1 && last >= 'A' && last <= 'Z' && word.find_first_not_of('.') != std::string::npos) return true;
  const auto line = text.substr(0, at - word.size());
  const auto before = line.substr(line.rfind('\n') == std::string_view::npos ? 0 : line.rfind('\n') + 1);
  return word.size() <= 3 &&
         std::all_of(word.begin(), word.end(), [](char c) { return is_digit(static_cast<unsigned char>(c)); }) &&
         before.find_first_not_of(" \t*_#") == std::string_view::npos;
}

/// Whether the line that ends before `at` is a list's entry or a heading.
bool line_is_entry(std::string_view text, size_t at) {
  auto line = text.substr(0, at);
  line = line.substr(line.rfind('\n') == std::string_view::npos ? 0 : line.rfind('\n') + 1);
  const size_t first = line.find_first_not_of(" \t");
  return first != std::string_view::npos && *begins_entry({line.substr(first), true}, 0);
}

enum class Verdict { kCut, kNone, kOpen };
struct Decision {
  Verdict verdict = Verdict::kNone;
  size_t to = 0;  // kCut: the piece ends there; kNone: nothing is cut before it
};

/// At a newline, outside of code blocks.
Decision at_newline(const Reader& text, size_t at) {
  const auto to = past_space(text, at);
  if (!to) return {Verdict::kOpen, 0};
  const auto space = text.text.substr(at, *to - at);
  if (*to - at >= kMostSpace || std::count(space.begin(), space.end(), '\n') > 1 || line_is_entry(text.text, at))
    return {Verdict::kCut, *to};
  const auto entry = begins_entry(text, *to);
  if (!entry) return {Verdict::kOpen, 0};
  return {*entry ? Verdict::kCut : Verdict::kNone, *to};
}

/// At . ! ? … 。 ！ ？
Decision at_stop(const Reader& text, size_t at) {
  size_t next = at, stops = 0;
  bool only_dots = true, wide = false;
  auto c = text[next];
  for (; c.length > 0 && one_of(c.code_point, U".!?…。！？"); c = text[next += c.length], ++stops) {
    only_dots = only_dots && (c.code_point == '.' || c.code_point == U'…');
    wide = wide || one_of(c.code_point, U"。！？");
  }
  const size_t end_of_stops = next;
  if (!text.open(next) && only_dots && stops == 1 && text.text[at] == '.' && dot_of_word(text.text, at))
    return {Verdict::kNone, end_of_stops};
  for (; c.length > 0 && is_closing(c.code_point); c = text[next]) next += c.length;
  if (text.open(next)) return {Verdict::kOpen, 0};
  if (c.length == 0) return {Verdict::kNone, end_of_stops};
  if (!is_white_space(c.code_point)) {
    if (wide) return {Verdict::kCut, next};
    return {Verdict::kNone, end_of_stops};
  }
  const auto begin = past_space(text, next);
  if (!begin) return {Verdict::kOpen, 0};
  size_t first = *begin;
  for (c = text[first]; c.length > 0 && is_opening(c.code_point); c = text[first]) first += c.length;
  if (text.open(first)) return {Verdict::kOpen, 0};
  const bool goes_on =
      c.length > 0 && *begin - next < kMostSpace && (is_lower(c.code_point) || one_of(c.code_point, U",;:"));
  return {goes_on ? Verdict::kNone : Verdict::kCut, goes_on ? end_of_stops : *begin};
}

}  // namespace

void SentenceSplitter::scan(bool end, std::vector<std::string>& pieces) {
  const auto cut = [&](size_t to) {
    pieces.push_back(text_.substr(0, to));
    text_.erase(0, to);
    at_ = 0;
  };
  while (true) {
    const Reader text{text_, end};
    const auto c = text[at_];
    if (c.length == 0) return;
    const size_t past = at_ + c.length;
    Decision decision{Verdict::kNone, past};
    if (c.code_point == '`') {
      size_t run = 1;
      while (text[at_ + run].code_point == '`' && text[at_ + run].length > 0) ++run;
      if (text.open(at_ + run)) return;
      if (run >= 3) {
        in_block_ = !in_block_;
        in_code_ = false;
      } else if (!in_block_) {
        in_code_ = !in_code_;
      }
      decision.to = at_ + run;
    } else if (c.code_point == '\n' && in_block_) {
      // A block's lines stay together.
    } else if (c.code_point == '\n') {
      decision = at_newline(text, at_);
      if (decision.verdict != Verdict::kOpen) in_code_ = false;
    } else if (!in_block_ && !in_code_ && one_of(c.code_point, U".!?…。！？")) {
      decision = at_stop(text, at_);
    }
    if (decision.verdict == Verdict::kNone && is_white_space(c.code_point)) {
      const auto space = past_space(text, at_);
      if (!space) return;
      const char before = at_ > 0 ? text_[at_ - 1] : ' ';
      const bool clause = !in_block_ && !in_code_ && (before == ',' || before == ';' || before == ':');
      if (*space - at_ >= kMostSpace || at_ >= options_.hard_bytes || (clause && at_ >= options_.soft_bytes))
        decision = {Verdict::kCut, *space};
      else
        decision.to = *space;
    } else if (decision.verdict == Verdict::kNone && decision.to >= 2 * options_.hard_bytes) {
      decision.verdict = Verdict::kCut;
    }
    if (decision.verdict == Verdict::kOpen) return;
    if (decision.verdict == Verdict::kCut) {
      cut(decision.to);
    } else {
      at_ = decision.to;
    }
  }
}

void SentenceSplitter::push(std::string_view text, std::vector<std::string>& pieces) {
  text_ += text;
  scan(false, pieces);
}

void SentenceSplitter::finish(std::vector<std::string>& pieces) {
  scan(true, pieces);
  if (!text_.empty()) pieces.push_back(std::move(text_));
  text_.clear();
  at_ = 0;
  in_block_ = in_code_ = false;
}

std::vector<std::string> sentences(std::string_view text, const SplitOptions& options) {
  SentenceSplitter splitter(options);
  std::vector<std::string> pieces;
  splitter.push(text, pieces);
  splitter.finish(pieces);
  return pieces;
}

namespace {

/// "https://www.example.org/a?b" as "example.org"; as it is where it is no address.
std::string spoken_word(std::string_view word) {
  const size_t scheme = word.find("://");
  if (scheme == std::string_view::npos) return std::string(word);
  auto rest = word.substr(scheme + 3);
  const size_t end = rest.find_first_of("/?#:)]>\"'");
  const auto tail = word.find_last_not_of(".,!?;:") + 1;
  auto host = rest.substr(0, end);
  if (host.starts_with("www.")) host.remove_prefix(4);
  while (host.ends_with('.')) host.remove_suffix(1);
  return std::string(host) + std::string(tail < word.size() ? word.substr(tail) : "");
}

/// Replaces [text](address) by the text.
std::string without_links(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t open = text.find('[');
    const size_t middle = open == std::string_view::npos ? open : text.find("](", open);
    const size_t close = middle == std::string_view::npos ? middle : text.find(')', middle);
    if (close == std::string_view::npos) break;
    out += text.substr(0, open);
    out += text.substr(open + 1, middle - open - 1);
    text.remove_prefix(close + 1);
  }
  out += text;
  return out;
}

}  // namespace

std::string speakable(std::string_view piece) {
  std::string text;
  if (trim_white_space(piece).starts_with("```")) return {};
  const auto plain = without_links(piece);
  bool line_begins = true;
  for (size_t at = 0; at < plain.size();) {
    const size_t begin = plain.find_first_not_of(" \t\r\n", at);
    if (begin == std::string::npos) break;
    line_begins = line_begins || plain.substr(at, begin - at).find('\n') != std::string::npos;
    const size_t end = std::min(plain.find_first_of(" \t\r\n", begin), plain.size());
    std::string word = spoken_word(std::string_view(plain).substr(begin, end - begin));
    const bool marker = line_begins && word.find_first_not_of("#-*+>•") == std::string::npos;
    std::erase_if(word, [](char c) { return c == '*' || c == '`' || c == '#' || c == '_' || c == '~' || c == '|'; });
    if (!marker && !word.empty()) text += (text.empty() ? "" : " ") + word;
    line_begins = false;
    at = end;
  }
  // Signs alone are nothing to say.
  const bool says = std::any_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte >= 0x80 || is_digit(byte) || is_letter(byte);
  });
  return says ? text : std::string();
}

}  // namespace onebit::voice
