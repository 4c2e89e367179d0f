#include "tests/support/hf_folder.h"

#include <cstring>
#include <random>

#include "base/half.h"
#include "base/utf8.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"

namespace onebit::test {
namespace {

using nlohmann::json;

template <class T>
void append(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

template <class Convert>
StTensor half_tensor(const char* dtype, std::vector<uint64_t> shape, const std::vector<float>& values,
                     Convert convert) {
  StTensor t{dtype, std::move(shape), {}};
  for (const float v : values) append(t.bytes, convert(v));
  return t;
}

/// Bytes as tokenizer.json writes them: printable ones as Latin-1, the others from U+0100 on.
std::string stand_ins(const std::string& bytes) {
  std::string out;
  for (const char c : bytes) {
    const auto wanted = static_cast<unsigned char>(c);
    char32_t next = 0x100;
    for (unsigned byte = 0;; ++byte) {
      const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte != 0xad);
      const char32_t code_point = printable ? char32_t{byte} : next++;
      if (byte != wanted) continue;
      utf8_append(out, code_point);
      break;
    }
  }
  return out;
}

constexpr const char* kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
    R"(\s*[\r\n]+|\s+(?!\S)|\s+)";

json tokenizer_json(const TokenizerData& data) {
  json split = {
      {"type", "Split"}, {"pattern", {{"Regex", kLlama3Pattern}}}, {"behavior", "Isolated"}, {"invert", false}};
  json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}};
  json vocab = json::object(), merges = json::array(), added = json::array();
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    if (data.special[id]) {
      added.push_back({{"id", id}, {"content", data.tokens[id]}, {"special", true}});
    } else if (!data.tokens[id].empty()) {
      vocab[stand_ins(data.tokens[id])] = id;
    }
  }
  for (const auto& m : data.merges)
    merges.push_back(stand_ins(data.tokens[m.left]) + " " + stand_ins(data.tokens[m.right]));
  return {{"version", "1.0"},
          {"added_tokens", added},
          {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {split, bytes}}}},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}}}};
}

json config_json(const ModelConfig& c, TernaryStorage storage, const TokenizerData& tokenizer) {
  const bool online = storage == TernaryStorage::kMaster;
  return {{"model_type", "bitnet"},
          {"hidden_act", "relu2"},
          {"hidden_size", c.hidden},
          {"num_hidden_layers", c.layers},
          {"num_attention_heads", c.heads},
          {"num_key_value_heads", c.kv_heads},
          {"head_dim", c.head_dim},
          {"intermediate_size", c.ffn},
          {"vocab_size", c.vocabulary},
          {"max_position_embeddings", c.context},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", c.rope_theta},
          {"tie_word_embeddings", c.tied_head},
          {"bos_token_id", tokenizer.bos},
          {"eos_token_id", tokenizer.stop_tokens.at(0)},
          {"quantization_config",
           {{"quant_method", "bitnet"},
            {"linear_class", storage == TernaryStorage::kPackedDivide ? "bitlinear" : "autobitlinear"},
            {"quantization_mode", online ? "online" : "offline"}}}};
}

/// Random numbers, and tensors of them that are noted in the model.
class Maker {
 public:
  Maker(HfModel& model, uint32_t seed) : model_(model), random_(seed) {}

  std::vector<float> floats(const std::string& name, uint64_t n, float low, float high) {
    std::uniform_real_distribution<float> value(low, high);
    std::vector<float> values(n);
    for (auto& v : values) v = bf16_to_float(float_to_bf16(value(random_)));
    return model_.floats[name] = values;
  }

  /// Byte [r, c] holds the rows r + i · (outputs / 4) in the bits 2i and 2i + 1, weight + 1 each.
  void packed(const std::string& name, LinearShape shape) {
    std::uniform_int_distribution<int> weight(-1, 1);
    std::vector<int8_t> weights(size_t{shape.outputs} * shape.inputs);
    for (auto& w : weights) w = static_cast<int8_t>(weight(random_));
    const uint32_t quarter = shape.outputs / 4;
    std::string bytes(size_t{quarter} * shape.inputs, '\0');
    for (uint32_t row = 0; row < shape.outputs; ++row)
      for (uint32_t c = 0; c < shape.inputs; ++c) {
        auto& byte = bytes[size_t{row % quarter} * shape.inputs + c];
        byte = static_cast<char>(byte | (weights[size_t{row} * shape.inputs + c] + 1) << 2 * (row / quarter));
      }
    model_.folder.tensors[name + ".weight"] = {"U8", {quarter, shape.inputs}, bytes};
    model_.ternary[name] = weights;
    const float scale = floats(name + ".weight_scale", 1, 0.5f, 2.0f)[0];
    model_.stored_scale[name] = scale;
    model_.folder.tensors[name + ".weight_scale"] = bf16_tensor({1}, {scale});
  }

  void bf16(const std::string& name, const std::vector<uint64_t>& shape, float low, float high) {
    uint64_t n = 1;
    for (const uint64_t d : shape) n *= d;
    model_.folder.tensors[name] = bf16_tensor(shape, floats(name, n, low, high));
  }

 private:
  HfModel& model_;
  std::mt19937 random_;
};

}  // namespace

StTensor f32_tensor(std::vector<uint64_t> shape, const std::vector<float>& values) {
  return half_tensor("F32", std::move(shape), values, [](float v) { return v; });
}
StTensor bf16_tensor(std::vector<uint64_t> shape, const std::vector<float>& values) {
  return half_tensor("BF16", std::move(shape), values, float_to_bf16);
}
StTensor f16_tensor(std::vector<uint64_t> shape, const std::vector<float>& values) {
  return half_tensor("F16", std::move(shape), values, float_to_half);
}

std::string safetensors_file(const std::string& header, const std::string& data) {
  std::string out;
  append(out, uint64_t{header.size()});
  return out + header + data;
}

std::string safetensors_file(const StTensors& tensors) {
  json header = {{"__metadata__", {{"format", "pt"}}}};
  std::string data;
  for (const auto& [name, t] : tensors) {
    header[name] = {
        {"dtype", t.dtype}, {"shape", t.shape}, {"data_offsets", {data.size(), data.size() + t.bytes.size()}}};
    data += t.bytes;
  }
  return safetensors_file(header.dump(), data);
}

std::string hf_name(uint32_t layer, Linear linear) {
  constexpr std::array names{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                             "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};
  return fmt::format("model.layers.{}.{}", layer, names[static_cast<size_t>(linear)]);
}

std::string hf_name(uint32_t layer, Norm norm) {
  constexpr std::array names{"input_layernorm", "self_attn.attn_sub_norm", "post_attention_layernorm",
                             "mlp.ffn_sub_norm"};
  return fmt::format("model.layers.{}.{}.weight", layer, names[static_cast<size_t>(norm)]);
}

HfModel make_hf_model(const ModelConfig& config, TernaryStorage storage, uint32_t seed) {
  HfModel model;
  model.config = config;
  model.tokenizer = tiny_tokenizer(config.vocabulary);
  model.tokenizer.chat.layout = ChatLayout::kNone;  // the folder has no chat template
  model.folder.config = config_json(config, storage, model.tokenizer);
  model.folder.tokenizer = tokenizer_json(model.tokenizer);
  Maker maker(model, seed);
  maker.bf16("model.embed_tokens.weight", {config.vocabulary, config.hidden}, -1.0f, 1.0f);
  if (!config.tied_head) maker.bf16("lm_head.weight", {config.vocabulary, config.hidden}, -1.0f, 1.0f);
  maker.bf16("model.norm.weight", {config.hidden}, 0.5f, 1.5f);
  for (uint32_t layer = 0; layer < config.layers; ++layer) {
    for (const auto norm : norms_of(config)) maker.bf16(hf_name(layer, norm), {width_of(config, norm)}, 0.5f, 1.5f);
    for (const auto linear : kLinears) {
      const auto shape = shape_of(config, linear);
      if (storage == TernaryStorage::kMaster) {
        maker.bf16(hf_name(layer, linear) + ".weight", {shape.outputs, shape.inputs}, -0.1f, 0.1f);
      } else {
        maker.packed(hf_name(layer, linear), shape);
      }
    }
  }
  return model;
}

void write_hf_folder(const std::string& path, const HfFolder& folder) {
  write_file(path + "/config.json", folder.config.dump());
  write_file(path + "/tokenizer.json", folder.tokenizer.dump());
  if (folder.shards == 1) return write_file(path + "/model.safetensors", safetensors_file(folder.tensors));
  std::vector<StTensors> shards(folder.shards);
  json map;
  size_t next = 0;
  for (const auto& [name, tensor] : folder.tensors) {
    const size_t shard = next++ % folder.shards;
    shards[shard][name] = tensor;
    map[name] = fmt::format("model-{}.safetensors", shard);
  }
  for (size_t i = 0; i < shards.size(); ++i)
    write_file(fmt::format("{}/model-{}.safetensors", path, i), safetensors_file(shards[i]));
  write_file(path + "/model.safetensors.index.json", json{{"metadata", json::object()}, {"weight_map", map}}.dump());
}

}  // namespace onebit::test
