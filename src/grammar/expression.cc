#include "grammar/expression.h"

#include <algorithm>

#include "base/utf8.h"

namespace onebit::grammar {
namespace {

constexpr char32_t kLastCharacter = 0x10FFFF;

/// Ascending, disjoint, without surrogates.
CharacterClass normalised(CharacterClass ranges) {
  constexpr char32_t kBeforeSurrogates = 0xD7FF, kAfterSurrogates = 0xE000;
  CharacterClass parts;
  for (auto [low, high] : ranges) {
    high = std::min(high, kLastCharacter);
    if (low > high) continue;
    if (low <= kBeforeSurrogates) parts.emplace_back(low, std::min(high, kBeforeSurrogates));
    if (high >= kAfterSurrogates) parts.emplace_back(std::max(low, kAfterSurrogates), high);
  }
  std::sort(parts.begin(), parts.end());
  CharacterClass result;
  for (const auto& part : parts) {
    if (!result.empty() && part.first <= result.back().second + 1)
      result.back().second = std::max(result.back().second, part.second);
    else
      result.push_back(part);
  }
  return result;
}

/// The UTF-8 of all characters from low to high, as byte ranges one after another. Both have as many bytes.
void add_sequences(Nfa& nfa, StateId from, std::string_view low, std::string_view high, StateId to) {
  const auto first_low = static_cast<uint8_t>(low[0]), first_high = static_cast<uint8_t>(high[0]);
  if (low.size() == 1) return nfa.bytes(from, first_low, first_high, to);
  const auto rest = [&](uint8_t a, uint8_t b, std::string_view l, std::string_view h) {
    const auto next = nfa.add_state();
    nfa.bytes(from, a, b, next);
    add_sequences(nfa, next, l, h, to);
  };
  const std::string least(low.size() - 1, '\x80'), most(low.size() - 1, '\xBF');
  const auto low_rest = low.substr(1), high_rest = high.substr(1);
  if (first_low == first_high) return rest(first_low, first_low, low_rest, high_rest);
  uint8_t from_whole = first_low, to_whole = first_high;
  if (low_rest != least) {
    rest(first_low, first_low, low_rest, most);
    ++from_whole;
  }
  if (high_rest != most) --to_whole;
  if (from_whole <= to_whole) rest(from_whole, to_whole, least, most);
  if (high_rest != most) rest(first_high, first_high, least, high_rest);
}

void add_class(Nfa& nfa, StateId from, const CharacterClass& ranges, StateId to) {
  constexpr std::pair<char32_t, char32_t> kLengths[] = {
      {0, 0x7F}, {0x80, 0x7FF}, {0x800, 0xFFFF}, {0x10000, kLastCharacter}};
  for (const auto& [low, high] : normalised(ranges))
    for (const auto& [first, last] : kLengths) {
      const char32_t a = std::max(low, first), b = std::min(high, last);
      if (a > b) continue;
      std::string low_bytes, high_bytes;
      utf8_append(low_bytes, a);
      utf8_append(high_bytes, b);
      add_sequences(nfa, from, low_bytes, high_bytes, to);
    }
}

Result<StateId> append_repeat(Nfa& nfa, StateId from, const Expression& e, Budget& budget) {
  const Expression& what = e.parts.front();
  StateId at = from;
  for (uint32_t i = 0; i < e.least; ++i) {
    ASSIGN_OR_RETURN(at, append(nfa, at, what, budget));
  }
  const StateId end = nfa.add_state();
  if (e.most == Expression::kUnlimited) {
    const StateId loop = nfa.add_state();
    nfa.empty(at, loop);
    ASSIGN_OR_RETURN(const StateId back, append(nfa, loop, what, budget));
    nfa.empty(back, loop);
    nfa.empty(loop, end);
    return end;
  }
  for (uint32_t i = e.least; i < e.most; ++i) {
    nfa.empty(at, end);
    ASSIGN_OR_RETURN(at, append(nfa, at, what, budget));
  }
  nfa.empty(at, end);
  return end;
}

}  // namespace

CharacterClass complement(const CharacterClass& ranges) {
  CharacterClass result;
  char32_t next = 0;
  for (const auto& [low, high] : normalised(ranges)) {
    if (low > next) result.emplace_back(next, low - 1);
    next = high + 1;
  }
  if (next <= kLastCharacter) result.emplace_back(next, kLastCharacter);
  return result;
}

Expression Expression::repeat(Expression what, uint32_t least, uint32_t most) {
  Expression e{.kind = Kind::kRepeat, .least = least, .most = most};
  e.parts.push_back(std::move(what));
  return e;
}

Result<StateId> append(Nfa& nfa, StateId from, const Expression& e, Budget& budget) {
  if (!budget.spend(4 + e.literal.size() + 4 * e.ranges.size()) || nfa.size() > 2 * Budget::kStates)
    return Budget::spent();
  switch (e.kind) {
    case Expression::Kind::kLiteral:
      return nfa.literal(from, e.literal);
    case Expression::Kind::kClass: {
      const StateId to = nfa.add_state();
      add_class(nfa, from, e.ranges, to);
      return to;
    }
    case Expression::Kind::kCall:
      return nfa.after_call(from, e.rule);
    case Expression::Kind::kSequence:
      for (const auto& part : e.parts) {
        ASSIGN_OR_RETURN(from, append(nfa, from, part, budget));
      }
      return from;
    case Expression::Kind::kChoice: {
      const StateId to = nfa.add_state();
      for (const auto& part : e.parts) {
        ASSIGN_OR_RETURN(const StateId end, append(nfa, from, part, budget));
        nfa.empty(end, to);
      }
      return to;
    }
    case Expression::Kind::kRepeat:
      return append_repeat(nfa, from, e, budget);
    case Expression::Kind::kBegin:
    case Expression::Kind::kEnd: {
      const StateId to = nfa.add_state();
      nfa.assertion(from, e.kind == Expression::Kind::kBegin ? Nfa::Kind::kBegin : Nfa::Kind::kEnd, to);
      return to;
    }
  }
  return from;
}

Result<Dfa> to_dfa(const Expression& expression, Budget& budget) {
  Nfa nfa;
  const StateId start = nfa.add_state();
  ASSIGN_OR_RETURN(const StateId end, append(nfa, start, expression, budget));
  ASSIGN_OR_RETURN(auto dfa, determinise(nfa, start, end, budget));
  trim(dfa, [](RuleId) { return true; });
  return dfa;
}

std::optional<uint32_t> take_number(std::string_view& rest) {
  uint64_t value = 0;
  size_t digits = 0;
  for (; digits < rest.size() && rest[digits] >= '0' && rest[digits] <= '9'; ++digits)
    value = std::min<uint64_t>(10 * value + static_cast<uint64_t>(rest[digits] - '0'), UINT32_MAX - 1);
  rest.remove_prefix(digits);
  return digits == 0 ? std::nullopt : std::optional(static_cast<uint32_t>(value));
}

}  // namespace onebit::grammar
