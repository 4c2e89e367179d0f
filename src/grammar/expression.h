// Regular expressions over characters, with calls of rules: what the parsers of GBNF and regexes make.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "grammar/automaton.h"

namespace onebit::grammar {

/// Ranges of code points, any order.
using CharacterClass = std::vector<std::pair<char32_t, char32_t>>;
/// Everything but these. Surrogates are in no class: they have no UTF-8.
CharacterClass complement(const CharacterClass& ranges);

struct Expression {
  enum class Kind { kLiteral, kClass, kCall, kSequence, kChoice, kRepeat, kBegin, kEnd };
  static constexpr uint32_t kUnlimited = UINT32_MAX;

  Kind kind = Kind::kSequence;  // of nothing: the empty text
  std::string literal{};        // bytes
  CharacterClass ranges{};
  RuleId rule = 0;
  uint32_t least = 0, most = 0;     // repetitions
  std::vector<Expression> parts{};  // of a sequence or choice; what is repeated

  static Expression text(std::string bytes) { return {.kind = Kind::kLiteral, .literal = std::move(bytes)}; }
  static Expression of_class(CharacterClass ranges) { return {.kind = Kind::kClass, .ranges = std::move(ranges)}; }
  static Expression call(RuleId rule) { return {.kind = Kind::kCall, .rule = rule}; }
  static Expression repeat(Expression what, uint32_t least, uint32_t most);
  static Expression sequence(std::vector<Expression> parts) {
    return {.kind = Kind::kSequence, .parts = std::move(parts)};
  }
  static Expression choice(std::vector<Expression> parts) { return {.kind = Kind::kChoice, .parts = std::move(parts)}; }
};

/// Its states between `from` and the state that is returned.
Result<StateId> append(Nfa& nfa, StateId from, const Expression& expression, Budget& budget);
/// As an automaton of its own; for expressions without calls.
Result<Dfa> to_dfa(const Expression& expression, Budget& budget);

/// The decimal number at the beginning of `rest`, which is taken from it; what does not fit is as large as fits. None
/// where there is no digit.
std::optional<uint32_t> take_number(std::string_view& rest);

}  // namespace onebit::grammar
