#include "grammar/gbnf.h"

#include <algorithm>
#include <map>
#include <optional>

#include "base/utf8.h"
#include "grammar/expression.h"

namespace onebit::grammar {
namespace {

constexpr uint32_t kMostRepeats = 100'000;
constexpr int kDeepest = 200;
constexpr int kMostQuantifiers = 4;

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

class Parser {
 public:
  Parser(std::string_view source, Budget& budget) : source_(source), rest_(source), budget_(budget) {}

  Result<Rules> run() {
    if (!utf8_valid(source_)) return fail("grammar: the source is not valid UTF-8");
    (void)rule_named("root");
    skip_space(true);
    while (!rest_.empty()) {
      RETURN_IF_ERROR(rule());
      skip_space(true);
    }
    for (RuleId r = 0; r < rules_.size(); ++r)
      if (!defined_[r]) return fail("grammar: the rule '{}' is not defined", printable(rules_[r].name));
    return std::move(rules_);
  }

 private:
  tl::unexpected<Error> error(std::string_view what) const {
    const auto read = source_.substr(0, source_.size() - rest_.size());
    return fail("grammar: line {}: {}", 1 + std::count(read.begin(), read.end(), '\n'), what);
  }
  bool at(char c) const { return !rest_.empty() && rest_.front() == c; }
  bool take(std::string_view text) {
    if (!rest_.starts_with(text)) return false;
    rest_.remove_prefix(text.size());
    return true;
  }

  void skip_space(bool lines) {
    while (!rest_.empty()) {
      if (at('#'))
        rest_.remove_prefix(std::min(rest_.find('\n'), rest_.size()));
      else if (at(' ') || at('\t') || (lines && (at('\n') || at('\r'))))
        rest_.remove_prefix(1);
      else
        break;
    }
  }

  std::string_view word() {
    size_t n = 0;
    while (n < rest_.size() && is_word(rest_[n])) ++n;
    const auto name = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return name;
  }

  RuleId rule_named(std::string_view name) {
    const auto [it, is_new] = ids_.try_emplace(std::string(name), static_cast<RuleId>(rules_.size()));
    if (is_new) {
      rules_.add(std::string(name));
      defined_.push_back(false);
    }
    return it->second;
  }

  Status rule() {
    const auto name = word();
    if (name.empty()) return error("expected a rule's name");
    const RuleId id = rule_named(name);
    if (defined_[id]) return error(fmt::format("the rule '{}' is defined twice", printable(name)));
    skip_space(false);
    if (!take("::=")) return error("expected ::= after a rule's name");
    skip_space(true);
    ASSIGN_OR_RETURN(const auto body, choice(false, 0));
    if (!rest_.empty() && !at('\n') && !at('\r')) return error("expected the end of the rule");
    auto& to = rules_[id];
    ASSIGN_OR_RETURN(const StateId end, append(to.nfa, to.start, body, budget_));
    to.nfa.empty(end, to.end);
    defined_[id] = true;
    return {};
  }

  /// Lines end a rule, but not inside a group or about a '|'.
  Result<Expression> choice(bool in_group, int depth) {
    if (depth > kDeepest) return error("groups are nested too deeply");
    std::vector<Expression> parts;
    do {
      skip_space(true);
      ASSIGN_OR_RETURN(auto part, sequence(in_group, depth));
      parts.push_back(std::move(part));
    } while (take_or());
    return parts.size() == 1 ? std::move(parts.front()) : Expression::choice(std::move(parts));
  }

  /// A '|', also at the beginning of a later line.
  bool take_or() {
    const auto before = rest_;
    skip_space(true);
    if (take("|")) return true;
    rest_ = before;
    return false;
  }

  Result<Expression> sequence(bool in_group, int depth) {
    std::vector<Expression> parts;
    while (!rest_.empty() && !at('|') && !at(')') && !at('\n') && !at('\r')) {
      if (!budget_.spend(4)) return Budget::spent();
      ASSIGN_OR_RETURN(auto what, atom(depth));
      for (int n = 0; at('*') || at('+') || at('?') || at('{'); ++n) {  // each is a level of what is walked later
        if (n == kMostQuantifiers) return error("there are too many quantifiers after one another");
        ASSIGN_OR_RETURN(what, repeated(std::move(what)));
      }
      parts.push_back(std::move(what));
      skip_space(in_group);
    }
    return Expression::sequence(std::move(parts));
  }

  Result<Expression> repeated(Expression what) {
    if (take("*")) return Expression::repeat(std::move(what), 0, Expression::kUnlimited);
    if (take("+")) return Expression::repeat(std::move(what), 1, Expression::kUnlimited);
    if (take("?")) return Expression::repeat(std::move(what), 0, 1);
    (void)take("{");
    skip_space(false);
    const auto low = take_number(rest_);
    skip_space(false);
    std::optional<uint32_t> high = low;
    if (take(",")) {
      skip_space(false);
      high = take_number(rest_);
      skip_space(false);
      if (!high) high = Expression::kUnlimited;
    } else if (!low) {
      return error("a repetition needs a number");
    }
    if (!take("}")) return error("a repetition has no '}'");
    const uint32_t least = low.value_or(0);
    if (least > kMostRepeats || (*high != Expression::kUnlimited && *high > kMostRepeats))
      return error("it repeats more than 100000 times");
    if (least > *high) return error("a repetition's numbers are out of order");
    return Expression::repeat(std::move(what), least, *high);
  }

  Result<Expression> atom(int depth) {
    if (take("\"")) return literal();
    if (take("[")) return bracket();
    if (take(".")) return Expression::of_class(complement({}));
    if (take("(")) {
      ASSIGN_OR_RETURN(auto inside, choice(true, depth + 1));
      if (!take(")")) return error("a group has no ')'");
      return inside;
    }
    if (at('<') || at('!')) return error("tokens in a grammar (<…>) are not supported: it is about text");
    const auto name = word();
    if (name.empty()) return error(fmt::format("'{}' is not expected here", printable(rest_.substr(0, 1))));
    return Expression::call(rule_named(name));
  }

  Result<Expression> literal() {
    std::string bytes;
    while (!take("\"")) {
      if (rest_.empty() || at('\n')) return error("a text has no closing quote");
      ASSIGN_OR_RETURN(const char32_t c, character());
      utf8_append(bytes, c);
    }
    return Expression::text(std::move(bytes));
  }

  Result<Expression> bracket() {
    const bool negated = take("^");
    CharacterClass ranges;
    while (!take("]")) {
      if (rest_.empty() || at('\n')) return error("a '[' has no ']'");
      ASSIGN_OR_RETURN(const char32_t low, character());
      char32_t high = low;
      if (at('-') && rest_.size() > 1 && rest_[1] != ']') {
        rest_.remove_prefix(1);
        if (rest_.empty()) return error("a '[' has no ']'");
        ASSIGN_OR_RETURN(high, character());
        if (high < low) return error("a range is out of order");
      }
      ranges.emplace_back(low, high);
    }
    return Expression::of_class(negated ? complement(ranges) : std::move(ranges));
  }

  Result<char32_t> character() {
    const auto c = utf8_front(rest_);
    rest_.remove_prefix(c.length);
    if (c.code_point != '\\') return c.code_point;
    const auto escaped = utf8_front(rest_);
    if (escaped.length == 0) return error("the source ends with a '\\'");
    rest_.remove_prefix(escaped.length);
    switch (escaped.code_point) {
      case 'n':
        return U'\n';
      case 'r':
        return U'\r';
      case 't':
        return U'\t';
      case 'x':
        return hex(2);
      case 'u':
        return hex(4);
      case 'U':
        return hex(8);
      case '\\':
      case '"':
      case '[':
      case ']':
      case '-':
      case '^':
        return escaped.code_point;
      default:
        return error("an escape is not one of \\n \\r \\t \\x \\u \\U \\\\ \\\" \\[ \\] \\- \\^");
    }
  }

  Result<char32_t> hex(size_t digits) {
    uint64_t value = 0;
    if (rest_.size() < digits) return error("an escape is cut short");
    for (const char c : rest_.substr(0, digits)) {
      if (!std::isxdigit(static_cast<unsigned char>(c))) return error("an escape has a digit that is none");
      value = 16 * value + static_cast<uint64_t>(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
    }
    rest_.remove_prefix(digits);
    if (value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) return error("an escape is not a character");
    return static_cast<char32_t>(value);
  }

  std::string_view source_, rest_;
  Budget& budget_;
  Rules rules_;
  std::map<std::string, RuleId, std::less<>> ids_;
  std::vector<bool> defined_;
};

}  // namespace

Result<Rules> parse_gbnf(std::string_view source, Budget& budget) {
  return Parser(source, budget).run();
}

}  // namespace onebit::grammar
