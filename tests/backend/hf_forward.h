// A Hugging Face checkpoint's forward pass from its own names and numbers: config.json and dense float matrices,
// float64, libm, attention in one piece. Nothing of it is the engine's, or goes through a model file.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace onebit::test {

/// A projection as it multiplies: -1, 0 or 1 times a scale of its own for each element, [rows][columns].
struct DenseMatrix {
  uint32_t rows = 0, columns = 0;
  std::vector<float> values;
};

class HfForward {
 public:
  using Rows = std::vector<std::vector<double>>;  // [tokens][width]

  nlohmann::json config;
  std::map<std::string, DenseMatrix> matrices;      // projections, embedding and head by their tensors' names
  std::map<std::string, std::vector<float>> norms;  // likewise

  /// The states after the last norm of a text of these tokens, and their logits.
  Rows states(const std::vector<int32_t>& tokens) const;
  Rows logits(const Rows& states) const;

 private:
  std::string prefix() const { return norms.contains("norm.weight") ? "" : "model."; }
  Rows linear(const Rows& x, const std::string& name) const;
  Rows norm(const Rows& x, const std::string& name) const;
  void norm_heads(Rows& x, const std::string& name) const;
  void turn(Rows& x) const;
  Rows attend(const Rows& q, const Rows& k, const Rows& v) const;
  size_t size(const char* key) const { return config.at(key).get<size_t>(); }
  size_t head_dim() const { return config.value("head_dim", size("hidden_size") / size("num_attention_heads")); }
};

}  // namespace onebit::test
