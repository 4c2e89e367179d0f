// From the states of a prompt's tokens to one embedding (docs/numerics.md, 9).
#pragma once

#include <span>
#include <vector>

#include "engine/request.h"

namespace onebit {

/// Takes states in ascending position.
class Pool {
 public:
  explicit Pool(Pooling pooling) : pooling_(pooling) {}

  void add(std::span<const float> state);
  void clear();
  /// [hidden], of length 1, of what was added: at least one state. Zeros stay zeros.
  std::vector<float> embedding() const;

 private:
  Pooling pooling_;
  std::vector<float> sum_;  // or the last
  uint32_t count_ = 0;
};

}  // namespace onebit
