// H1bFile::verify: the checks that read every byte.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/half.h"
#include "base/hash.h"
#include "format/h1b_file.h"

namespace onebit {
namespace {

/// Index of the first value that is not finite; -1 where all are.
template <class Element, class ToFloat>
int64_t first_non_finite(std::span<const std::byte> bytes, ToFloat to_float) {
  for (size_t i = 0; i < bytes.size() / sizeof(Element); ++i) {
    Element element;
    std::memcpy(&element, bytes.data() + i * sizeof element, sizeof element);
    if (!std::isfinite(to_float(element))) return static_cast<int64_t>(i);
  }
  return -1;
}

int64_t first_non_finite(const Tensor& t) {
  switch (t.packing) {
    case Packing::kF32:
      return first_non_finite<float>(t.matrix, [](float v) { return v; });
    case Packing::kF16:
      return first_non_finite<uint16_t>(t.matrix, half_to_float);
    default:
      return first_non_finite<uint16_t>(t.matrix, bf16_to_float);
  }
}

Status verify_values(const Tensor& t) {
  if (tile_of(t.packing) == Tile::kRowMajor) {
    if (const int64_t at = first_non_finite(t); at >= 0) return fail("value {} is not a finite number", at);
    return {};
  }
  if (const int64_t block = first_invalid_block(t.packing, t.matrix, t.rows, t.columns); block >= 0)
    return fail("block {} holds an invalid {} code or padding other than 0", block, name_of(t.packing));
  for (size_t i = 0; i < t.scale_values.size(); ++i)
    if (!std::isfinite(t.scale_values[i]) || t.scale_values[i] < 0.0f)
      return fail("scale {} is {}, expected a finite number from 0", i, t.scale_values[i]);
  return {};
}

}  // namespace

Status H1bFile::verify(const Progress& progress) const {
  auto status = verify_bytes(progress);
  RETURN_IF_ERROR(file_.check_unchanged());  // the better explanation of a mismatch
  return status;
}

Status H1bFile::verify_bytes(const Progress& progress) const {
  const auto bytes = file_.bytes();
  const uint64_t total = bytes.size();
  for (const auto& t : tensors_) {
    if (progress) progress(t.offset, total);
    if (const uint64_t hash = onebit::xxh3(t.data); hash != t.xxh3)
      return fail(
          "{}: tensor {}: checksum mismatch (expected {:016x}, read {:016x}): the file is damaged; convert or "
          "download it again",
          path(), t.name, t.xxh3, hash);
    if (auto status = verify_values(t); !status)
      return fail("{}: tensor {}: {}", path(), t.name, status.error().message);
  }
  for (size_t i = 0; i < rope_.size(); ++i)
    if (!(std::fabs(rope_[i]) <= 1.0f)) return fail("{}: rope: value {} is {}, expected -1 to 1", path(), i, rope_[i]);
  uint64_t from = 0;  // what no checksum covers must be zero
  auto parts = parts_;
  parts.emplace_back(total, total);
  for (const auto& [begin, end] : parts) {
    const auto gap = bytes.subspan(from, begin - from);
    const auto it = std::find_if(gap.begin(), gap.end(), [](std::byte b) { return b != std::byte{0}; });
    if (it != gap.end())
      return fail("{}: padding: byte {} is not 0: the file is damaged; convert or download it again", path(),
                  from + static_cast<uint64_t>(it - gap.begin()));
    from = end;
  }
  if (auto data = tokenizer(); !data) return tl::unexpected(data.error());
  if (progress) progress(total, total);
  return {};
}

}  // namespace onebit
