#include "format/model_writer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/half.h"

namespace onebit {
namespace {

/// One tensor's matrix and scales while it is made; the buffers are reused from tensor to tensor.
struct Buffers {
  std::vector<std::byte> matrix;
  std::vector<float> scales;
  std::vector<int8_t> rows;  // [16][columns]
  std::vector<float> row;
};

/// Packs 16 rows at a time; `fill(first, count, out)` gives rows as int8.
template <class Fill>
Status pack_tiled(const TensorSpec& spec, Buffers& b, Fill fill) {
  b.rows.resize(kTileRows * spec.columns);
  const uint64_t group_bytes = packed_bytes(spec.packing, kTileRows, spec.columns);
  for (uint64_t first = 0; first < spec.rows; first += kTileRows) {
    const uint64_t count = std::min(kTileRows, spec.rows - first);
    std::fill(b.rows.begin(), b.rows.end(), int8_t{0});
    RETURN_IF_ERROR(fill(first, count, std::span(b.rows).first(count * spec.columns)));
    pack_rows16(spec.packing, b.rows, spec.columns,
                std::span(b.matrix).subspan(first / kTileRows * group_bytes, group_bytes));
  }
  return {};
}

Status check_sparse_width(const LinearShape& shape) {
  if (shape.inputs % s1_25::kGroup != 0)
    return fail("s1_25 is for rows of whole groups of four weights; these are {} long", shape.inputs);
  return {};
}

/// From the source's order, row by row, to the file's: rows of a group of 16 side by side, padded with zeros.
Status make_scales(const TensorSpec& spec, uint32_t layer, Linear linear, WeightSource& source, Buffers& b) {
  if (spec.granularity == ScaleGranularity::kTensor) return source.ternary_scales(layer, linear, b.scales);
  const uint64_t groups = spec.granularity == ScaleGranularity::kRow ? 1 : (spec.columns + spec.group - 1) / spec.group;
  b.row.resize(spec.rows * groups);
  RETURN_IF_ERROR(source.ternary_scales(layer, linear, b.row));
  for (uint64_t row = 0; row < spec.rows; ++row)
    for (uint64_t g = 0; g < groups; ++g)
      b.scales[(row / kTileRows * groups + g) * kTileRows + row % kTileRows] = b.row[row * groups + g];
  return {};
}

Status make_linear(const TensorSpec& spec, uint32_t layer, Linear linear, const ModelPackings& packings,
                   WeightSource& source, Buffers& b) {
  const bool sparse = spec.packing == Packing::kS1_25;
  if (sparse)
    RETURN_IF_ERROR(check_sparse_width({static_cast<uint32_t>(spec.rows), static_cast<uint32_t>(spec.columns)}));
  RETURN_IF_ERROR(make_scales(spec, layer, linear, source, b));
  s1_25::Damage damage;
  return pack_tiled(spec, b, [&](uint64_t first, uint64_t count, std::span<int8_t> out) -> Status {
    RETURN_IF_ERROR(source.ternary_rows(layer, linear, first, count, out));
    if (!sparse) return {};
    s1_25::make_sparse(out, damage);
    if (damage.changed_weights > 0 && !packings.force_sparse) return fail("its weights are not 3:4 sparse");
    return {};
  });
}

Status make_head(const TensorSpec& spec, WeightSource& source, Buffers& b) {
  b.row.resize(spec.columns);
  if (spec.packing == Packing::kQ8)
    return pack_tiled(spec, b, [&](uint64_t first, uint64_t count, std::span<int8_t> out) -> Status {
      for (uint64_t r = 0; r < count; ++r) {
        RETURN_IF_ERROR(source.head_row(first + r, b.row));
        b.scales[first + r] = quantize_head_row(b.row, out.subspan(r * spec.columns, spec.columns));
      }
      return {};
    });
  const auto convert = spec.packing == Packing::kF16 ? float_to_half : float_to_bf16;
  for (uint64_t r = 0; r < spec.rows; ++r) {
    RETURN_IF_ERROR(source.head_row(r, b.row));
    for (uint64_t c = 0; c < spec.columns; ++c) {
      const uint16_t bits = convert(b.row[c]);
      if (spec.packing == Packing::kBf16 && !std::isfinite(bf16_to_float(bits)))
        return fail("row {}, column {} is {}, too large for bf16", r, c, b.row[c]);
      std::memcpy(b.matrix.data() + (r * spec.columns + c) * sizeof bits, &bits, sizeof bits);
    }
  }
  return {};
}

Status make_embedding(const TensorSpec& spec, WeightSource& source, Buffers& b) {
  std::vector<uint16_t> row(spec.columns);
  for (uint64_t r = 0; r < spec.rows; ++r) {
    RETURN_IF_ERROR(source.embedding_row(r, row));
    std::memcpy(b.matrix.data() + r * spec.columns * sizeof(uint16_t), row.data(), spec.columns * sizeof(uint16_t));
  }
  return {};
}

/// A float32 vector through `fill`.
template <class Fill>
Status make_norm(const TensorSpec& spec, Buffers& b, Fill fill) {
  b.row.resize(spec.columns);
  RETURN_IF_ERROR(fill(std::span(b.row)));
  std::memcpy(b.matrix.data(), b.row.data(), b.matrix.size());
  return {};
}

}  // namespace

float quantize_head_row(std::span<const float> row, std::span<int8_t> out) {
  float largest = 0;
  for (const float x : row) largest = std::max(largest, std::fabs(x));
  const float scale = largest / 127.0f;
  if (scale == 0) {  // a row of zeros, or of so little that the scale vanishes
    std::fill(out.begin(), out.end(), int8_t{0});
    return 1.0f;
  }
  for (size_t i = 0; i < row.size(); ++i)
    out[i] = static_cast<int8_t>(std::clamp(std::nearbyint(row[i] / scale), -127.0f, 127.0f));
  return scale;
}

Result<s1_25::Damage> sparse_damage(const ModelConfig& config, WeightSource& source) {
  constexpr uint64_t kRows = 64;
  s1_25::Damage damage;
  std::vector<int8_t> rows;
  for (uint32_t layer = 0; layer < config.layers; ++layer)
    for (const auto linear : kLinears) {
      const auto shape = shape_of(config, linear);
      RETURN_IF_ERROR(check_sparse_width(shape));
      for (uint64_t first = 0; first < shape.outputs; first += kRows) {
        const uint64_t count = std::min<uint64_t>(kRows, shape.outputs - first);
        rows.resize(count * shape.inputs);
        RETURN_IF_ERROR(source.ternary_rows(layer, linear, first, count, rows));
        s1_25::make_sparse(rows, damage);
      }
    }
  return damage;
}

Status write_model(const std::string& path, const ModelParts& parts, const ModelPackings& packings,
                   WeightSource& source, const WriteProgress& progress) {
  ASSIGN_OR_RETURN(auto writer,
                   H1bWriter::create(
                       path, parts,
                       model_tensors(parts.config, {packings.ternary, source.scale_granularity(), source.scale_group()},
                                     packings.head)));
  uint64_t total = 0, done = 0;
  for (const auto& spec : writer.tensors()) total += spec.bytes();
  Buffers b;
  size_t next = 0;
  // Makes one tensor with `make`, which fills the buffers from the source, and writes it.
  const auto write = [&](auto make) -> Status {
    const auto& spec = writer.tensors()[next++];
    if (progress) progress(done, total, spec.name);
    b.matrix.assign(spec.matrix_bytes(), std::byte{0});
    b.scales.assign(spec.scales(), 0.0f);
    if (Status status = make(spec); !status) return fail_in("tensor " + spec.name, status.error());
    done += spec.bytes();
    return writer.write_tensor(b.matrix, b.scales);
  };
  RETURN_IF_ERROR(write([&](const TensorSpec& spec) { return make_embedding(spec, source, b); }));
  for (uint32_t layer = 0; layer < parts.config.layers; ++layer) {
    for (const auto norm : norms_of(parts.config))
      RETURN_IF_ERROR(write([&](const TensorSpec& spec) {
        return make_norm(spec, b, [&](std::span<float> out) { return source.norm(layer, norm, out); });
      }));
    for (const auto linear : kLinears)
      RETURN_IF_ERROR(
          write([&](const TensorSpec& spec) { return make_linear(spec, layer, linear, packings, source, b); }));
  }
  RETURN_IF_ERROR(write([&](const TensorSpec& spec) {
    return make_norm(spec, b, [&](std::span<float> out) { return source.output_norm(out); });
  }));
  RETURN_IF_ERROR(write([&](const TensorSpec& spec) { return make_head(spec, source, b); }));
  RETURN_IF_ERROR(source.check_unchanged());
  if (progress) progress(total, total, "");
  return writer.finish();
}

}  // namespace onebit
