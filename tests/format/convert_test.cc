#include "format/import/convert.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "base/half.h"
#include "format/h1b_file.h"
#include "tests/support/hf_folder.h"
#include "tests/support/temp_folder.h"
#include "tests/support/test_model.h"
#include "tests/support/tiny_model.h"

namespace onebit {
namespace {

using test::HfModel;
using test::make_hf_model;
using test::tiny_config;
using test::unpack_all;

class ConvertTest : public ::testing::Test {
 protected:
  /// Writes the folder, converts it and opens the result; throws, and so fails, where that does not work.
  H1bFile convert(const test::HfFolder& folder, ModelPackings packings = {Packing::kT2, Packing::kBf16}) {
    test::write_hf_folder(source_.path(), folder);
    return convert(source_.path(), packings);
  }

  H1bFile convert(const std::string& folder, ModelPackings packings) {
    ConvertOptions options;
    options.folder = folder;
    options.output = target_.path("model.h1b");
    options.packings = packings;
    options.converter = "test";
    options.date = "2025-01-01";
    const auto summary = convert_hf_folder(options);
    if (!summary) throw std::runtime_error(summary.error().message);
    auto file = H1bFile::open(options.output);
    if (!file) throw std::runtime_error(file.error().message);
    if (const auto verified = file->verify(); !verified) throw std::runtime_error(verified.error().message);
    return *std::move(file);
  }

  test::TempFolder source_, target_;
};

std::vector<float> floats_of(const Tensor& t) {
  std::vector<float> values(t.rows * t.columns);
  for (size_t i = 0; i < values.size(); ++i) {
    if (t.packing == Packing::kF32) {
      std::memcpy(&values[i], t.matrix.data() + 4 * i, 4);
      continue;
    }
    uint16_t bits = 0;
    std::memcpy(&bits, t.matrix.data() + 2 * i, 2);
    values[i] = t.packing == Packing::kF16 ? half_to_float(bits) : bf16_to_float(bits);
  }
  return values;
}

/// Embedding, head and norms, which every storage has.
void expect_floats(const H1bFile& file, const HfModel& model) {
  EXPECT_EQ(floats_of(*file.find("token_embd")), model.floats.at("model.embed_tokens.weight"));
  EXPECT_EQ(floats_of(*file.find("head")),
            model.floats.at(model.config.tied_head ? "model.embed_tokens.weight" : "lm_head.weight"));
  EXPECT_EQ(floats_of(*file.find("output_norm")), model.floats.at("model.norm.weight"));
  for (uint32_t layer = 0; layer < model.config.layers; ++layer)
    for (const auto norm : norms_of(model.config))
      EXPECT_EQ(floats_of(*file.find(tensor_name(layer, norm))), model.floats.at(test::hf_name(layer, norm)));
}

void expect_packed(const H1bFile& file, const HfModel& model, bool divide) {
  for (uint32_t layer = 0; layer < model.config.layers; ++layer)
    for (const auto linear : kLinears) {
      const auto name = test::hf_name(layer, linear);
      const auto* tensor = file.find(tensor_name(layer, linear));
      ASSERT_NE(tensor, nullptr) << name;
      EXPECT_EQ(unpack_all(*tensor), model.ternary.at(name)) << name;
      const float stored = model.stored_scale.at(name);
      EXPECT_EQ(tensor->scale_values[0], divide ? 1.0f / stored : stored) << name;
    }
}

TEST_F(ConvertTest, PackedWeightsScalesAndNormsComeThrough) {
  const auto model = make_hf_model(tiny_config(), TernaryStorage::kPackedMultiply);
  for (const auto packing : {Packing::kT2, Packing::kT1_6}) {
    const auto file = convert(model.folder, {packing, Packing::kBf16});
    expect_packed(file, model, false);
    expect_floats(file, model);
  }
}

TEST_F(ConvertTest, DenseWeightsAreMadeSparseOnlyByForce) {
  const auto model = make_hf_model(tiny_config(), TernaryStorage::kPackedMultiply);
  try {
    convert(model.folder, {Packing::kS1_25, Packing::kBf16});
    ADD_FAILURE() << "it was converted";
  } catch (const std::runtime_error& refusal) {
    EXPECT_NE(std::string(refusal.what()).find("was not trained for s1_25"), std::string::npos) << refusal.what();
  }
  EXPECT_FALSE(std::filesystem::exists(target_.path("model.h1b")));
  const auto file = convert(model.folder, {Packing::kS1_25, Packing::kBf16, true});
  size_t kept = 0;
  for (uint32_t layer = 0; layer < model.config.layers; ++layer)
    for (const auto linear : kLinears) {
      const auto after = unpack_all(*file.find(tensor_name(layer, linear)));
      const auto& before = model.ternary.at(test::hf_name(layer, linear));
      ASSERT_EQ(after.size(), before.size());
      for (size_t i = 0; i < after.size(); i += 4) {
        ASSERT_TRUE(s1_25::is_sparse(&after[i]));
        if (!s1_25::is_sparse(&before[i])) continue;
        EXPECT_TRUE(std::equal(&before[i], &before[i] + 4, &after[i])) << "what is sparse already stays";
        ++kept;
      }
    }
  EXPECT_GT(kept, 0u);
  expect_floats(file, model);
}

TEST_F(ConvertTest, BitlinearDividesByTheScale) {
  const auto model = make_hf_model(tiny_config(), TernaryStorage::kPackedDivide);
  const auto file = convert(model.folder);
  expect_packed(file, model, true);
  expect_floats(file, model);
}

TEST_F(ConvertTest, AnUntiedHeadIsTheLmHead) {
  auto config = tiny_config();
  config.tied_head = false;
  const auto model = make_hf_model(config, TernaryStorage::kPackedMultiply);
  const auto file = convert(model.folder);
  EXPECT_FALSE(file.config().tied_head);
  EXPECT_NE(floats_of(*file.find("head")), floats_of(*file.find("token_embd")));
  expect_floats(file, model);
}

TEST_F(ConvertTest, ShardsGiveTheSameFileAsOneFile) {
  auto model = make_hf_model(tiny_config(), TernaryStorage::kPackedMultiply);
  convert(model.folder);
  const auto one = test::read_file(target_.path("model.h1b"));
  std::filesystem::remove(source_.path("model.safetensors"));
  model.folder.shards = 3;
  convert(model.folder);
  EXPECT_EQ(test::read_file(target_.path("model.h1b")), one);
}

TEST_F(ConvertTest, FloatTypesOtherThanBf16AreRead) {
  auto model = make_hf_model(tiny_config(), TernaryStorage::kPackedMultiply);
  auto& tensors = model.folder.tensors;
  const auto norm = test::hf_name(0, Norm::kFfn);
  model.floats[norm] = std::vector<float>(48, 1.000001f);
  tensors[norm] = test::f32_tensor({48}, model.floats[norm]);
  model.floats["model.norm.weight"] = std::vector<float>(48, 1.0009765625f);
  tensors["model.norm.weight"] = test::f16_tensor({48}, model.floats["model.norm.weight"]);
  tensors["position_ids"] = {"I64", {1}, std::string(8, '\0')};  // of no use to us
  expect_floats(convert(model.folder), model);
}

TEST_F(ConvertTest, MastersBecomeTernaryByTheirMean) {
  const auto model = make_hf_model(tiny_config(), TernaryStorage::kMaster);
  const auto file = convert(model.folder);
  expect_floats(file, model);
  for (uint32_t layer = 0; layer < 2; ++layer)
    for (const auto linear : kLinears) {
      const auto& w = model.floats.at(test::hf_name(layer, linear) + ".weight");
      double mean = 0;
      for (const float v : w) mean += std::fabs(v);
      mean /= static_cast<double>(w.size());
      const auto* tensor = file.find(tensor_name(layer, linear));
      EXPECT_NEAR(tensor->scale_values[0], mean, 1e-6 * mean);
      const auto weights = unpack_all(*tensor);
      std::array<size_t, 3> seen{};
      for (size_t i = 0; i < w.size(); ++i) {
        const double ratio = w[i] / mean;
        if (std::fabs(std::fabs(ratio) - 0.5) < 1e-5) continue;  // either way is right this close to the edge
        ASSERT_EQ(weights[i], ratio > 0.5 ? 1 : ratio < -0.5 ? -1 : 0) << i;
        ++seen[static_cast<size_t>(weights[i] + 1)];
      }
      for (const size_t n : seen) EXPECT_GT(n, w.size() / 10);
    }
}

TEST_F(ConvertTest, AMasterOfZerosIsZerosAndNotADivisionByThem) {
  auto model = make_hf_model(tiny_config(), TernaryStorage::kMaster);
  const auto name = test::hf_name(0, Linear::kKey) + ".weight";
  model.folder.tensors[name] = test::bf16_tensor({16, 48}, std::vector<float>(16 * 48));
  const auto file = convert(model.folder);
  const auto* tensor = file.find("blk.0.attn_k");
  EXPECT_EQ(unpack_all(*tensor), std::vector<int8_t>(16 * 48));
  EXPECT_EQ(tensor->scale_values[0], 1e-5f);
}

TEST_F(ConvertTest, TheTokenizerAndTheConfigComeThrough) {
  const auto model = make_hf_model(tiny_config(), TernaryStorage::kPackedMultiply);
  const auto file = convert(model.folder);
  EXPECT_EQ(file.config().vocabulary, 300u);
  EXPECT_EQ(file.config().kv_heads, 1u);
  const auto tokenizer = file.tokenizer();
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  EXPECT_EQ(tokenizer->tokens, model.tokenizer.tokens);
  EXPECT_EQ(tokenizer->bos, model.tokenizer.bos);
  EXPECT_EQ(tokenizer->stop_tokens, model.tokenizer.stop_tokens);
  EXPECT_EQ(tokenizer->merges.size(), model.tokenizer.merges.size());
}

TEST_F(ConvertTest, ProvenanceTellsTheSource) {
  const auto model = make_hf_model(tiny_config(), TernaryStorage::kPackedMultiply);
  std::filesystem::create_directory(source_.path("my-model"));
  test::write_hf_folder(source_.path("my-model"), model.folder);
  const auto file = convert(source_.path("my-model/"), {});
  EXPECT_EQ(file.provenance("name"), "my-model");
  EXPECT_EQ(file.provenance("source_format"), "safetensors, packed ternary");
  EXPECT_EQ(file.provenance("converter"), "test");
  EXPECT_EQ(file.provenance("date"), "2025-01-01");
}

TEST_F(ConvertTest, AFolderNameThatIsNoUtf8StillMakesAFileThatOpens) {
  const auto model = make_hf_model(tiny_config(), TernaryStorage::kPackedMultiply);
  const auto folder = source_.path("caf\xe9");
  std::error_code refused;
  if (!std::filesystem::create_directory(folder, refused)) GTEST_SKIP() << "this file system takes UTF-8 names only";
  test::write_hf_folder(folder, model.folder);
  EXPECT_EQ(convert(folder, {}).provenance("name"), "caf\xef\xbf\xbd");
}

/// The real small model in its two forms against the bundled file, where developers have them.
TEST_F(ConvertTest, TheBundledModelIsWhatItsSourcesSay) {
  const auto packed_folder = test::extra_model("tiny-bitnet"), master_folder = test::extra_model("tiny-bitnet-bf16");
  auto bundled = H1bFile::open(test::bundled_model());
  if (packed_folder.empty() || master_folder.empty() || !bundled)
    GTEST_SKIP()
        << "needs models/tiny-bitnet.h1b and the folders tiny-bitnet and tiny-bitnet-bf16 beside the repository";
  const auto packed = convert(packed_folder, {});
  test::TempFolder other;
  ConvertOptions options;
  options.folder = master_folder;
  options.output = other.path("master.h1b");
  ASSERT_TRUE(convert_hf_folder(options));
  const auto master = H1bFile::open(options.output);
  ASSERT_TRUE(master);
  size_t linears = 0;
  for (const auto& t : packed.tensors()) {
    const auto* from_master = master->find(t.name);
    const auto* in_bundle = bundled->find(t.name);
    ASSERT_TRUE(from_master != nullptr && in_bundle != nullptr) << t.name;
    if (t.kind == TensorKind::kLinear) {
      ++linears;
      EXPECT_TRUE(unpack_all(t) == unpack_all(*from_master)) << t.name;
      EXPECT_TRUE(unpack_all(t) == unpack_all(*in_bundle)) << t.name;
      EXPECT_EQ(t.scale_values[0], in_bundle->scale_values[0]) << t.name;
    } else {
      EXPECT_TRUE(std::equal(t.data.begin(), t.data.end(), in_bundle->data.begin(), in_bundle->data.end())) << t.name;
    }
  }
  EXPECT_EQ(linears, 84u);
}

}  // namespace
}  // namespace onebit
