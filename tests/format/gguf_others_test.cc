// GGUF files of others: made of one of ours by taking things away or changing them.
#include <cmath>
#include <cstring>
#include <random>

#include "tests/format/gguf_models.h"
#include "tests/support/expect_error.h"
#include "tests/support/gguf_edit.h"
#include "tests/support/hostile_cases.h"

namespace onebit {
namespace {

using namespace test;  // NOLINT(google-build-using-namespace): the helpers' many names
using gguf::Type;

class GgufOfOthers : public GgufImport {
 protected:
  GgufOfOthers() {
    const auto config = tiny_config();
    RandomWeights source(config, 5, 0.25f, 0.6);
    model_.emplace(write(tiny_parts(config), source));
    GgufOptions options;
    options.architecture = "bitnet-b1.58";
    options.ternary = Type::kF16;
    export_model(*model_, options);
    parts_ = gguf_parts(read_file(gguf_path()));
    for (const auto& pair : std::vector(parts_.metadata))
      if (pair.key.starts_with("onebit.")) parts_.remove(pair.key);
  }

  void put(const GgufParts& parts) {
    const auto bytes = gguf_bytes(parts);
    count_case(bytes);
    write_file(gguf_path(), bytes);
  }
  /// The error names the file; the target is as it was.
  void expect_refused(const GgufParts& parts, std::initializer_list<std::string_view> words) {
    put(parts);
    const auto target = folder_.path("back.h1b");
    write_file(target, "old");
    const auto result = convert();
    expect_error(result, {gguf_path()});
    expect_error(result, words);
    EXPECT_TRUE(read_file(target) == "old");
    EXPECT_EQ(folder_.names(), (std::vector<std::string>{"back.h1b", "model.gguf", "model.h1b"}));
  }
  template <class Change>
  void expect_change_refused(Change change, std::initializer_list<std::string_view> words) {
    auto parts = parts_;
    change(parts);
    expect_refused(parts, words);
  }
  /// All products in another type, by what packs [rows][columns] and adds a tail.
  template <class Pack>
  void retype(GgufParts& parts, uint32_t type, Pack pack) {
    for (const auto& t : model_->tensors())
      if (t.kind == TensorKind::kLinear) {
        auto& entry = parts.tensor(t.name + ".weight");
        entry.type = type;
        entry.data = pack(unpack_all(t), t);
      }
  }

  std::optional<H1bFile> model_;
  GgufParts parts_;
};

TEST_F(GgufOfOthers, AFileWithoutOurKeysIsTheSameModel) {
  put(parts_);
  const auto file = back();
  EXPECT_EQ(tensors_of(file), tensors_of(*model_));
  const auto tokenizer = *file.tokenizer();
  EXPECT_EQ(tokenizer.chat.layout, ChatLayout::kNone) << "the template's markers are no tokens here";
  EXPECT_FALSE(tokenizer.ignore_merges) << "the pre-tokenizer's name says so";
  EXPECT_EQ(tokenizer.stop_tokens, std::vector<TokenId>{299});
  EXPECT_EQ(tokenizer.bos, 298);
  EXPECT_TRUE(notes_.empty());
}

TEST_F(GgufOfOthers, KeysThatMayBeAbsentHaveTheFormatsDefaults) {
  for (const auto* key : {"bitnet-b1.58.attention.value_length", "bitnet-b1.58.rope.dimension_count", "general.name",
                          "bitnet-b1.58.vocab_size", "general.alignment", "tokenizer.ggml.bos_token_id",
                          "tokenizer.chat_template", "bitnet-b1.58.rope.freq_base", "tokenizer.ggml.eos_token_id"})
    parts_.remove(key);
  put(parts_);
  const auto file = back();
  EXPECT_EQ(tensors_of(file), tensors_of(*model_));
  EXPECT_EQ(file.config().rope_theta, 10000.0);
  EXPECT_EQ(file.tokenizer()->bos, -1);
  EXPECT_TRUE(file.tokenizer()->stop_tokens.empty());
  EXPECT_EQ(file.provenance("name"), "model");
}

TEST_F(GgufOfOthers, AMissingPreTokenizerIsLlama3sWhereItsTokensAre) {
  parts_.remove("tokenizer.ggml.pre");
  put(parts_);
  back();
  ASSERT_EQ(notes_.size(), 1u);
  EXPECT_NE(notes_[0].find("LLaMA-3"), std::string::npos);
}

TEST_F(GgufOfOthers, ABosThatIsNotAddedIsNone) {
  parts_.set("tokenizer.ggml.add_bos_token", gguf_value(kGBool, uint8_t{0}));
  put(parts_);
  EXPECT_EQ(back().tokenizer()->bos, -1);
}

TEST_F(GgufOfOthers, ASentencePieceVocabularyIsRead) {
  std::vector<std::string> pieces{"<unk>", "<s>", "</s>"};
  std::string types = raw(int32_t{2}) + raw(int32_t{3}) + raw(int32_t{3}), scores = std::string(12, '\0');
  const auto add = [&](std::string piece, int32_t type, float score) {
    pieces.push_back(std::move(piece));
    types += raw(type);
    scores += raw(score);
  };
  for (int byte = 0; byte < 256; ++byte) add(fmt::format("<0x{:02X}>", byte), 6, 0.0f);
  for (const auto& [piece, score] :
       {std::pair{"\u2581", -4.0f}, {"a", -5.0f}, {"b", -6.0f}, {"ab", -1.0f}, {"\u2581ab", -2.0f}, {"\u2581a", -3.0f}})
    add(piece, 1, score);
  parts_.set("tokenizer.ggml.model", gguf_value("llama"));
  parts_.set("tokenizer.ggml.tokens", gguf_array(pieces));
  parts_.set("tokenizer.ggml.scores", gguf_array(kGF32, pieces.size(), scores));
  parts_.set("tokenizer.ggml.token_type", gguf_array(kGI32, pieces.size(), types));
  parts_.set("tokenizer.ggml.bos_token_id", gguf_value(kGU32, 1u));
  parts_.set("tokenizer.ggml.eos_token_id", gguf_value(kGU32, 2u));
  for (const auto* key : {"tokenizer.ggml.pre", "tokenizer.ggml.merges"}) parts_.remove(key);
  put(parts_);
  const auto tokenizer = *back().tokenizer();
  EXPECT_EQ(tokenizer.pre_tokenizer, PreTokenizer::kSentencePiece);
  EXPECT_EQ(tokenizer.bos, 1);
  EXPECT_EQ(tokenizer.stop_tokens, std::vector<TokenId>{2});
  EXPECT_EQ(tokenizer.tokens[263], " ab");
  ASSERT_FALSE(tokenizer.merges.empty());
  EXPECT_EQ(tokenizer.tokens[static_cast<size_t>(tokenizer.merges[0].result)], "ab") << "the best score comes first";

  hostile("gguf", "values");
  auto parts = parts_;
  parts.set("tokenizer.ggml.scores", gguf_array(kGF32, pieces.size() - 1, scores.substr(4)));
  expect_refused(parts, {"265 tokens, 264 scores"});
  parts = parts_;
  types[0] = 7;
  parts.set("tokenizer.ggml.token_type", gguf_array(kGI32, pieces.size(), types));
  expect_refused(parts, {"tokenizer.ggml.token_type[0]", "found 7, expected 1 to 6"});
}

TEST_F(GgufOfOthers, I2sIsReadAndItsLayoutNamed) {
  const auto config = wide_config();
  RandomWeights source(config, 5, 0.1f, 0.6);
  model_.emplace(write(tiny_parts(config), source));
  GgufOptions options;
  options.architecture = "bitnet-b1.58";
  export_model(*model_, options);
  parts_ = gguf_parts(read_file(gguf_path()));
  retype(parts_, 36, [](const std::vector<int8_t>& w, const Tensor& t) {
    std::string out(w.size() / 4, '\0');
    for (size_t e = 0; e < w.size(); ++e)
      out[e / 128 * 32 + e % 32] |= static_cast<char>((w[e] + 1) << (6 - 2 * (e % 128 / 32)));
    return out + raw(t.scale_values[0]) + std::string(28, '\0');
  });
  put(parts_);
  for (const auto& pair : std::vector(parts_.metadata))
    if (pair.key.starts_with("onebit.")) parts_.remove(pair.key);
  put(parts_);
  EXPECT_EQ(tensors_of(back()), tensors_of(*model_));
  ASSERT_EQ(notes_.size(), 1u);
  EXPECT_NE(notes_[0].find("i2_s: read as bitnet.cpp"), std::string::npos);
  EXPECT_EQ(open(folder_.path("back.h1b")).provenance("source_format"), "GGUF, i2_s");
}

TEST_F(GgufOfOthers, ScalesAreAsCoarseAsAllBlocksAllow) {
  // Twice as big where `turned` says so of a row and a column.
  const auto granularity = [&](auto turned) {
    auto parts = parts_;
    auto& data = parts.tensor("blk.1.ffn_down.weight").data;  // 48 x 80
    for (uint64_t row = 0; row < 48; ++row)
      for (uint64_t column = 0; column < 80; ++column) {
        char& high = data[2 * (row * 80 + column) + 1];
        if (turned(row, column) && (high & 0x7f) != 0) high = static_cast<char>(high + 4);
      }
    put(parts);
    const auto file = back();
    const auto* tensor = file.find("blk.1.ffn_down");
    EXPECT_EQ(unpack_all(*tensor), unpack_all(*model_->find("blk.1.ffn_down")));
    EXPECT_EQ(file.find("blk.0.attn_q")->granularity, tensor->granularity);
    const float first = tensor->scale_values[0];
    EXPECT_TRUE(std::all_of(tensor->scale_values.begin(), tensor->scale_values.end(),
                            [&](float s) { return s == first || s == 2 * first || s == first / 2 || s == 0; }));
    return std::pair(tensor->granularity, tensor->group);
  };
  EXPECT_EQ(granularity([](auto, auto) { return true; }), std::pair(ScaleGranularity::kTensor, 0u));
  EXPECT_EQ(granularity([](auto row, auto) { return row % 2 == 1; }), std::pair(ScaleGranularity::kRow, 0u));
  EXPECT_EQ(granularity([](auto, auto column) { return column >= 64; }), std::pair(ScaleGranularity::kGroup, 64u));
  EXPECT_EQ(granularity([](auto row, auto column) { return column / 32 == row % 2; }),
            std::pair(ScaleGranularity::kGroup, 32u));
  hostile("gguf", "values");
  auto parts = parts_;
  auto& data = parts.tensor("blk.1.ffn_down.weight").data;
  for (size_t i = 1; i < data.size(); i += 2)
    if ((data[i] & 0x7f) != 0) {
      data[i] = static_cast<char>(data[i] + 4);  // one weight
      break;
    }
  expect_refused(parts, {"blk.1.ffn_down.weight", "row 0", "not ternary"});
  parts = parts_;
  parts.set("onebit.granularity", gguf_value("tensor"));
  for (size_t i = 1; i < 160; i += 2) {
    char& high = parts.tensor("blk.1.ffn_down.weight").data[i];
    if ((high & 0x7f) != 0) high = static_cast<char>(high + 4);  // a row
  }
  expect_refused(parts, {"blk.1.ffn_down.weight", "row 1", "which share one"});
}

TEST_F(GgufOfOthers, RopeMayBeScaledLinearly) {
  parts_.set("bitnet-b1.58.rope.scaling.type", gguf_value("linear"));
  parts_.set("bitnet-b1.58.rope.scaling.factor", gguf_value(kGF32, 4.0f));
  put(parts_);
  const auto file = back();
  const auto& cos = model_->rope_cos();
  for (size_t i = 0; i < 8; ++i) EXPECT_EQ(file.rope_cos()[8 * 8 + i], cos[2 * 8 + i]) << "position 8 as 2";
  hostile("gguf", "numbers");
  for (const float bad : {0.0f, -1.0f, NAN, INFINITY, 0.5f}) {
    parts_.set("bitnet-b1.58.rope.scaling.factor", gguf_value(kGF32, bad));
    expect_refused(parts_, {"rope.scaling.factor"});
  }
}

TEST_F(GgufOfOthers, AFactorWithoutATypeIsLinear) {
  for (const auto* key : {"bitnet-b1.58.rope.scaling.factor", "bitnet-b1.58.rope.scale_linear"}) {
    auto parts = parts_;
    parts.set(key, gguf_value(kGF32, 4.0f));
    put(parts);
    const auto file = back();
    for (size_t i = 0; i < 8; ++i) EXPECT_EQ(file.rope_cos()[8 * 8 + i], model_->rope_cos()[2 * 8 + i]) << key;
  }
}

TEST_F(GgufOfOthers, KeysThatChangeAnswersAreNeverIgnored) {
  hostile("gguf", "values");
  const auto refuse = [&](const std::string& key, const std::string& value,
                          std::initializer_list<std::string_view> words) {
    auto parts = parts_;
    parts.set("bitnet-b1.58." + key, value);
    expect_refused(parts, words);
  };
  for (const auto* key : {"logit_scale", "embedding_scale", "final_logit_softcapping", "attention.clamp_kqv"})
    refuse(key, gguf_value(kGF32, 2.0f), {key, "does not know what it changes"});
  refuse("use_parallel_residual", gguf_value(kGBool, uint8_t{1}), {"use_parallel_residual"});
  refuse("attention.causal", gguf_value(kGBool, uint8_t{0}), {"attention.causal", "earlier tokens only"});
  refuse("attention.scale", gguf_value(kGF32, 1.0f), {"attention.scale", "1 / sqrt(16)"});
  refuse("vocab_size", gguf_value(kGU32, 5u), {"vocab_size", "found 5"});
  refuse("pooling_type", gguf_value(kGU32, 2u), {"pooling_type", "found 2"});
  parts_.set("bitnet-b1.58.pooling_type", gguf_value(kGU32, 3u));
  put(parts_);
  EXPECT_EQ(back().config().pooling, Pooling::kLast);
}

TEST_F(GgufOfOthers, RopeFactorsOfOneChangeNothing) {
  parts_.tensors.push_back({"rope_freqs.weight", {8}, 0, std::string(32, '\0')});
  for (size_t i = 0; i < 8; ++i) std::memcpy(parts_.tensors.back().data.data() + 4 * i, "\0\0\x80\x3f", 4);
  put(parts_);
  back();
  hostile("gguf", "values");
  std::memcpy(parts_.tensors.back().data.data(), "\0\0\0\x40", 4);
  expect_refused(parts_, {"rope_freqs.weight", "a factor is 2"});
}

TEST_F(GgufOfOthers, AnyMissingKeyOrTensorThatIsNeededIsNamed) {
  hostile("gguf", "other");
  for (const auto* key :
       {"general.architecture", "bitnet-b1.58.context_length", "bitnet-b1.58.embedding_length",
        "bitnet-b1.58.block_count", "bitnet-b1.58.feed_forward_length", "bitnet-b1.58.attention.head_count",
        "bitnet-b1.58.attention.layer_norm_rms_epsilon", "tokenizer.ggml.model"})
    expect_change_refused([&](GgufParts& p) { p.remove(key); }, {key, "missing"});
  for (const auto* key : {"tokenizer.ggml.tokens", "tokenizer.ggml.token_type"})
    expect_change_refused([&](GgufParts& p) { p.remove(key); }, {"tokenizer.ggml.token"});
  expect_change_refused([](GgufParts& p) { p.remove("tokenizer.ggml.merges"); }, {"tokenizer.ggml.merges is missing"});
  for (const auto& t : parts_.tensors)
    if (t.name != "token_embd.weight")
      expect_change_refused([&](GgufParts& p) { p.remove(t.name); }, {t.name, "is missing"});
  expect_change_refused([](GgufParts& p) { p.remove("token_embd.weight"); }, {"token_embd.weight"});
  expect_change_refused(
      [](GgufParts& p) { p.tensors.push_back({"blk.0.attn_q.bias", {32}, 0, std::string(128, '\0')}); },
      {"blk.0.attn_q.bias", "does not know"});
}

TEST_F(GgufOfOthers, WhatThisProgramDoesNotComputeIsRefused) {
  hostile("gguf", "other");
  const auto set = [&](const char* key, std::string value, std::initializer_list<std::string_view> words) {
    expect_change_refused([&](GgufParts& p) { p.set(key, value); }, words);
  };
  set("general.architecture", gguf_value("mamba"), {"general.architecture", "mamba", "bitnet-b1.58"});
  set("split.count", gguf_value(kGU16, uint16_t{3}), {"3 parts", "merge"});
  set("bitnet-b1.58.rope.scaling.type", gguf_value("yarn"), {"rope.scaling.type", "yarn"});
  set("bitnet-b1.58.expert_count", gguf_value(kGU32, 8u), {"expert_count", "8"});
  set("bitnet-b1.58.attention.value_length", gguf_value(kGU32, 8u), {"value_length", "8"});
  set("bitnet-b1.58.rope.dimension_count", gguf_value(kGU32, 8u), {"rope.dimension_count", "8"});
  set("onebit.activation", gguf_value("gelu"), {"onebit.activation", "gelu"});
  set("onebit.pooling", gguf_value(kGU32, 3u), {"pooling is 3"});
  set("tokenizer.ggml.model", gguf_value("bert"), {"tokenizer.ggml.model", "bert"});
  set("tokenizer.ggml.pre", gguf_value("starcoder"), {"tokenizer.ggml.pre", "starcoder"});
  set("onebit.chat_layout", gguf_value("mine"), {"onebit.chat_layout", "mine"});
  set("onebit.chat_layout", gguf_value("described"), {"onebit.chat_format"});
  set("onebit.granularity", gguf_value("block"), {"onebit.granularity", "block"});
  set("onebit.granularity", gguf_value("group"), {"onebit.granularity", "group"});
}

TEST_F(GgufOfOthers, AnyKeyOfAnyOtherTypeIsAnErrorOrIgnored) {
  hostile("gguf", "types");
  const std::vector<std::string> values{gguf_value(kGU8, uint8_t{1}),
                                        gguf_value(kGI32, int32_t{-1}),
                                        gguf_value(kGF32, NAN),
                                        gguf_value(kGBool, uint8_t{1}),
                                        gguf_value("text"),
                                        gguf_value(kGU64, ~uint64_t{0}),
                                        gguf_array(kGF32, 2, raw(1.0f) + raw(2.0f)),
                                        gguf_array({"a", "b"}),
                                        gguf_array(kGU8, 0, "")};
  for (const auto& pair : parts_.metadata)
    for (const auto& value : values) {
      SCOPED_TRACE(pair.key);
      auto parts = parts_;
      parts.set(pair.key, value);
      put(parts);
      if (const auto result = convert(); !result) expect_error(result, {gguf_path()});
    }
}

TEST_F(GgufOfOthers, AnyNumberInAnyKeyIsAnErrorOrAModel) {
  hostile("gguf", "numbers");
  for (const auto& pair : parts_.metadata) {
    if (pair.value.size() != 8) continue;  // a u32, i32 or f32
    for (const uint32_t number : {0u, 1u, 3u, 255u, 65536u, 0x7fffffffu, 0x80000000u, 0xffffffffu, 0x7f800000u}) {
      auto parts = parts_;
      std::memcpy(parts.value(pair.key).data() + 4, &number, 4);
      put(parts);
      if (const auto result = convert(); !result) expect_error(result, {gguf_path()});
    }
  }
}

TEST_F(GgufOfOthers, AnyWrongShapeOrTypeIsNamed) {
  hostile("gguf", "structure");
  for (const auto& t : parts_.tensors) {
    const bool embedding = t.name == "token_embd.weight";
    for (const size_t dimension : {size_t{0}, t.shape.size() - 1})
      if (!embedding || dimension == 0)  // more rows of it are a larger vocabulary
        expect_change_refused(
            [&](GgufParts& p) {
              auto& entry = p.tensor(t.name);
              entry.shape[dimension] += 1;
              entry.data += std::string(1000, '\0');
            },
            {t.name, "shape is ["});
    if (t.shape.size() == 1) continue;
    expect_change_refused([&](GgufParts& p) { p.tensor(t.name).type = 14; }, {t.name, "q6_k"});
    expect_change_refused([&](GgufParts& p) { p.tensor(t.name).type = 20; }, {t.name, "type 20"});
  }
}

TEST_F(GgufOfOthers, BadScalesAndValuesAreNamed) {
  hostile("gguf", "values");
  const auto floats = [](std::initializer_list<float> values) {
    std::string elements;
    for (const float x : values) elements += raw(x);
    return gguf_array(kGF32, values.size(), elements);
  };
  for (const float bad : {NAN, INFINITY, -0.25f})
    expect_change_refused([&](GgufParts& p) { p.set("onebit.scale.blk.0.attn_q", floats({bad})); },
                          {"onebit.scale.blk.0.attn_q"});
  expect_change_refused([&](GgufParts& p) { p.set("onebit.scale.blk.0.attn_q", floats({0.3f})); },
                        {"onebit.scale.blk.0.attn_q", "found 0.3", "0.25"});
  expect_change_refused([&](GgufParts& p) { p.set("onebit.scale.blk.0.attn_q", floats({0.25f, 0.25f})); },
                        {"2 numbers, expected 1"});
  for (const float bad : {NAN, INFINITY, -1.0f})
    expect_change_refused([&](GgufParts& p) { p.tensors.push_back({"blk.0.attn_k.scale", {1}, 0, raw(bad)}); },
                          {"blk.0.attn_k.scale"});
  for (const auto* name : {"token_embd.weight", "output_norm.weight"})
    for (const auto* bits : {"\xc0\x7f", "\x80\x7f", "\x80\xff"})
      expect_change_refused(
          [&](GgufParts& p) {
            auto& t = p.tensor(name);
            t.data.replace((t.type == 0 ? 46u : 94u), 2, bits, 2);
          },
          {name, "holds", "numbers"});
  expect_change_refused([](GgufParts& p) { p.tensor("blk.0.ffn_up.weight").data[1] = '\x55'; },
                        {"blk.0.ffn_up.weight", "not ternary"});
}

TEST_F(GgufOfOthers, TokensAndMergesThatMakeNoSenseAreNamed) {
  hostile("gguf", "text");
  const auto tokens = [&] {
    std::vector<std::string> out;
    for (int i = 0; i < 300; ++i) out.push_back(fmt::format("t{}", i));
    return out;
  };
  const auto set = [&](const char* key, std::string value, std::initializer_list<std::string_view> words) {
    expect_change_refused([&](GgufParts& p) { p.set(key, value); }, words);
  };
  auto bad = tokens();
  bad[5] = "\xff\xfe";
  set("tokenizer.ggml.tokens", gguf_array(bad), {"tokenizer.ggml.tokens[5]", "stands for no byte"});
  bad[5] = "";
  set("tokenizer.ggml.tokens", gguf_array(bad), {"tokenizer.ggml.tokens[5]", "is empty"});
  bad[5] = "t4";
  set("tokenizer.ggml.tokens", gguf_array(bad), {"tokenizer.ggml.tokens[5]", "is token 4 already"});
  set("tokenizer.ggml.tokens", gguf_array(tokens()), {"tokenizer.ggml.merges[0]"});
  bad = tokens();
  bad.push_back("more");
  set("tokenizer.ggml.tokens", gguf_array(bad), {"301 tokens", "rows for 300"});
  for (const auto& [merge, words] : {std::pair{"t", "expected two"},
                                     {"t h x", "expected two"},
                                     {"", "expected two"},
                                     {"t q!", "not in the vocabulary"},
                                     {"zz z", "first part"},
                                     {"q z", "result"},
                                     {"\n\x1b \x7f", "vocabulary"}})
    set("tokenizer.ggml.merges", gguf_array({merge}), {"tokenizer.ggml.merges[0]", words});
  set("tokenizer.ggml.merges", gguf_array({"t h", "t h"}), {"merge"});
  for (const auto* key : {"tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"})
    for (const uint32_t id : {0u, 280u, 300u, 0xffffffffu})
      set(key, gguf_value(kGU32, id), {key, "not a special token"});
  set("onebit.stop_tokens", gguf_array(kGI64, 1, raw(int64_t{1} << 40)), {"stop"});
  std::string types;
  for (int i = 0; i < 300; ++i) types += raw(int32_t{i == 9 ? 6 : 1});
  set("tokenizer.ggml.token_type", gguf_array(kGI32, 300, types), {"tokenizer.ggml.token_type[9]", "has type 6"});
  set("tokenizer.ggml.token_type", gguf_array(kGI32, 299, types.substr(4)), {"299 numbers"});
}

TEST_F(GgufOfOthers, RandomChangesAreErrorsOrModels) {
  hostile("gguf", "bytes");
  const auto whole = gguf_bytes(parts_);
  std::mt19937 random(1);
  for (int i = 0; i < 400; ++i) {
    auto changed = whole;
    for (int n = 0; n < 1 + i % 3; ++n) changed[random() % changed.size()] = static_cast<char>(random());
    count_case(changed);
    write_file(gguf_path(), changed);
    if (const auto result = convert(); !result) expect_error(result, {gguf_path()});
  }
}

}  // namespace
}  // namespace onebit
