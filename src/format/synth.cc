#include "format/synth.h"

#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "base/half.h"
#include "format/sparse_packing.h"

namespace onebit {
namespace {

/// SplitMix64 (Steele, Lea, Flood 2014): a stream from any 64-bit key, so that every row has its own.
class Random {
 public:
  explicit Random(uint64_t key) : state_(key) {}
  uint64_t next() {
    state_ += 0x9e3779b97f4a7c15u;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  /// Uniform in [-1, 1), a multiple of 2^-23.
  float symmetric() { return static_cast<float>(static_cast<int64_t>(next() >> 40) - (1 << 23)) * 0x1p-23f; }

 private:
  uint64_t state_;
};

class SyntheticWeights final : public WeightSource {
 public:
  SyntheticWeights(const ModelConfig& config, uint64_t seed, const ModelPackings& packings)
      : config_(config),
        seed_(seed),
        sparse_(packings.ternary == Packing::kS1_25),
        scale_group_(packings.synthetic_scale_group) {}

  ScaleGranularity scale_granularity() const override {
    return scale_group_ == 0 ? ScaleGranularity::kTensor : ScaleGranularity::kGroup;
  }
  uint32_t scale_group() const override { return scale_group_; }

  Status ternary_rows(uint32_t layer, Linear linear, uint64_t first, uint64_t count, std::span<int8_t> out) override {
    const uint64_t columns = shape_of(config_, linear).inputs;
    for (uint64_t r = 0; r < count; ++r) {
      Random random(key(1 + static_cast<uint64_t>(linear), layer, first + r));
      if (sparse_) {
        for (uint64_t c = 0; c < columns; c += s1_25::kGroup) {
          const auto four = s1_25::decode(static_cast<uint8_t>(random.next() >> 59));
          std::copy(four.begin(), four.end(), &out[r * columns + c]);
        }
        continue;
      }
      uint64_t bits = 0;
      for (uint64_t c = 0; c < columns; ++c) {
        if (c % 16 == 0) bits = random.next();
        out[r * columns + c] = static_cast<int8_t>(static_cast<int>(((bits & 15u) * 3) >> 4) - 1);
        bits >>= 4;
      }
    }
    return {};
  }

  Status ternary_scales(uint32_t layer, Linear linear, std::span<float> out) override {
    const float scale = std::sqrt(1.5f / static_cast<float>(shape_of(config_, linear).inputs));
    Random random(key(50 + static_cast<uint64_t>(linear), layer, 0));
    for (auto& v : out) v = out.size() == 1 ? scale : scale * (1.0f + 0.25f * random.symmetric());
    return {};
  }

  Status norm(uint32_t layer, Norm norm, std::span<float> out) override {
    return fill_norm(key(20 + static_cast<uint64_t>(norm), layer, 0), out);
  }
  Status output_norm(std::span<float> out) override { return fill_norm(key(30, 0, 0), out); }

  Status embedding_row(uint64_t row, std::span<uint16_t> out) override {
    Random random(key(40, 0, row));
    for (auto& v : out) v = float_to_bf16(random.symmetric() * 0.05f);
    return {};
  }

  Status head_row(uint64_t row, std::span<float> out) override {
    Random random(key(config_.tied_head ? 40 : 41, 0, row));
    for (auto& v : out) v = bf16_to_float(float_to_bf16(random.symmetric() * 0.05f));
    return {};
  }

 private:
  uint64_t key(uint64_t what, uint64_t layer, uint64_t row) const {
    Random mix(seed_ ^ what * 0xd6e8feb86659fd93u);
    return Random(mix.next() ^ layer << 40 ^ row).next();
  }

  static Status fill_norm(uint64_t key, std::span<float> out) {
    Random random(key);
    for (auto& v : out) v = 1.0f + 0.25f * random.symmetric();
    return {};
  }

  const ModelConfig& config_;
  uint64_t seed_;
  bool sparse_;  // 3:4
  uint32_t scale_group_;
};

/// Plain tokens of `base` in id order and the merges among them, cut to `count` tokens.
Status keep_plain_tokens(const TokenizerData& base, size_t count, TokenizerData& out) {
  std::vector<TokenId> new_id(base.tokens.size(), -1);
  for (size_t id = 0; id < base.tokens.size() && out.tokens.size() < count; ++id) {
    if (base.special[id] || base.tokens[id].empty()) continue;
    new_id[id] = static_cast<TokenId>(out.tokens.size());
    out.tokens.push_back(base.tokens[id]);
  }
  const auto singles = std::count_if(out.tokens.begin(), out.tokens.end(), [](auto& t) { return t.size() == 1; });
  if (singles != 256) return fail("vocabulary: too small to hold the 256 single bytes and the special tokens");
  for (const auto& m : base.merges) {
    const TokenizerData::Merge merge{new_id[m.left], new_id[m.right], new_id[m.result]};
    if (merge.left >= 0 && merge.right >= 0 && merge.result >= 0) out.merges.push_back(merge);
  }
  return {};
}

/// Merges of random pairs of present tokens until there are `count` tokens.
void generate_merges(size_t count, TokenizerData& out) {
  constexpr size_t kWords = 4096;  // enough: their pairs are more than any vocabulary has tokens
  constexpr size_t kLongest = 24;  // bytes; keeps the vocabulary's size near a real one's
  std::unordered_set<std::string> known(out.tokens.begin(), out.tokens.end());
  const auto is_word = [](const std::string& token) {
    return std::all_of(token.begin(), token.end(), [](char c) { return c >= 'a' && c <= 'z'; });
  };
  std::vector<TokenId> words;  // only letters join, so that merged tokens lie within one piece
  for (size_t id = 0; id < out.tokens.size(); ++id)
    if (is_word(out.tokens[id])) words.push_back(static_cast<TokenId>(id));
  Random random(1);
  while (out.tokens.size() < count) {
    const TokenId left = words[random.next() % words.size()];
    const TokenId right = words[random.next() % words.size()];
    auto text = out.tokens[left] + out.tokens[right];
    if (text.size() > kLongest || !known.insert(text).second) continue;
    const auto id = static_cast<TokenId>(out.tokens.size());
    out.merges.push_back({left, right, id});
    out.tokens.push_back(std::move(text));
    if (words.size() < kWords) words.push_back(id);
  }
}

}  // namespace

const std::vector<SynthPreset>& synth_presets() {
  constexpr auto kSilu = Activation::kSilu;
  const auto made = [](const char* name, const char* of, ModelConfig c, uint32_t scale_group = 0) {
    if (c.rms_epsilon == 0) c.rms_epsilon = 1e-5f;
    if (c.context == 0) c.context = 4096;
    return SynthPreset{name, of, c, scale_group};
  };
  static const std::vector<SynthPreset> presets{
      made("bitnet-2b-4t", "microsoft/bitnet-b1.58-2B-4T",
           {.layers = 30,
            .hidden = 2560,
            .heads = 20,
            .kv_heads = 5,
            .head_dim = 128,
            .ffn = 6912,
            .vocabulary = 128256,
            .rope_theta = 500000.0,
            .tied_head = true}),
      made("tiny", "the bundled model",
           {.layers = 12,
            .hidden = 512,
            .heads = 4,
            .kv_heads = 2,
            .head_dim = 128,
            .ffn = 1536,
            .vocabulary = 8192,
            .rope_theta = 500000.0,
            .tied_head = true}),
      made("bitnet-large", "1bitLLM/bitnet_b1_58-large",
           {.activation = kSilu,
            .layers = 24,
            .hidden = 1536,
            .heads = 16,
            .kv_heads = 16,
            .head_dim = 96,
            .ffn = 4096,
            .vocabulary = 32002,
            .context = 2048,
            .rope_theta = 10000.0,
            .tied_head = true}),
      made("bitnet-3b", "1bitLLM/bitnet_b1_58-3B",
           {.activation = kSilu,
            .layers = 26,
            .hidden = 3200,
            .heads = 32,
            .kv_heads = 32,
            .head_dim = 100,
            .ffn = 8640,
            .vocabulary = 32002,
            .context = 2048,
            .rope_theta = 10000.0,
            .tied_head = true}),
      made("llama3-8b", "HF1BitLLM/Llama3-8B-1.58-100B-tokens",
           {.norms = {},
            .activation = kSilu,
            .layers = 32,
            .hidden = 4096,
            .heads = 32,
            .kv_heads = 8,
            .head_dim = 128,
            .ffn = 14336,
            .vocabulary = 128256,
            .rope_theta = 500000.0}),
      made("falcon3-1b", "tiiuae/Falcon3-1B-Instruct-1.58bit",
           {.norms = {},
            .activation = kSilu,
            .layers = 18,
            .hidden = 2048,
            .heads = 8,
            .kv_heads = 4,
            .head_dim = 256,
            .ffn = 8192,
            .vocabulary = 131072,
            .rms_epsilon = 1e-6f,
            .rope_theta = 1000042.0}),
      made("trilm-3.9b", "SpectraSuite/TriLM_3.9B_Unpacked",
           {.norms = {},
            .activation = kSilu,
            .layers = 30,
            .hidden = 3072,
            .heads = 24,
            .kv_heads = 24,
            .head_dim = 128,
            .ffn = 9216,
            .vocabulary = 50304,
            .context = 2048,
            .rope_theta = 10000.0}),
      made("bonsai-1.7b", "prism-ml/Ternary-Bonsai-1.7B",
           {.norms = {.heads = true},
            .activation = kSilu,
            .layers = 28,
            .hidden = 2048,
            .heads = 16,
            .kv_heads = 8,
            .head_dim = 128,
            .ffn = 6144,
            .vocabulary = 151936,
            .rms_epsilon = 1e-6f,
            .rope_theta = 1000000.0,
            .tied_head = true},
           128),
      made("bitnet-embedding-0.6b", "microsoft/bitnet-embedding-0.6b",
           {.norms = {.sub = true, .heads = true, .projections = true},
            .activation = kSilu,
            .layers = 28,
            .hidden = 1024,
            .heads = 16,
            .kv_heads = 8,
            .head_dim = 128,
            .ffn = 3072,
            .vocabulary = 151936,
            .rms_epsilon = 1e-6f,
            .rope_theta = 1000000.0,
            .tied_head = true,
            .pooling = Pooling::kLast}),
  };
  return presets;
}

Result<TokenizerData> resize_tokenizer(const TokenizerData& base, uint32_t vocabulary) {
  if (base.pre_tokenizer == PreTokenizer::kSentencePiece || !base.added.empty() || !base.added_after_nfc.empty())
    return fail("tokenizer: only a byte-level one without added tokens can be given another size");
  TokenizerData out;
  out.pre_tokenizer = base.pre_tokenizer;
  out.chat = base.chat;
  out.ignore_merges = base.ignore_merges;
  out.nfc = base.nfc;
  std::vector<TokenId> specials;
  for (size_t id = 0; id < base.tokens.size(); ++id)
    if (base.special[id]) specials.push_back(static_cast<TokenId>(id));
  const size_t plain = vocabulary > specials.size() ? vocabulary - specials.size() : 0;
  RETURN_IF_ERROR(keep_plain_tokens(base, plain, out));
  generate_merges(plain, out);
  out.special.assign(out.tokens.size(), false);
  const auto moved = [&](TokenId old) {
    const auto it = std::find(specials.begin(), specials.end(), old);
    return it == specials.end() ? TokenId{-1}
                                : static_cast<TokenId>(plain + static_cast<size_t>(it - specials.begin()));
  };
  out.bos = moved(base.bos);
  for (const TokenId stop : base.stop_tokens)
    if (moved(stop) >= 0) out.stop_tokens.push_back(moved(stop));
  for (const TokenId id : specials) {
    out.tokens.push_back(base.tokens[id]);
    out.special.push_back(true);
  }
  RETURN_IF_ERROR(validate(out));
  return out;
}

Status write_synthetic_model(const std::string& path, const ModelParts& parts, const ModelPackings& packings,
                             uint64_t seed, const WriteProgress& progress) {
  SyntheticWeights weights(parts.config, seed, packings);
  return write_model(path, parts, packings, weights, progress);
}

}  // namespace onebit
