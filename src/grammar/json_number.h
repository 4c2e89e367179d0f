// Numbers as JSON writes them, between bounds.
#pragma once

#include <optional>
#include <string>

#include "grammar/automaton.h"

namespace onebit::grammar {

/// What a schema says of a number. Bounds are compared in decimal, digit by digit.
struct NumberBounds {
  bool integer = false;
  std::optional<double> minimum{}, maximum{};  // inclusive unless …
  bool exclusive_minimum = false, exclusive_maximum = false;
  std::optional<double> multiple_of{};

  bool any() const { return minimum || maximum || multiple_of; }
  bool allow(double value) const;
};

/// Numbers have at most 15 significant digits, so that each is told apart as a double, too; integers with larger bounds
/// up to 18. With bounds there is no exponent. Errors: bounds or a multipleOf beyond that.
Result<Dfa> number_automaton(const NumberBounds& bounds, Budget& budget);

}  // namespace onebit::grammar
