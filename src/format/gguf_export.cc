#include "format/gguf_export.h"

#include <cmath>
#include <cstring>

#include "base/atomic_file.h"
#include "base/half.h"
#include "base/utf8.h"

namespace onebit {
namespace {

constexpr uint64_t kAlignment = 32;
constexpr uint32_t kBlockWeights = 256, kQ8Block = 32;

/// Type ids of the format.
enum class Value : uint32_t { kU32 = 4, kI32 = 5, kF32 = 6, kString = 8, kArray = 9 };
enum class Type : uint32_t { kF32 = 0, kQ8_0 = 8, kBf16 = 30, kTq1_0 = 34, kTq2_0 = 35 };

template <class T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}
void put_text(std::string& out, std::string_view text) {
  put<uint64_t>(out, text.size());
  out += text;
}

/// Keys and values of the header.
class Metadata {
 public:
  void add(std::string_view key, uint32_t value) {
    begin(key, Value::kU32);
    put(bytes_, value);
  }
  void add(std::string_view key, float value) {
    begin(key, Value::kF32);
    put(bytes_, value);
  }
  void add(std::string_view key, std::string_view value) {
    begin(key, Value::kString);
    put_text(bytes_, value);
  }
  void add(std::string_view key, const std::vector<std::string>& values) {
    begin_array(key, Value::kString, values.size());
    for (const auto& value : values) put_text(bytes_, value);
  }
  void add(std::string_view key, const std::vector<int32_t>& values) {
    begin_array(key, Value::kI32, values.size());
    for (const auto value : values) put(bytes_, value);
  }
  uint64_t count() const { return count_; }
  const std::string& bytes() const { return bytes_; }

 private:
  void begin(std::string_view key, Value type) {
    put_text(bytes_, key);
    put(bytes_, type);
    ++count_;
  }
  void begin_array(std::string_view key, Value type, uint64_t size) {
    begin(key, Value::kArray);
    put(bytes_, type);
    put(bytes_, size);
  }
  std::string bytes_;
  uint64_t count_ = 0;
};

/// Bytes as GPT-2 writes them in vocabularies: printable Latin-1 as itself, the rest from U+0100 on.
std::string stand_ins(std::string_view bytes) {
  static const auto characters = [] {
    std::array<std::string, 256> all;
    char32_t next = 0x100;
    for (char32_t byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xff && byte != 0xad);
      utf8_append(all[byte], printable ? byte : next++);
    }
    return all;
  }();
  std::string out;
  for (const char byte : bytes) out += characters[static_cast<unsigned char>(byte)];
  return out;
}

void add_tokenizer(Metadata& m, const TokenizerData& data) {
  constexpr int32_t kNormal = 1, kControl = 3, kUnused = 5;
  std::vector<std::string> tokens, merges;
  std::vector<int32_t> types;
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    const bool unused = data.tokens[id].empty();
    tokens.push_back(unused             ? fmt::format("<|unused_{}|>", id)
                     : data.special[id] ? data.tokens[id]
                                        : stand_ins(data.tokens[id]));
    types.push_back(unused ? kUnused : data.special[id] ? kControl : kNormal);
  }
  const auto text = [&](TokenId id) { return stand_ins(data.tokens[static_cast<size_t>(id)]); };
  for (const auto& merge : data.merges) merges.push_back(text(merge.left) + " " + text(merge.right));
  m.add("tokenizer.ggml.model", "gpt2");
  m.add("tokenizer.ggml.pre", "llama-bpe");
  m.add("tokenizer.ggml.tokens", tokens);
  m.add("tokenizer.ggml.token_type", types);
  m.add("tokenizer.ggml.merges", merges);
  if (data.bos >= 0) m.add("tokenizer.ggml.bos_token_id", static_cast<uint32_t>(data.bos));
  if (!data.stop_tokens.empty()) m.add("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(data.stop_tokens.back()));
}

Metadata metadata_of(const H1bFile& model, const TokenizerData& tokenizer) {
  const auto& c = model.config();
  Metadata m;
  m.add("general.architecture", "bitnet");
  m.add("general.name", model.provenance("name"));
  m.add("general.alignment", static_cast<uint32_t>(kAlignment));
  m.add("bitnet.vocab_size", c.vocabulary);
  m.add("bitnet.context_length", c.context);
  m.add("bitnet.embedding_length", c.hidden);
  m.add("bitnet.block_count", c.layers);
  m.add("bitnet.feed_forward_length", c.ffn);
  m.add("bitnet.attention.head_count", c.heads);
  m.add("bitnet.attention.head_count_kv", c.kv_heads);
  m.add("bitnet.attention.key_length", c.head_dim);
  m.add("bitnet.attention.value_length", c.head_dim);
  m.add("bitnet.attention.layer_norm_rms_epsilon", c.rms_epsilon);
  m.add("bitnet.rope.dimension_count", c.head_dim);
  m.add("bitnet.rope.freq_base", static_cast<float>(c.rope_theta));
  add_tokenizer(m, tokenizer);
  return m;
}

/// A tensor of the new file and how a row of it is made. Rows are made one by one.
struct Entry {
  std::string name;
  Type type;
  uint64_t columns, rows;
  std::function<std::string(uint64_t row)> make_row;
  uint64_t row_bytes() const {
    switch (type) {
      case Type::kF32:
        return columns * 4;
      case Type::kBf16:
        return columns * 2;
      case Type::kQ8_0:
        return columns / kQ8Block * 34;
      case Type::kTq1_0:
        return columns / kBlockWeights * 54;
      case Type::kTq2_0:
        return columns / kBlockWeights * 66;
    }
    return 0;
  }
  uint64_t bytes() const { return rows * row_bytes(); }
};

std::string floats_text(std::span<const float> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
}

/// Blocks of 32 with a half-precision scale of max|x| / 127.
std::string q8_0_row(std::span<const float> x) {
  std::string out;
  for (size_t at = 0; at < x.size(); at += kQ8Block) {
    float largest = 0;
    for (size_t i = at; i < at + kQ8Block; ++i) largest = std::max(largest, std::fabs(x[i]));
    const float d = largest / 127.0f;
    put(out, float_to_half(d));
    for (size_t i = at; i < at + kQ8Block; ++i)
      put(out, static_cast<int8_t>(d == 0.0f ? 0.0f : std::nearbyint(x[i] / d)));
  }
  return out;
}

Entry linear_entry(const Tensor& t, GgufTernary type) {
  return {t.name + ".weight", type == GgufTernary::kTq1_0 ? Type::kTq1_0 : Type::kTq2_0, t.columns, t.rows,
          [&t, type](uint64_t row) {
            std::vector<int8_t> weights(t.columns);
            unpack_row(t.packing, t.matrix, t.columns, row, weights);
            std::string out;
            for (size_t at = 0; at < weights.size(); at += kBlockWeights)
              out += gguf_block(type, std::span(weights).subspan(at).first<kBlockWeights>());
            return out;
          }};
}

/// The embedding table, or an untied head, row by row as floats.
std::vector<float> wide_row(const Tensor& t, uint64_t row) {
  std::vector<float> x(t.columns);
  if (t.packing == Packing::kQ8) {
    std::vector<int8_t> q(t.columns);
    unpack_row(t.packing, t.matrix, t.columns, row, q);
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(q[i]) * t.scale_values[row];
    return x;
  }
  const auto widen = t.packing == Packing::kF16 ? half_to_float : bf16_to_float;
  for (size_t i = 0; i < x.size(); ++i) {
    uint16_t bits = 0;
    std::memcpy(&bits, t.matrix.data() + (row * t.columns + i) * sizeof bits, sizeof bits);
    x[i] = widen(bits);
  }
  return x;
}

Entry table_entry(const Tensor& t, const std::string& name, GgufEmbedding type) {
  return {name, type == GgufEmbedding::kBf16 ? Type::kBf16 : Type::kQ8_0, t.columns, t.rows, [&t, type](uint64_t row) {
            const auto x = wide_row(t, row);
            if (type == GgufEmbedding::kQ8_0) return q8_0_row(x);
            std::string out;
            for (const float v : x) put(out, float_to_bf16(v));
            return out;
          }};
}

Result<std::vector<Entry>> entries_of(const H1bFile& model, const GgufOptions& options) {
  std::vector<Entry> entries;
  for (const auto& t : model.tensors()) {
    const auto refuse = [&](std::string_view why) { return fail("{}: tensor {}: {}", model.path(), t.name, why); };
    if (t.kind == TensorKind::kNorm) {
      const auto* values = reinterpret_cast<const float*>(t.matrix.data());
      entries.push_back({t.name + ".weight", Type::kF32, t.columns, 1,
                         [values, &t](uint64_t) { return floats_text({values, t.columns}); }});
    } else if (t.kind == TensorKind::kLinear) {
      if (t.granularity != ScaleGranularity::kTensor)
        return refuse("has several scales, GGUF's bitnet has one a tensor");
      if (t.columns % kBlockWeights != 0)
        return refuse(
            fmt::format("has {} columns, GGUF's ternary types need a multiple of {}", t.columns, kBlockWeights));
      entries.push_back(linear_entry(t, options.ternary));
      entries.push_back({t.name + ".scale", Type::kF32, 1, 1, [&t](uint64_t) { return floats_text(t.scale_values); }});
    } else if (t.kind == TensorKind::kEmbedding || !model.config().tied_head) {
      if (t.columns % kQ8Block != 0)
        return refuse(fmt::format("has {} columns, GGUF's q8_0 needs a multiple of {}", t.columns, kQ8Block));
      const bool embedding = t.kind == TensorKind::kEmbedding;
      entries.push_back(table_entry(t, embedding ? "token_embd.weight" : "output.weight", options.embedding));
    }
  }
  return entries;
}

uint64_t aligned(uint64_t n) {
  return (n + kAlignment - 1) / kAlignment * kAlignment;
}

std::string header_of(const Metadata& metadata, const std::vector<Entry>& entries) {
  std::string out = "GGUF";
  put<uint32_t>(out, 3);
  put<uint64_t>(out, entries.size());
  put<uint64_t>(out, metadata.count());
  out += metadata.bytes();
  uint64_t offset = 0;
  for (const auto& e : entries) {
    put_text(out, e.name);
    const bool vector = e.rows == 1;
    put<uint32_t>(out, vector ? 1 : 2);
    put(out, e.columns);
    if (!vector) put(out, e.rows);
    put(out, e.type);
    put(out, offset);
    offset = aligned(offset + e.bytes());
  }
  out.resize(aligned(out.size()));
  return out;
}

}  // namespace

std::string gguf_block(GgufTernary type, std::span<const int8_t, 256> weights) {
  std::string out;
  const auto trit = [&](size_t i) { return static_cast<unsigned>(weights[i] + 1); };
  if (type == GgufTernary::kTq2_0) {
    for (size_t half = 0; half < 256; half += 128)
      for (size_t m = half; m < half + 32; ++m)
        out += static_cast<char>(trit(m) | trit(m + 32) << 2 | trit(m + 64) << 4 | trit(m + 96) << 6);
  } else {
    // `digits` elements from `first` on, `step` apart, as the leading digits of five in base 3: byte = ceil(q · 256 /
    // 243).
    const auto byte = [&](size_t first, size_t step, size_t digits) {
      unsigned q = 0;
      for (size_t n = 0; n < 5; ++n) q = q * 3 + (n < digits ? trit(first + n * step) : 0);
      out += static_cast<char>((q * 256 + 242) / 243);
    };
    for (size_t m = 0; m < 32; ++m) byte(m, 32, 5);
    for (size_t m = 0; m < 16; ++m) byte(160 + m, 16, 5);
    for (size_t m = 0; m < 4; ++m) byte(240 + m, 4, 4);
  }
  put(out, float_to_half(1.0f));
  return out;
}

Status export_gguf(const H1bFile& model, const std::string& path, const GgufOptions& options,
                   const WriteProgress& progress) {
  ASSIGN_OR_RETURN(const auto tokenizer, model.tokenizer());
  ASSIGN_OR_RETURN(const auto entries, entries_of(model, options));
  ASSIGN_OR_RETURN(auto file, AtomicFile::create(path));
  const auto header = header_of(metadata_of(model, tokenizer), entries);
  RETURN_IF_ERROR(file.write(std::as_bytes(std::span(header))));
  uint64_t total = header.size();
  for (const auto& e : entries) total += aligned(e.bytes());
  for (const auto& e : entries) {
    constexpr uint64_t kPiece = 1 << 20;
    std::string piece;
    for (uint64_t row = 0; row < e.rows; ++row) {
      piece += e.make_row(row);
      if (row + 1 == e.rows) piece.resize(piece.size() + aligned(e.bytes()) - e.bytes());
      if (piece.size() < kPiece && row + 1 < e.rows) continue;
      RETURN_IF_ERROR(file.write(std::as_bytes(std::span(piece))));
      piece.clear();
      if (progress) progress(file.position(), total, e.name);
    }
  }
  RETURN_IF_ERROR(model.check_readable());
  return file.commit();
}

}  // namespace onebit
