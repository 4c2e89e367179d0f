// The same model computed a second way, for figures that gen-1 is held against: dense float matrices,
// float64 everywhere but in the products (which are sums of integers and exact in float32), libm's
// functions, attention in one piece. Only the file's codecs are shared with the engine.
#pragma once

#include <span>
#include <vector>

#include "format/h1b_file.h"

namespace onebit::test {

class IndependentModel {
 public:
  explicit IndependentModel(const H1bFile& file);

  /// Natural log-probability of each token after the first, given those before it.
  std::vector<double> log_probabilities(std::span<const TokenId> tokens) const;

 private:
  using Rows = std::vector<std::vector<double>>;  // [tokens][width]
  Rows linear(const Rows& x, const std::string& name) const;
  Rows norm(const Rows& x, const std::string& name) const;
  void turn(Rows& x) const;
  Rows attend(const Rows& q, const Rows& k, const Rows& v) const;

  const H1bFile& file_;
};

}  // namespace onebit::test
