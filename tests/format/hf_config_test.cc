#include "format/import/hf_config.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/support/expect_error.h"
#include "tests/support/hostile_cases.h"

namespace onebit {
namespace {

using nlohmann::json;

constexpr const char* kPath = "folder/config.json";

/// What microsoft/bitnet-b1.58-2B-4T has.
json config_2b() {
  return json::parse(R"({
    "architectures": ["BitNetForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
    "bos_token_id": 128000, "eos_token_id": 128001, "hidden_act": "relu2", "hidden_size": 2560,
    "initializer_range": 0.02, "intermediate_size": 6912, "max_position_embeddings": 4096, "model_type": "bitnet",
    "rms_norm_eps": 1e-05, "num_attention_heads": 20, "num_hidden_layers": 30, "num_key_value_heads": 5,
    "rope_theta": 500000.0, "tie_word_embeddings": true, "torch_dtype": "bfloat16", "use_cache": true,
    "vocab_size": 128256,
    "quantization_config": {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "offline"}
  })");
}

Result<HfConfig> parse(const std::string& text) {
  test::count_case(text);
  return parse_hf_config(text, kPath);
}
Result<HfConfig> parse(const json& root) {
  return parse(root.dump());
}

/// `change` spoils a good config; the message names the file and each of `parts`.
template <class Change>
void expect_refused(Change change, std::initializer_list<std::string_view> parts) {
  auto root = config_2b();
  change(root);
  const auto config = parse(root);
  test::expect_error(config, {kPath});
  test::expect_error(config, parts);
}

TEST(HfConfig, FieldsOfThe2BModelComeThrough) {
  const auto config = parse(config_2b());
  ASSERT_TRUE(config) << config.error().message;
  const auto& m = config->model;
  EXPECT_EQ(m.hidden, 2560u);
  EXPECT_EQ(m.layers, 30u);
  EXPECT_EQ(m.heads, 20u);
  EXPECT_EQ(m.kv_heads, 5u);
  EXPECT_EQ(m.head_dim, 128u);  // hidden / heads where it is not given
  EXPECT_EQ(m.ffn, 6912u);
  EXPECT_EQ(m.vocabulary, 128256u);
  EXPECT_EQ(m.context, 4096u);
  EXPECT_EQ(m.rms_epsilon, 1e-5f);
  EXPECT_EQ(m.rope_theta, 500000.0);
  EXPECT_TRUE(m.tied_head);
  EXPECT_EQ(config->storage, TernaryStorage::kPackedMultiply);
}

TEST(HfConfig, DefaultsAreThoseOfTheFormat) {
  auto root = config_2b();
  for (const char* key : {"num_key_value_heads", "tie_word_embeddings", "attention_bias", "hidden_act"})
    root.erase(key);
  root["head_dim"] = 64;
  root["rope_scaling"] = nullptr;
  const auto config = parse(root);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->model.kv_heads, 20u);
  EXPECT_EQ(config->model.head_dim, 64u);
  EXPECT_TRUE(config->model.tied_head);
}

TEST(HfConfig, TheStorageFollowsTheQuantizationConfig) {
  const auto storage = [](const json& quantization) {
    auto root = config_2b();
    root["quantization_config"] = quantization;
    const auto config = parse(root);
    EXPECT_TRUE(config) << config.error().message;
    return config->storage;
  };
  EXPECT_EQ(storage(nullptr), TernaryStorage::kMaster);
  EXPECT_EQ(storage({{"quant_method", "bitnet"}}), TernaryStorage::kPackedDivide);
  EXPECT_EQ(storage({{"linear_class", "bitlinear"}, {"quantization_mode", "offline"}}), TernaryStorage::kPackedDivide);
  EXPECT_EQ(storage({{"linear_class", "autobitlinear"}}), TernaryStorage::kPackedMultiply);
  EXPECT_EQ(storage({{"linear_class", "autobitlinear"}, {"quantization_mode", "online"}}), TernaryStorage::kMaster);
  auto none = config_2b();
  none.erase("quantization_config");
  EXPECT_EQ(parse(none)->storage, TernaryStorage::kMaster);
}

TEST(HfConfig, WhatWouldChangeTheForwardPassIsRefusedByName) {
  test::hostile("config.json", "other");
  expect_refused([](json& c) { c["model_type"] = "gpt2"; },
                 {"model_type is gpt2, this version knows bitnet, llama and qwen3"});
  expect_refused([](json& c) { c.erase("model_type"); }, {"model_type"});
  expect_refused([](json& c) { c["hidden_act"] = "gelu"; }, {"hidden_act is gelu, this version knows relu2 and silu"});
  expect_refused([](json& c) { c["mlp_bias"] = true; }, {"mlp_bias"});
  expect_refused([](json& c) { c["use_sliding_window"] = true; }, {"use_sliding_window"});
  expect_refused([](json& c) { c["attention_bias"] = true; }, {"attention_bias"});
  expect_refused([](json& c) { c["rope_scaling"] = {{"type", "linear"}}; }, {"rope_scaling"});
  expect_refused([](json& c) { c["quantization_config"]["quant_method"] = "gptq"; }, {"quant_method is gptq"});
  expect_refused([](json& c) { c["quantization_config"]["linear_class"] = "x"; }, {"linear_class is x"});
  expect_refused([](json& c) { c["quantization_config"]["quantization_mode"] = "x"; }, {"quantization_mode is x"});
  expect_refused([](json& c) { c["quantization_config"] = 3; }, {"quantization_config"});
}

TEST(HfConfig, EverySizeMustBeAWholeNumberInItsRange) {
  test::hostile("config.json", "numbers");
  for (const char* key : {"hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
                          "intermediate_size", "vocab_size", "max_position_embeddings"}) {
    for (const json& value : {json(-1), json(1.5), json("64"), json(json::array({64})), json(true),
                              json(json::object()), json(uint64_t{1} << 32), json(~uint64_t{0})})
      expect_refused([&](json& c) { c[key] = value; }, {key, "expected a whole number"});
    expect_refused([&](json& c) { c[key] = 0; }, {"is 0"});
    expect_refused([&](json& c) { c[key] = 0xffffffffu; }, {"4294967295"});
    if (std::string_view(key) != "num_key_value_heads" && std::string_view(key) != "head_dim")
      expect_refused([&](json& c) { c.erase(key); }, {key, "missing"});
  }
  expect_refused([](json& c) { c["head_dim"] = 127; }, {"head_dim is 127, expected an even"});
  expect_refused([](json& c) { c["num_key_value_heads"] = 3; }, {"multiple of kv_heads"});
}

TEST(HfConfig, NumbersMustBeNumbersInTheirRange) {
  test::hostile("config.json", "types");
  for (const char* key : {"rms_norm_eps", "rope_theta"}) {
    for (const json& value : {json("1"), json(nullptr), json(true), json(json::array())})
      expect_refused([&](json& c) { c[key] = value; }, {key, "missing or no number"});
    expect_refused([&](json& c) { c[key] = -1; }, {"is -1"});
    expect_refused([&](json& c) { c[key] = 0; }, {"is 0"});
  }
  expect_refused([](json& c) { c["rms_norm_eps"] = 1e300; }, {"rms_epsilon is inf"});
  expect_refused([](json& c) { c["tie_word_embeddings"] = "yes"; }, {"tie_word_embeddings", "true or false"});
  expect_refused([](json& c) { c["hidden_act"] = 3; }, {"hidden_act is 3, expected a string"});
}

TEST(HfConfig, RopeParametersAreReadOrRefusedByName) {
  auto root = config_2b();
  root.erase("rope_theta");
  root["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 10000.0}, {"factor", nullptr}};
  const auto config = parse(root);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->model.rope_theta, 10000.0);

  test::hostile("config.json", "other");
  const auto refuse = [](const json& parameters, bool at_top, std::initializer_list<std::string_view> parts) {
    expect_refused(
        [&](json& c) {
          c["rope_parameters"] = parameters;
          if (!at_top) c.erase("rope_theta");
        },
        parts);
  };
  refuse({{"rope_type", "longrope"}, {"rope_theta", 500000.0}}, true, {"rope_parameters.rope_type is longrope"});
  refuse({{"rope_type", "yarn"}, {"rope_theta", 500000.0}}, false, {"rope_parameters.factor is missing"});
  refuse({{"rope_type", "yarn"}, {"rope_theta", 5e5}, {"factor", 0.5}}, false, {"rope_parameters.its numbers are out"});
  refuse({{"rope_type", "yarn"}, {"rope_theta", 5e5}, {"factor", 2.0}, {"mscale", 1.0}}, false,
         {"rope_parameters.mscale is set"});
  refuse({{"rope_type", "llama3"}, {"rope_theta", 5e5}, {"factor", 8.0}}, false,
         {"rope_parameters.low_freq_factor is missing"});
  refuse({{"rope_theta", 1000.0}}, true, {"rope_parameters.rope_theta is 1000, but 500000 beside it"});
  refuse({{"rope_theta", 1e4}, {"factor", 2.0}}, false, {"rope_parameters.factor is set"});
  refuse({{"rope_theta", 1e4}, {"n\n", 2.0}}, false, {"rope_parameters.n\\x0a is set"});
  refuse({{"rope_type", "default"}}, false, {"rope_parameters.rope_theta is missing"});
  refuse({{"rope_type", 5}, {"rope_theta", 1e4}}, false, {"rope_parameters.rope_type is 5, expected a string"});
  refuse("none", true, {"rope_parameters is \"none\", expected an object"});
  refuse(json::array(), false, {"rope_parameters is [], expected an object"});
}

TEST(HfConfig, FamiliesDifferInTheirNormsAndActivation) {
  const auto read = [](const char* type, const char* model_class) {
    auto root = config_2b();
    for (const char* key : {"hidden_act", "quantization_config", "tie_word_embeddings"}) root.erase(key);
    root["model_type"] = type;
    root["architectures"] = {model_class};
    const auto config = parse(root);
    EXPECT_TRUE(config) << config.error().message;
    return *config;
  };
  const auto llama = read("llama", "LlamaForCausalLM");
  EXPECT_EQ(llama.model.norms, NormChoice{});
  EXPECT_EQ(llama.model.activation, Activation::kSilu);
  EXPECT_EQ(llama.storage, TernaryStorage::kUnpacked);
  EXPECT_FALSE(llama.model.tied_head);
  const auto first = read("llama", "BitnetForCausalLM");
  EXPECT_EQ(first.model.norms, NormChoice{.sub = true});
  EXPECT_EQ(first.sub_norm_names, SubNormNames::kBitnet3B);
  EXPECT_EQ(first.storage, TernaryStorage::kMaster);
  EXPECT_EQ(read("qwen3", "Qwen3ForCausalLM").model.norms, NormChoice{.heads = true});
  EXPECT_EQ(read("bitnet", "BitNetForCausalLM").model.activation, Activation::kSquaredRelu);
}

TEST(HfConfig, RopeScalingIsRead) {
  auto root = config_2b();
  root["rope_scaling"] = {{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 16384}};
  const auto yarn = parse(root);
  ASSERT_TRUE(yarn) << yarn.error().message;
  EXPECT_EQ(yarn->rope.kind, RopeScaling::Kind::kYarn);
  EXPECT_EQ(yarn->rope.factor, 4.0);
  EXPECT_EQ(yarn->rope.original_context, 16384u);
  root["rope_scaling"] = {{"type", "linear"}, {"factor", 2.0}};
  EXPECT_EQ(parse(root)->rope.kind, RopeScaling::Kind::kLinear);
}

TEST(HfConfig, MessagesStayShortAndPrintable) {
  test::hostile("config.json", "text");
  const auto nasty = "\n\x1b[31m\xc3\xa4" + std::string(10000, 'x');
  for (const char* key : {"model_type", "hidden_act", "hidden_size", "rms_norm_eps", "attention_bias"})
    expect_refused([&](json& c) { c[key] = nasty; }, {key});
  for (const char* key : {"quant_method", "linear_class", "quantization_mode"})
    expect_refused([&](json& c) { c["quantization_config"][key] = nasty; }, {key});
  // Sixty bytes of a value must not end inside a character.
  for (size_t n = 50; n < 64; ++n)
    expect_refused([&](json& c) { c["hidden_size"] = std::string(n, 'x') + "\xc3\xa4\xe2\x82\xac" + nasty; },
                   {"hidden_size"});
}

TEST(HfConfig, TextThatIsNoJsonObjectIsRefused) {
  test::hostile("config.json", "other");
  for (const char* text : {"", "{", "[]", "3", "{\"a\": 1, \"a\": 2}", "\xff\xfe", "{\"a\": 1e999}", "{\"\n"})
    test::expect_error(parse(std::string(text)), {kPath});
  test::hostile("config.json", "nesting");
  test::expect_error(parse(std::string(100000, '[')), {kPath, "nested deeper"});
  std::string deep = "{\"a\":";
  for (int i = 0; i < 100000; ++i) deep += "{\"a\":";
  test::expect_error(parse(deep), {kPath, "nested deeper"});
}

}  // namespace
}  // namespace onebit
