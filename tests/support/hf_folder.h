// Hugging Face model folders of a few kilobytes, with what they hold known.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "format/import/hf_config.h"
#include "format/model_tensors.h"
#include "format/tokenizer_data.h"

namespace onebit::test {

/// A tensor as a safetensors file holds it.
struct StTensor {
  std::string dtype;
  std::vector<uint64_t> shape;
  std::string bytes;
};
using StTensors = std::map<std::string, StTensor>;

StTensor f32_tensor(std::vector<uint64_t> shape, const std::vector<float>& values);
StTensor bf16_tensor(std::vector<uint64_t> shape, const std::vector<float>& values);
StTensor f16_tensor(std::vector<uint64_t> shape, const std::vector<float>& values);

/// Header length, header, data.
std::string safetensors_file(const StTensors& tensors);
/// The same with any header at all.
std::string safetensors_file(const std::string& header, const std::string& data);

/// "model.layers.0.self_attn.q_proj" and "model.layers.0.input_layernorm".
std::string hf_name(uint32_t layer, Linear linear);
std::string hf_name(uint32_t layer, Norm norm);

/// A folder's files before they are written, so that tests can spoil them.
struct HfFolder {
  nlohmann::json config;
  nlohmann::json tokenizer;
  StTensors tensors;
  uint32_t shards = 1;  // more than one: with an index
};

/// Random weights; what the tensors say is kept beside them.
struct HfModel {
  HfFolder folder;
  ModelConfig config;
  TokenizerData tokenizer;
  std::map<std::string, std::vector<int8_t>> ternary;  // packed only: by HF name, [outputs][inputs]
  std::map<std::string, float> stored_scale;           // packed only: by HF name, weight_scale as stored
  std::map<std::string, std::vector<float>> floats;    // all others by tensor name, as stored
};

HfModel make_hf_model(const ModelConfig& config, TernaryStorage storage, uint32_t seed = 1);

/// Writes config.json, tokenizer.json and the safetensors files into an existing folder.
void write_hf_folder(const std::string& path, const HfFolder& folder);

}  // namespace onebit::test
