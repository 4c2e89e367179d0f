#include "grammar/regex.h"

#include <algorithm>
#include <optional>

#include "base/utf8.h"

namespace onebit::grammar {
namespace {

constexpr uint32_t kMostRepeats = 100'000;
constexpr int kDeepest = 200;

const CharacterClass kDigits{{'0', '9'}};
const CharacterClass kWords{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
const CharacterClass kSpaces{{9, 13},          {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
                             {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
const CharacterClass kLineEnds{{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};

/// \d \D \w \W \s \S
std::optional<CharacterClass> class_escape(char c) {
  switch (c) {
    case 'd':
      return kDigits;
    case 'D':
      return complement(kDigits);
    case 'w':
      return kWords;
    case 'W':
      return complement(kWords);
    case 's':
      return kSpaces;
    case 'S':
      return complement(kSpaces);
    default:
      return std::nullopt;
  }
}

class Parser {
 public:
  explicit Parser(std::string_view pattern) : pattern_(pattern), rest_(pattern) {}

  Result<Expression> run() {
    if (!utf8_valid(pattern_)) return fail("regex: the pattern is not valid UTF-8");
    ASSIGN_OR_RETURN(auto whole, choice(0));
    if (!rest_.empty()) return error("there is a ')' without its '('");
    return whole;
  }

 private:
  tl::unexpected<Error> error(std::string_view what) const {
    return fail("regex '{}': {} (at byte {})", printable(pattern_, 80), what, pattern_.size() - rest_.size());
  }
  bool at(char c) const { return !rest_.empty() && rest_.front() == c; }
  bool take(std::string_view text) {
    if (!rest_.starts_with(text)) return false;
    rest_.remove_prefix(text.size());
    return true;
  }

  Result<Expression> choice(int depth) {
    if (depth > kDeepest) return error("groups are nested too deeply");
    std::vector<Expression> parts;
    do {
      ASSIGN_OR_RETURN(auto part, sequence(depth));
      parts.push_back(std::move(part));
    } while (take("|"));
    return parts.size() == 1 ? std::move(parts.front()) : Expression::choice(std::move(parts));
  }

  Result<Expression> sequence(int depth) {
    std::vector<Expression> parts;
    while (!rest_.empty() && !at('|') && !at(')')) {
      ASSIGN_OR_RETURN(auto part, term(depth));
      parts.push_back(std::move(part));
    }
    return Expression::sequence(std::move(parts));
  }

  Result<Expression> term(int depth) {
    if (take("^")) return Expression{.kind = Expression::Kind::kBegin};
    if (take("$")) return Expression{.kind = Expression::Kind::kEnd};
    ASSIGN_OR_RETURN(auto what, atom(depth));
    return quantified(std::move(what));
  }

  Result<Expression> quantified(Expression what) {
    uint32_t least = 0, most = Expression::kUnlimited;
    if (take("*")) {
    } else if (take("+")) {
      least = 1;
    } else if (take("?")) {
      most = 1;
    } else if (take("{")) {
      const auto low = take_number(rest_);
      if (!low) return error("'{' needs a number of repetitions after it, or '\\' before it");
      least = most = *low;
      if (take(",")) most = at('}') ? Expression::kUnlimited : take_number(rest_).value_or(0);
      if (!take("}")) return error("the repetition has no '}'");
      if (least > kMostRepeats || (most != Expression::kUnlimited && most > kMostRepeats))
        return error("it repeats more than 100000 times");
      if (least > most) return error("the repetition's numbers are out of order");
    } else {
      return what;
    }
    (void)take("?");  // lazy: the same texts
    if (at('*') || at('+') || at('?') || at('{')) return error("there is a quantifier after a quantifier");
    return Expression::repeat(std::move(what), least, most);
  }

  Result<Expression> atom(int depth) {
    if (take("(")) return group(depth);
    if (take("[")) return bracket();
    if (take(".")) return Expression::of_class(complement(kLineEnds));
    if (at('*') || at('+') || at('?') || at('{')) return error("there is nothing to repeat");
    if (!take("\\")) {
      const auto c = utf8_front(rest_);
      auto literal = Expression::text(std::string(rest_.substr(0, c.length)));
      rest_.remove_prefix(c.length);
      return literal;
    }
    if (rest_.empty()) return error("it ends with a '\\'");
    if (at('b') || at('B')) return error("word boundaries are not supported");
    if (at('k') || (rest_.front() >= '1' && rest_.front() <= '9')) return error("back references are not supported");
    if (const auto ranges = class_escape(rest_.front())) {
      rest_.remove_prefix(1);
      return Expression::of_class(*ranges);
    }
    ASSIGN_OR_RETURN(const char32_t c, escape());
    return Expression::of_class({{c, c}});
  }

  Result<Expression> group(int depth) {
    if (take("?")) {
      if (at('=') || at('!') || rest_.starts_with("<=") || rest_.starts_with("<!"))
        return error("look-ahead and look-behind are not supported");
      if (take("<")) {
        const size_t end = rest_.find('>');
        if (end == std::string_view::npos || end == 0) return error("the group's name has no '>'");
        rest_.remove_prefix(end + 1);
      } else if (!take(":")) {
        return error("flags of groups are not supported");
      }
    }
    ASSIGN_OR_RETURN(auto inside, choice(depth + 1));
    if (!take(")")) return error("a group has no ')'");
    return inside;
  }

  /// After the '\'; of one character.
  Result<char32_t> escape() {
    const auto c = utf8_front(rest_);
    rest_.remove_prefix(c.length);
    switch (c.code_point) {
      case 'n':
        return U'\n';
      case 'r':
        return U'\r';
      case 't':
        return U'\t';
      case 'f':
        return U'\f';
      case 'v':
        return U'\v';
      case '0':
        return U'\0';
      case 'x':
        return hex(2);
      case 'u':
        return unicode_escape();
      case 'c':
        if (rest_.empty() || !std::isalpha(static_cast<unsigned char>(rest_.front()))) break;
        rest_.remove_prefix(1);
        return static_cast<char32_t>(rest_.data()[-1] & 31);
      default:
        break;
    }
    const bool letter = c.code_point < 128 && std::isalnum(static_cast<int>(c.code_point)) != 0;
    if (letter) return error(fmt::format("the escape \\{} is not supported", static_cast<char>(c.code_point)));
    return c.code_point;
  }

  Result<char32_t> hex(size_t digits) {
    char32_t value = 0;
    if (rest_.size() < digits) return error("an escape is cut short");
    for (const char c : rest_.substr(0, digits)) {
      if (!std::isxdigit(static_cast<unsigned char>(c))) return error("an escape has a digit that is none");
      value = 16 * value + static_cast<char32_t>(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
    }
    rest_.remove_prefix(digits);
    return value;
  }

  Result<char32_t> unicode_escape() {
    if (take("{")) {
      const size_t end = rest_.find('}');
      if (end == std::string_view::npos || end == 0 || end > 6) return error("\\u{ needs up to six digits and a '}'");
      ASSIGN_OR_RETURN(const char32_t value, hex(end));
      if (value > 0x10FFFF || !take("}")) return error("\\u{…} is not a character");
      return value;
    }
    ASSIGN_OR_RETURN(const char32_t high, hex(4));
    if (high < 0xD800 || high > 0xDBFF || !take("\\u")) return high;
    ASSIGN_OR_RETURN(const char32_t low, hex(4));
    if (low < 0xDC00 || low > 0xDFFF) return error("\\u writes half a character");
    return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
  }

  /// After the '['.
  Result<Expression> bracket() {
    const bool negated = take("^");
    CharacterClass ranges;
    while (!take("]")) {
      if (rest_.empty()) return error("a '[' has no ']'");
      bool is_class = false;
      ASSIGN_OR_RETURN(const char32_t low, member(ranges, is_class));
      if (is_class) continue;
      char32_t high = low;
      if (at('-') && rest_.size() > 1 && rest_[1] != ']') {
        rest_.remove_prefix(1);
        ASSIGN_OR_RETURN(high, member(ranges, is_class));
        if (is_class) return error("a range ends with a class");
        if (high < low) return error("a range is out of order");
      }
      ranges.emplace_back(low, high);
    }
    return Expression::of_class(negated ? complement(ranges) : std::move(ranges));
  }

  Result<char32_t> member(CharacterClass& ranges, bool& is_class) {
    if (rest_.empty()) return error("a '[' has no ']'");
    if (!take("\\")) {
      const auto c = utf8_front(rest_);
      rest_.remove_prefix(c.length);
      return c.code_point;
    }
    if (rest_.empty()) return error("it ends with a '\\'");
    if (const auto found = class_escape(rest_.front())) {
      rest_.remove_prefix(1);
      ranges.insert(ranges.end(), found->begin(), found->end());
      is_class = true;
      return U'\0';
    }
    if (take("b")) return U'\b';
    return escape();
  }

  std::string_view pattern_, rest_;
};

}  // namespace

Result<Expression> parse_regex(std::string_view pattern) {
  return Parser(pattern).run();
}

Expression any_text() {
  return Expression::repeat(Expression::of_class(complement({})), 0, Expression::kUnlimited);
}

Expression found_in(Expression pattern) {
  std::vector<Expression> parts;
  parts.push_back(any_text());
  parts.push_back(std::move(pattern));
  parts.push_back(any_text());
  return Expression::sequence(std::move(parts));
}

}  // namespace onebit::grammar
