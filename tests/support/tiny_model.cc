#include "tests/support/tiny_model.h"

namespace onebit::test {

ModelConfig tiny_config() {
  ModelConfig c;
  c.layers = 2;
  c.hidden = 48;
  c.heads = 2;
  c.kv_heads = 1;
  c.head_dim = 16;
  c.ffn = 80;
  c.vocabulary = 300;
  c.context = 32;
  c.rms_epsilon = 1e-5f;
  c.rope_theta = 10000.0;
  c.tied_head = true;
  return c;
}

ModelConfig least_config() {
  auto c = tiny_config();
  c.layers = 1;
  c.hidden = 2;
  c.heads = 1;
  c.head_dim = 2;
  c.ffn = 2;
  c.vocabulary = 258;
  c.context = 4;
  return c;
}

TokenizerData tiny_tokenizer(uint32_t vocabulary) {
  TokenizerData data;
  data.chat.layout = ChatLayout::kLlama3;
  for (int byte = 0; byte < 256; ++byte) data.tokens.emplace_back(1, static_cast<char>(byte));
  for (const auto* pair : {"th", "in", "er", "an", "on", "re"}) {
    if (data.tokens.size() + 2 >= vocabulary) break;
    data.merges.push_back({pair[0], pair[1], static_cast<TokenId>(data.tokens.size())});
    data.tokens.emplace_back(pair);
  }
  data.tokens.resize(vocabulary - 2);
  data.special.assign(vocabulary - 2, false);
  for (const auto* name : {"<|begin_of_text|>", "<|eot_id|>"}) {
    data.tokens.emplace_back(name);
    data.special.push_back(true);
  }
  data.bos = static_cast<TokenId>(vocabulary) - 2;
  data.stop_tokens = {static_cast<TokenId>(vocabulary) - 1};
  return data;
}

ModelParts tiny_parts(const ModelConfig& config) {
  return {
      config, tiny_tokenizer(config.vocabulary), {{"name", "tiny"}, {"licence", "CC0-1.0"}, {"note", "à la carte"}}};
}

std::vector<int8_t> unpack_all(const Tensor& tensor) {
  std::vector<int8_t> weights(tensor.rows * tensor.columns);
  for (uint64_t row = 0; row < tensor.rows; ++row)
    unpack_row(tensor.packing, tensor.matrix, tensor.columns, row,
               std::span(weights).subspan(row * tensor.columns, tensor.columns));
  return weights;
}

}  // namespace onebit::test
