// What compiling a grammar may cost: every loop spends from it, so that no source takes long or much memory.
#pragma once

#include <cstdint>

#include "base/result.h"

namespace onebit::grammar {

class Budget {
 public:
  /// A unit is one state, edge or comparison: some tens of nanoseconds.
  explicit Budget(uint64_t work = kWork) : left_(work) {}
  bool spend(uint64_t work) {
    left_ = work < left_ ? left_ - work : 0;
    return left_ > 0;
  }
  /// What a function says that found it spent.
  static tl::unexpected<Error> spent() {
    return fail("the grammar is too large: its automaton would need more states than this server allows");
  }

  static constexpr uint64_t kWork = 20'000'000;
  static constexpr uint32_t kStates = 200'000;         // of one automaton on the way, and of a finished grammar
  static constexpr uint64_t kTableEntries = 12 << 20;  // of a finished grammar: 4 bytes each

 private:
  uint64_t left_;
};

}  // namespace onebit::grammar
