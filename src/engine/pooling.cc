#include "engine/pooling.h"

#include <algorithm>
#include <cmath>

namespace onebit {

void Pool::add(std::span<const float> state) {
  if (pooling_ == Pooling::kMean) {
    sum_.resize(state.size(), 0.0f);
    for (size_t i = 0; i < state.size(); ++i) sum_[i] = sum_[i] + state[i];
  } else {
    sum_.assign(state.begin(), state.end());
  }
  ++count_;
}

void Pool::clear() {
  sum_.clear();
  count_ = 0;
}

std::vector<float> Pool::embedding() const {
  auto result = sum_;
  if (pooling_ == Pooling::kMean)
    for (float& v : result) v = v / static_cast<float>(count_);
  double squares = 0;
  for (const float v : result) squares += static_cast<double>(v) * static_cast<double>(v);
  if (squares == 0) return result;
  const double length = std::sqrt(squares);
  for (float& v : result) v = static_cast<float>(static_cast<double>(v) / length);
  return result;
}

}  // namespace onebit
