// The architectures besides BitNet 2B-4T, each from a random checkpoint in its own layout: converted, computed by gen-1
// and held against a forward pass that knows nothing of the engine (hf_forward.h), and by gen-2 with the same bits.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>

#include "backend/cpu_backend.h"
#include "backend/reference_backend.h"
#include "base/half.h"
#include "format/import/convert.h"
#include "tests/backend/backend_models.h"
#include "tests/backend/hf_forward.h"
#include "tests/support/hf_folder.h"
#include "tests/support/temp_folder.h"

namespace onebit {
namespace {

using nlohmann::json;
using test::DenseMatrix;
using test::HfForward;
using test::StTensor;

constexpr uint32_t kVocabulary = 300;

/// A checkpoint while it is made: what its files hold, and what that means.
class Checkpoint {
 public:
  explicit Checkpoint(json config) {
    // The tokenizer is not what is tested here.
    auto least = test::least_config();
    least.vocabulary = kVocabulary;
    auto base = test::make_hf_model(least, TernaryStorage::kMaster).folder;
    folder.tokenizer = base.tokenizer;
    for (const char* key : {"bos_token_id", "eos_token_id"}) config[key] = base.config[key];
    config["vocab_size"] = kVocabulary;
    config["max_position_embeddings"] = 128;
    folder.config = forward.config = std::move(config);
  }

  size_t size(const char* key) const { return forward.config.at(key).get<size_t>(); }

  std::vector<float> random(size_t n, float low, float high) {
    std::uniform_real_distribution<float> value(low, high);
    std::vector<float> values(n);
    for (auto& v : values) v = bf16_to_float(float_to_bf16(value(random_)));
    return values;
  }
  std::vector<int> ternary(size_t n) {
    std::vector<int> values(n);
    for (auto& v : values) v = static_cast<int>(random_() % 3) - 1;
    return values;
  }

  void norm(const std::string& name, size_t width) {
    forward.norms[name] = random(width, 0.5f, 1.5f);
    folder.tensors[name] = test::bf16_tensor({width}, forward.norms[name]);
  }
  void table(const std::string& name) {
    const auto columns = static_cast<uint32_t>(size("hidden_size"));
    forward.matrices[name] = {kVocabulary, columns, random(size_t{kVocabulary} * columns, -1.0f, 1.0f)};
    folder.tensors[name] = test::bf16_tensor({kVocabulary, columns}, forward.matrices[name].values);
  }

  HfForward forward;
  test::HfFolder folder;

 private:
  std::mt19937 random_{7};
};

/// Puts a projection [rows][columns] into the checkpoint.
using AddLinear = std::function<void(Checkpoint&, const std::string& name, uint32_t rows, uint32_t columns)>;

DenseMatrix scaled(const std::vector<int>& weights, uint32_t rows, uint32_t columns,
                   const std::function<float(uint32_t row, uint32_t column)>& scale) {
  DenseMatrix m{rows, columns, {}};
  for (uint32_t r = 0; r < rows; ++r)
    for (uint32_t c = 0; c < columns; ++c)
      m.values.push_back(static_cast<float>(weights[size_t{r} * columns + c]) * scale(r, c));
  return m;
}

/// Two bits a weight and the reciprocal of the scale beside them (quant_method bitnet, linear_class bitlinear).
void packed_divide(Checkpoint& c, const std::string& name, uint32_t rows, uint32_t columns) {
  const auto weights = c.ternary(size_t{rows} * columns);
  const float divisor = c.random(1, 4.0f, 9.0f)[0];
  std::string bytes(size_t{rows} / 4 * columns, '\0');
  for (uint32_t r = 0; r < rows; ++r)
    for (uint32_t i = 0; i < columns; ++i) {
      auto& byte = bytes[size_t{r % (rows / 4)} * columns + i];
      byte = static_cast<char>(byte | (weights[size_t{r} * columns + i] + 1) << 2 * (r / (rows / 4)));
    }
  c.folder.tensors[name + ".weight"] = {"U8", {rows / 4, columns}, bytes};
  c.folder.tensors[name + ".weight_scale"] = test::bf16_tensor({1}, {divisor});
  c.forward.matrices[name + ".weight"] = scaled(weights, rows, columns, [&](auto, auto) { return 1.0f / divisor; });
}

/// Full precision; the model rounds to -1, 0, 1 by the mean magnitude when it is loaded.
void master(Checkpoint& c, const std::string& name, uint32_t rows, uint32_t columns) {
  const auto values = c.random(size_t{rows} * columns, -0.3f, 0.3f);
  c.folder.tensors[name + ".weight"] = test::f32_tensor({rows, columns}, values);
  double sum = 0;
  for (const float v : values) sum += std::fabs(double{v});
  const auto mean = static_cast<float>(sum / static_cast<double>(values.size()));
  DenseMatrix m{rows, columns, {}};
  for (const float v : values) m.values.push_back(std::clamp(std::nearbyint(v / mean), -1.0f, 1.0f) * mean);
  c.forward.matrices[name + ".weight"] = m;
}

/// Floats that are ternary times a scale already: one for `row_span` rows and `column_span` columns.
AddLinear unpacked(uint32_t row_span, uint32_t column_span) {
  return [=](Checkpoint& c, const std::string& name, uint32_t rows, uint32_t columns) {
    const uint32_t across = (columns + column_span - 1) / column_span, down = (rows + row_span - 1) / row_span;
    const auto scales = c.random(size_t{across} * down, 0.05f, 0.3f);
    auto m = scaled(c.ternary(size_t{rows} * columns), rows, columns,
                    [&](uint32_t r, uint32_t i) { return scales[r / row_span * across + i / column_span]; });
    for (auto& v : m.values) v = half_to_float(float_to_half(v));
    c.folder.tensors[name + ".weight"] = test::f16_tensor({rows, columns}, m.values);
    c.forward.matrices[name + ".weight"] = m;
  };
}

struct Family {
  std::string name;
  json config;
  AddLinear linear;
  bool sub_norms = false;            // inner_attn_ln and ffn_layernorm
  bool head_norms = false;           // q_norm and k_norm
  const char* projection_norm = "";  // what stands between a projection's name and ".weight"
  std::string prefix = "model.";
};

json config_of(const char* type, const char* model_class, size_t hidden, size_t heads, size_t kv_heads, size_t ffn,
               double theta, bool tied, json more = json::object()) {
  json config = {{"model_type", type},
                 {"architectures", {model_class}},
                 {"hidden_act", "silu"},
                 {"hidden_size", hidden},
                 {"num_hidden_layers", 2},
                 {"num_attention_heads", heads},
                 {"num_key_value_heads", kv_heads},
                 {"intermediate_size", ffn},
                 {"rms_norm_eps", 1e-6},
                 {"rope_theta", theta},
                 {"rope_scaling", nullptr},
                 {"tie_word_embeddings", tied}};
  config.update(more);
  return config;
}

std::vector<Family> families() {
  const json bitnet = {{"quantization_config", {{"quant_method", "bitnet"}, {"modules_to_not_convert", nullptr}}}};
  json falcon3 = bitnet;
  falcon3["head_dim"] = 256;
  return {
      {"llama3_8b_158", config_of("llama", "LlamaForCausalLM", 64, 4, 2, 96, 500000.0, false, bitnet), packed_divide},
      {"falcon3_158bit", config_of("llama", "LlamaForCausalLM", 96, 2, 1, 160, 1000042.0, false, falcon3),
       packed_divide},
      {"falcon_e",
       config_of("llama", "LlamaForCausalLM", 64, 4, 4, 96, 10000.0, true,
                 {{"quantization_config",
                   {{"quant_method", "bitnet"}, {"linear_class", "autobitlinear"}, {"quantization_mode", "online"}}}}),
       master},
      {"bitnet_b1_58_3b",
       config_of("llama", "BitnetForCausalLM", 200, 2, 2, 270, 10000.0, true, {{"weight_bits", 1}, {"input_bits", 8}}),
       master, true},
      {"trilm", config_of("llama", "LlamaForCausalLM", 96, 3, 3, 144, 10000.0, false), unpacked(1u << 20, 1u << 20)},
      {"trilm_in_shards", config_of("llama", "LlamaForCausalLM", 96, 3, 3, 144, 10000.0, false),
       unpacked(24, 1u << 20)},
      {"ternary_bonsai",
       config_of("qwen3", "Qwen3ForCausalLM", 256, 4, 2, 320, 1000000.0, true,
                 {{"head_dim", 32}, {"attention_bias", false}, {"use_sliding_window", false}}),
       unpacked(1, 128), false, true},
      {"bitnet_embedding", config_of("qwen3", "Qwen3Model", 64, 4, 2, 96, 1000000.0, true, {{"head_dim", 32}}), master,
       false, true, "norm", ""},
  };
}

Checkpoint make(const Family& f) {
  Checkpoint c(f.config);
  const auto hidden = static_cast<uint32_t>(c.size("hidden_size")),
             ffn = static_cast<uint32_t>(c.size("intermediate_size"));
  const auto heads = static_cast<uint32_t>(c.size("num_attention_heads"));
  const auto d = c.forward.config.value("head_dim", hidden / heads);
  const auto q = heads * d, kv = static_cast<uint32_t>(c.size("num_key_value_heads")) * d;
  c.table(f.prefix + "embed_tokens.weight");
  c.norm(f.prefix + "norm.weight", hidden);
  if (!c.forward.config["tie_word_embeddings"]) c.table("lm_head.weight");
  for (size_t layer = 0; layer < c.size("num_hidden_layers"); ++layer) {
    const auto name = [&](const char* part) { return fmt::format("{}layers.{}.{}", f.prefix, layer, part); };
    const auto linear = [&](const char* part, uint32_t rows, uint32_t columns) {
      f.linear(c, name(part), rows, columns);
      if (*f.projection_norm != 0) c.norm(fmt::format("{}.{}.weight", name(part), f.projection_norm), columns);
    };
    c.norm(name("input_layernorm.weight"), hidden);
    c.norm(name("post_attention_layernorm.weight"), hidden);
    if (f.sub_norms) {
      c.norm(name("self_attn.inner_attn_ln.weight"), q);
      c.norm(name("mlp.ffn_layernorm.weight"), ffn);
    }
    if (f.head_norms)
      for (const char* part : {"self_attn.q_norm.weight", "self_attn.k_norm.weight"}) c.norm(name(part), d);
    linear("self_attn.q_proj", q, hidden);
    linear("self_attn.k_proj", kv, hidden);
    linear("self_attn.v_proj", kv, hidden);
    linear("self_attn.o_proj", hidden, q);
    linear("mlp.gate_proj", ffn, hidden);
    linear("mlp.up_proj", ffn, hidden);
    linear("mlp.down_proj", hidden, ffn);
  }
  return c;
}

ConvertOptions options(const test::TempFolder& folder, ModelPackings packings = {}) {
  ConvertOptions o;
  o.folder = folder.path();
  o.output = folder.path("model.h1b");
  o.packings = packings;
  return o;
}

class ArchitectureTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    for (auto& family : families())
      if (family.name == GetParam()) checkpoint_ = std::make_unique<Checkpoint>(make(family));
    test::write_hf_folder(folder_.path(), checkpoint_->folder);
  }

  /// Converted with this packing and an exact head.
  H1bFile convert(Packing ternary) {
    const auto done = convert_hf_folder(options(folder_, {ternary, Packing::kBf16}));
    EXPECT_TRUE(done) << done.error().message;
    auto file = H1bFile::open(folder_.path("model.h1b"));
    EXPECT_TRUE(file) << file.error().message;
    return *std::move(file);
  }

  static std::unique_ptr<Backend> gen1(const H1bFile& file, KvType kv) {
    return make_reference_backend(*bind_weights(file, HeadChoice::kStored), kv);
  }

  test::TempFolder folder_;
  std::unique_ptr<Checkpoint> checkpoint_;
};

/// Largest difference of a row from what is expected, as a part of the expected row's largest value.
double difference(std::span<const float> found, const std::vector<double>& expected) {
  double largest = 0, most = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    largest = std::max(largest, std::fabs(expected[i]));
    most = std::max(most, std::fabs(double{found[i]} - expected[i]));
  }
  return most / largest;
}

TEST_P(ArchitectureTest, ComputesWhatTheCheckpointMeans) {
  const auto file = convert(Packing::kT1_6);
  const auto tokens = test::random_tokens(70, kVocabulary, 3);  // past one block of keys
  const auto states = checkpoint_->forward.states(tokens);
  const auto expected = checkpoint_->forward.logits(states);
  const auto backend = gen1(file, KvType::kF32);
  const auto kv = backend->new_kv_cache();
  Logits logits;
  const BatchItem item{.kv = kv.get(), .tokens = tokens, .rows = LogitRows::kAll, .states = LogitRows::kAll};
  const auto status = backend->forward({&item, 1}, logits);
  ASSERT_TRUE(status) << status.error().message;
  // Where a float32 and a float64 sum round an activation to different int8 values, a row is off by about a hundredth;
  // a missing norm or a wrong angle makes it another row.
  size_t close = 0;
  double all = 0;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const double of_logits = difference(logits.row(0, i), expected[i]);
    EXPECT_LT(of_logits, 0.08) << "row " << i;
    EXPECT_LT(difference(logits.state(0, i), states[i]), 0.08) << "row " << i;
    close += of_logits < 1e-4;
    all += of_logits;
  }
  EXPECT_GE(close, 1u);
  EXPECT_LT(all / static_cast<double>(tokens.size()), 0.04);
}

TEST_P(ArchitectureTest, EveryEngineGivesTheSameBits) {
  const auto tokens = test::random_tokens(70, kVocabulary, 4);
  for (const auto packing : {Packing::kT2, Packing::kT1_6}) {
    const auto file = convert(packing);
    for (const auto kv : {KvType::kF16, KvType::kQ8}) {
      const auto expected = test::run(*gen1(file, kv), tokens, tokens.size());
      for (const auto* kernels : cpu::usable_kernels())
        for (const auto& [threads, chunk] : {std::pair{3u, size_t{1}}, {1u, size_t{9}}, {3u, size_t{70}}}) {
          const auto gen2 = make_cpu_backend(*bind_weights(file, HeadChoice::kStored),
                                             {.kv_type = kv, .threads = threads, .kernels = kernels});
          EXPECT_TRUE(test::same_bits(expected, test::run(*gen2, tokens, chunk)))
              << kernels->name << ", " << threads << " threads, steps of " << chunk;
        }
    }
  }
}

TEST_P(ArchitectureTest, StoresWhatItFound) {
  const auto file = convert(Packing::kT2);
  ASSERT_TRUE(file.verify());
  const auto& tensor = *file.find("blk.1.ffn_down");
  const auto& matrices = checkpoint_->forward.matrices;
  const std::string name = "layers.1.mlp.down_proj.weight";
  const auto& dense = matrices.contains(name) ? matrices.at(name) : matrices.at("model." + name);
  const auto weights = test::unpack_all(tensor);
  const uint64_t groups = tensor.granularity == ScaleGranularity::kGroup ? (tensor.columns + 127) / 128 : 1;
  for (uint64_t r = 0; r < tensor.rows; ++r)
    for (uint64_t c = 0; c < tensor.columns; ++c) {
      const uint64_t at = tensor.granularity == ScaleGranularity::kTensor
                              ? 0
                              : (r / 16 * groups + (groups == 1 ? 0 : c / 128)) * 16 + r % 16;
      const float value = static_cast<float>(weights[r * tensor.columns + c]) * tensor.scale_values[at];
      ASSERT_NEAR(value, dense.values[r * tensor.columns + c], 1e-6) << r << ", " << c;
    }
}

std::vector<std::string> names() {
  std::vector<std::string> names;
  for (const auto& family : families()) names.push_back(family.name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(Families, ArchitectureTest, ::testing::ValuesIn(names()),
                         [](const auto& one) { return one.param; });

TEST(Architecture, FloatsThatAreNotTernaryAreRefused) {
  auto family = families()[4];  // TriLM's layout
  family.linear = [](Checkpoint& c, const std::string& name, uint32_t rows, uint32_t columns) {
    c.folder.tensors[name + ".weight"] = test::f16_tensor({rows, columns}, c.random(size_t{rows} * columns, -1, 1));
  };
  test::TempFolder folder;
  test::write_hf_folder(folder.path(), make(family).folder);
  const auto done = convert_hf_folder(options(folder));
  ASSERT_FALSE(done);
  EXPECT_NE(done.error().message.find("this is no ternary model"), std::string::npos) << done.error().message;
}

TEST(Architecture, TensorsAndSettingsThatChangeAnswersAreNeverIgnored) {
  const auto refused = [](const char* what, const std::function<void(Checkpoint&)>& change, std::string_view words) {
    auto checkpoint = make(families()[0]);  // Llama3-8B-1.58's layout
    change(checkpoint);
    test::TempFolder folder;
    test::write_hf_folder(folder.path(), checkpoint.folder);
    const auto done = convert_hf_folder(options(folder));
    ASSERT_FALSE(done) << what;
    EXPECT_NE(done.error().message.find(words), std::string::npos) << what << ": " << done.error().message;
  };
  for (const char* name : {"model.layers.0.self_attn.q_proj.bias", "model.layers.1.self_attn.q_norm.weight",
                           "model.layers.0.self_attn.attn_sub_norm.weight", "model.layers.2.input_layernorm.weight"})
    refused(name, [&](Checkpoint& c) { c.norm(name, 64); }, name);
  refused("no head", [](Checkpoint& c) { c.folder.tensors.erase("lm_head.weight"); }, "lm_head.weight is missing");
  refused(
      "half rotary", [](Checkpoint& c) { c.folder.config["partial_rotary_factor"] = 0.5; }, "partial_rotary_factor");
  refused(
      "another class", [](Checkpoint& c) { c.folder.config["architectures"] = {"LlamaForSequenceClassification"}; },
      "LlamaForSequenceClassification");
  refused(
      "norms that are not there", [](Checkpoint& c) { c.folder.config["quantization_config"]["use_rms_norm"] = true; },
      "use_rms_norm");
}

TEST(Architecture, AnEmbeddingModelSaysHowItsStatesArePooled) {
  test::TempFolder folder;
  test::write_hf_folder(folder.path(), make(families().back()).folder);
  const auto convert = [&] {
    const auto done = convert_hf_folder(options(folder));
    EXPECT_TRUE(done) << done.error().message;
    return H1bFile::open(folder.path("model.h1b"))->config();
  };
  EXPECT_EQ(convert().pooling, Pooling::kLast);
  EXPECT_TRUE(convert().norms.projections);
  std::filesystem::create_directory(folder.path("1_Pooling"));
  test::write_file(folder.path("1_Pooling/config.json"),
                   R"({"pooling_mode_mean_tokens": true, "pooling_mode_lasttoken": false})");
  EXPECT_EQ(convert().pooling, Pooling::kMean);
}

}  // namespace
}  // namespace onebit
