#include "grammar/json_number.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <tuple>

#include "grammar/expression.h"
#include "grammar/regex.h"

namespace onebit::grammar {
namespace {

constexpr uint32_t kDigits = 15, kMostDigits = 18;

/// A decimal number's size: digits without leading and trailing zeros, those before the point first.
struct Decimal {
  bool negative = false;
  std::string whole, fraction;
  bool is_zero() const { return whole.empty() && fraction.empty(); }
};

/// The shortest decimal that is this double.
Result<Decimal> decimal_of(double value) {
  const std::string text = fmt::format("{}", value);  // "1e+20", "-0.5", "12"
  Decimal d;
  std::string digits;
  int point = -1, exponent = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '-') d.negative = true;
    if (c >= '0' && c <= '9') digits += c;
    if (c == '.') point = static_cast<int>(digits.size());
    if (c != 'e') continue;
    exponent = std::stoi(text.substr(i + 1));
    break;
  }
  if (point < 0) point = static_cast<int>(digits.size());
  point += exponent;
  if (point > static_cast<int>(kMostDigits) || point < -static_cast<int>(kMostDigits))
    return fail("the bound {} is too large or too small for this server", value);
  while (point < 0) digits.insert(0, 1, '0'), ++point;
  while (static_cast<int>(digits.size()) < point) digits += '0';
  d.whole = digits.substr(0, static_cast<size_t>(point));
  d.fraction = digits.substr(static_cast<size_t>(point));
  d.whole.erase(0, std::min(d.whole.find_first_not_of('0'), d.whole.size()));
  d.fraction.erase(d.fraction.find_last_not_of('0') + 1);
  if (d.is_zero()) d.negative = false;
  return d;
}

/// How the digits read so far compare with a decimal's size.
struct Comparison {
  int8_t order = 0;  // of the digits so far: -1 less, 0 equal, 1 greater
  bool operator<(const Comparison& o) const { return order < o.order; }
  void digit(char mine, char theirs) {
    if (order == 0 && mine != theirs) order = mine < theirs ? -1 : 1;
  }
};

struct State {
  enum Phase : uint8_t { kStart, kSign, kZero, kWhole, kPoint, kFraction };
  Phase phase = kStart;
  bool negative = false, nonzero = false;
  uint8_t whole = 0, fraction = 0;  // digits read
  Comparison low, high;             // with the sizes of the bounds
  uint64_t remainder = 0;

  auto key() const { return std::tuple(phase, negative, nonzero, whole, fraction, low.order, high.order, remainder); }
  bool operator<(const State& o) const { return key() < o.key(); }
};

/// A number read byte by byte, against its bounds.
class Machine {
 public:
  static Result<Machine> create(const NumberBounds& bounds) {
    Machine m;
    m.bounds_ = bounds;
    uint32_t longest = 0;
    if (bounds.minimum) {
      ASSIGN_OR_RETURN(m.low_, decimal_of(*bounds.minimum));
      longest = static_cast<uint32_t>(m.low_.whole.size());
    }
    if (bounds.maximum) {
      ASSIGN_OR_RETURN(m.high_, decimal_of(*bounds.maximum));
      longest = std::max(longest, static_cast<uint32_t>(m.high_.whole.size()));
    }
    m.digits_ = longest > kDigits ? kMostDigits : kDigits;
    if (bounds.multiple_of) RETURN_IF_ERROR(m.set_multiple(*bounds.multiple_of));
    return m;
  }

  bool step(State& s, uint8_t byte) const {
    if (byte == '-' && s.phase == State::kStart) {
      s.negative = true;
      s.phase = State::kSign;
      return true;
    }
    if (byte == '.' && !bounds_.integer && most_fraction_ > 0 &&
        (s.phase == State::kZero || s.phase == State::kWhole)) {
      s.low = whole_order(s, s.low, low_.whole);
      s.high = whole_order(s, s.high, high_.whole);
      s.phase = State::kPoint;
      return true;
    }
    if (byte < '0' || byte > '9' || s.phase == State::kZero || s.whole + s.fraction >= digits_) return false;
    const auto digit = static_cast<char>(byte);
    s.nonzero = s.nonzero || digit != '0';
    if (bounds_.multiple_of) s.remainder = (10 * s.remainder + static_cast<uint64_t>(digit - '0')) % multiple_;
    if (s.phase == State::kPoint || s.phase == State::kFraction) {
      if (s.fraction >= most_fraction_) return false;
      s.low.digit(digit, s.fraction < low_.fraction.size() ? low_.fraction[s.fraction] : '0');
      s.high.digit(digit, s.fraction < high_.fraction.size() ? high_.fraction[s.fraction] : '0');
      ++s.fraction;
      s.phase = State::kFraction;
      return true;
    }
    if (digit == '0' && s.whole == 0) {
      s.phase = State::kZero;
      return true;
    }
    s.low.digit(digit, s.whole < low_.whole.size() ? low_.whole[s.whole] : '0');
    s.high.digit(digit, s.whole < high_.whole.size() ? high_.whole[s.whole] : '0');
    ++s.whole;
    s.phase = State::kWhole;
    return true;
  }

  bool accepts(const State& s) const {
    if (s.phase == State::kStart || s.phase == State::kSign || s.phase == State::kPoint) return false;
    if (s.negative && !s.nonzero) return false;  // -0 is an odd thing to say
    if (bounds_.multiple_of) {
      uint64_t r = s.remainder;
      for (uint32_t i = s.fraction; i < most_fraction_; ++i) r = 10 * r % multiple_;
      if (r != 0) return false;
    }
    if (bounds_.minimum) {
      const int order = order_of(s, s.low, low_);
      if (order < 0 || (order == 0 && bounds_.exclusive_minimum)) return false;
    }
    if (bounds_.maximum) {
      const int order = order_of(s, s.high, high_);
      if (order > 0 || (order == 0 && bounds_.exclusive_maximum)) return false;
    }
    return true;
  }

 private:
  Status set_multiple(double value) {
    const auto d = decimal_of(value);
    if (!d || !(value > 0) || d->whole.size() + d->fraction.size() > 6)
      return fail("multipleOf {} is not supported: it must be positive and have at most 6 digits", value);
    multiple_ = std::stoull("0" + d->whole + d->fraction);
    most_fraction_ = bounds_.integer ? 0 : static_cast<uint32_t>(d->fraction.size());
    if (bounds_.integer && !d->fraction.empty()) {  // n is a multiple of a / 10^k: 10^k n is one of a
      uint64_t scale = 1;
      for (size_t i = 0; i < d->fraction.size(); ++i) scale *= 10;
      multiple_ /= std::gcd(multiple_, scale);
    }
    return {};
  }

  /// By how many digits there are, then by what they were.
  static Comparison whole_order(const State& s, Comparison so_far, const std::string& theirs) {
    if (s.whole != theirs.size()) so_far.order = s.whole < theirs.size() ? -1 : 1;
    return so_far;
  }

  /// Of the number with a bound: -1 less, 0 equal, 1 greater.
  static int order_of(const State& s, Comparison size, const Decimal& bound) {
    const bool whole_only = s.phase == State::kZero || s.phase == State::kWhole;
    if (whole_only) size = whole_order(s, size, bound.whole);
    if (size.order == 0 && s.fraction < bound.fraction.size()) size.order = -1;  // its last digit is not 0
    const bool negative = s.negative && s.nonzero;
    if (negative != bound.negative) return negative ? -1 : 1;
    return negative ? -size.order : size.order;
  }

  NumberBounds bounds_;
  Decimal low_, high_;
  uint32_t digits_ = kDigits, most_fraction_ = kDigits;
  uint64_t multiple_ = 1;
};

}  // namespace

bool NumberBounds::allow(double value) const {
  if (integer && value != std::floor(value)) return false;
  if (minimum && (exclusive_minimum ? !(value > *minimum) : !(value >= *minimum))) return false;
  if (maximum && (exclusive_maximum ? !(value < *maximum) : !(value <= *maximum))) return false;
  return !multiple_of || std::fmod(value, *multiple_of) == 0;
}

Result<Dfa> number_automaton(const NumberBounds& bounds, Budget& budget) {
  if (!bounds.any()) {
    ASSIGN_OR_RETURN(
        const auto plain,
        parse_regex(bounds.integer ? "-?(?:0|[1-9][0-9]{0,14})"
                                   : "-?(?:0|[1-9][0-9]{0,14})(?:\\.[0-9]{1,15})?(?:[eE][+-]?[0-9]{1,2})?"));
    return to_dfa(plain, budget);
  }
  ASSIGN_OR_RETURN(const auto machine, Machine::create(bounds));
  Dfa dfa;
  std::map<State, StateId> ids{{State{}, 0}};
  std::vector<State> states{State{}};
  for (StateId id = 0; id < states.size(); ++id) {
    if (states.size() > Budget::kStates / 4 || !budget.spend(16)) return Budget::spent();
    Dfa::State out;
    out.final = machine.accepts(states[id]);
    for (const char c : std::string_view("-.0123456789")) {
      State next = states[id];
      if (!machine.step(next, static_cast<uint8_t>(c))) continue;
      const auto [it, is_new] = ids.try_emplace(next, static_cast<StateId>(states.size()));
      if (is_new) states.push_back(next);
      out.edges.push_back({static_cast<uint8_t>(c), static_cast<uint8_t>(c), it->second});
    }
    dfa.states.push_back(std::move(out));
  }
  trim(dfa, [](RuleId) { return true; });
  return dfa;
}

}  // namespace onebit::grammar
