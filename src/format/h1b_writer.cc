#include "format/h1b_writer.h"

#include <cmath>
#include <cstring>

#include "base/hash.h"
#include "base/utf8.h"

namespace onebit {
namespace {

constexpr uint64_t up_to_multiple(uint64_t value, uint64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

template <class T>
std::span<const std::byte> bytes_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

h1b::Config fixed_config(const ModelConfig& c) {
  h1b::Config f{};
  const bool bitnet = c.norms == NormChoice{.sub = true};
  f.architecture = bitnet ? h1b::kArchitectureBitnet : h1b::kArchitectureByFlags;
  f.activation = static_cast<uint32_t>(c.activation);
  f.layers = c.layers;
  f.hidden = c.hidden;
  f.heads = c.heads;
  f.kv_heads = c.kv_heads;
  f.head_dim = c.head_dim;
  f.ffn = c.ffn;
  f.vocabulary = c.vocabulary;
  f.context = c.context;
  f.rms_epsilon = c.rms_epsilon;
  f.flags = c.tied_head ? h1b::kConfigTiedHead : 0;
  if (!bitnet)
    f.flags |= (c.norms.sub ? h1b::kConfigSubNorms : 0) | (c.norms.heads ? h1b::kConfigHeadNorms : 0) |
               (c.norms.projections ? h1b::kConfigProjectionNorms : 0);
  f.rope_theta = c.rope_theta;
  f.pooling = static_cast<uint32_t>(c.pooling);
  return f;
}

std::string serialize(const Provenance& provenance) {
  std::string out;
  const auto put = [&](uint32_t value) { out.append(reinterpret_cast<const char*>(&value), sizeof value); };
  put(static_cast<uint32_t>(provenance.size()));
  for (const auto& [key, value] : provenance) {
    put(static_cast<uint32_t>(key.size()));
    put(static_cast<uint32_t>(value.size()));
    out += key;
    out += value;
  }
  return out;
}

h1b::DirectoryEntry fixed_entry(const TensorSpec& t, uint32_t name_offset) {
  h1b::DirectoryEntry e{};
  e.name_hash = xxh3(std::as_bytes(std::span(t.name)));
  e.name_offset = name_offset;
  e.name_bytes = static_cast<uint32_t>(t.name.size());
  e.kind = static_cast<uint32_t>(t.kind);
  e.packing = static_cast<uint32_t>(t.packing);
  e.tile = static_cast<uint32_t>(tile_of(t.packing));
  e.granularity = static_cast<uint32_t>(t.granularity);
  e.group = t.group;
  e.rows = t.rows;
  e.columns = t.columns;
  e.padded_rows = padded_rows(t.packing, t.rows);
  e.padded_columns = padded_columns(t.packing, t.columns);
  e.bytes = t.bytes();
  return e;
}

/// Count, entries without offsets and checksums, names.
std::vector<std::byte> directory_of(const std::vector<TensorSpec>& tensors) {
  const uint64_t names_at = sizeof(uint64_t) + tensors.size() * sizeof(h1b::DirectoryEntry);
  std::vector<std::byte> out(names_at);
  const uint64_t count = tensors.size();
  std::memcpy(out.data(), &count, sizeof count);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const auto entry = fixed_entry(tensors[i], static_cast<uint32_t>(out.size() - names_at));
    std::memcpy(out.data() + sizeof count + i * sizeof entry, &entry, sizeof entry);
    const auto name = std::as_bytes(std::span(tensors[i].name));
    out.insert(out.end(), name.begin(), name.end());
  }
  return out;
}

}  // namespace

std::string_view name_of(TensorKind kind) {
  switch (kind) {
    case TensorKind::kEmbedding:
      return "embedding";
    case TensorKind::kHead:
      return "head";
    case TensorKind::kLinear:
      return "linear";
    case TensorKind::kNorm:
      return "norm";
  }
  return "unknown";
}

Result<H1bWriter> H1bWriter::create(const std::string& path, const ModelParts& parts, std::vector<TensorSpec> tensors) {
  RETURN_IF_ERROR(validate(parts.config));
  RETURN_IF_ERROR(validate(parts.tokenizer));
  if (parts.tokenizer.tokens.size() != parts.config.vocabulary)
    return fail("tokenizer: {} tokens, expected the config's vocabulary of {}", parts.tokenizer.tokens.size(),
                parts.config.vocabulary);
  for (const auto& [key, value] : parts.provenance)
    if (!utf8_valid(key) || !utf8_valid(value)) return fail("provenance: {} is not UTF-8", printable(key));
  ASSIGN_OR_RETURN(auto file, AtomicFile::create(path));
  H1bWriter writer(std::move(file), std::move(tensors));
  writer.directory_ = directory_of(writer.tensors_);
  auto& header = writer.header_;
  RETURN_IF_ERROR(writer.file_.write(bytes_of(header)));  // its place; the contents come last
  const auto config = fixed_config(parts.config);
  const auto tokenizer = serialize(parts.tokenizer);
  const auto rope = rope_tables(parts.config, parts.rope);
  const auto provenance = serialize(parts.provenance);
  RETURN_IF_ERROR(writer.write_section(header.config, bytes_of(config)));
  RETURN_IF_ERROR(writer.write_section(header.directory, writer.directory_));
  RETURN_IF_ERROR(writer.write_section(header.tokenizer, std::as_bytes(std::span(tokenizer))));
  RETURN_IF_ERROR(writer.write_section(header.rope, std::as_bytes(std::span(rope))));
  RETURN_IF_ERROR(writer.write_section(header.provenance, std::as_bytes(std::span(provenance))));
  RETURN_IF_ERROR(writer.pad_to(up_to_multiple(writer.file_.position(), h1b::kTensorAlignment)));
  header.data_offset = writer.file_.position();
  return writer;
}

Status H1bWriter::write_section(h1b::Section& section, std::span<const std::byte> bytes) {
  RETURN_IF_ERROR(pad_to(up_to_multiple(file_.position(), h1b::kSectionAlignment)));
  section = {file_.position(), bytes.size(), xxh3(bytes)};
  return file_.write(bytes);
}

Status H1bWriter::pad_to(uint64_t offset) {
  const std::vector<std::byte> zeros(offset - file_.position());
  return file_.write(zeros);
}

Status H1bWriter::write_tensor(std::span<const std::byte> matrix, std::span<const float> scales) {
  if (written_ == tensors_.size()) return fail("internal: more tensors written than were announced");
  const auto& spec = tensors_[written_];
  if (matrix.size() != spec.matrix_bytes() || scales.size() != spec.scales())
    return fail("internal: tensor {}: {} bytes and {} scales given, expected {} and {}", spec.name, matrix.size(),
                scales.size(), spec.matrix_bytes(), spec.scales());
  std::vector<std::byte> tail;  // padding and scales
  if (!scales.empty()) {
    tail.resize(spec.bytes() - matrix.size());
    std::memcpy(tail.data() + (scales_offset(matrix.size()) - matrix.size()), scales.data(), scales.size_bytes());
  }
  h1b::DirectoryEntry entry;
  std::byte* slot = directory_.data() + sizeof(uint64_t) + written_ * sizeof entry;
  std::memcpy(&entry, slot, sizeof entry);
  entry.offset = file_.position();
  entry.xxh3 = xxh3({matrix, tail});
  std::memcpy(slot, &entry, sizeof entry);
  ++written_;
  RETURN_IF_ERROR(file_.write(matrix));
  RETURN_IF_ERROR(file_.write(tail));
  return pad_to(up_to_multiple(file_.position(), h1b::kTensorAlignment));
}

Status H1bWriter::finish() {
  if (written_ != tensors_.size()) return fail("internal: {} of {} tensors written", written_, tensors_.size());
  std::memcpy(header_.magic, h1b::kMagic, sizeof h1b::kMagic);
  header_.version = h1b::kVersion;
  header_.header_bytes = sizeof(h1b::Header);
  header_.file_bytes = file_.position();
  header_.directory.xxh3 = xxh3(directory_);
  header_.xxh3 = xxh3(bytes_of(header_).first(offsetof(h1b::Header, xxh3)));
  RETURN_IF_ERROR(file_.write_at(header_.directory.offset, directory_));
  RETURN_IF_ERROR(file_.write_at(0, bytes_of(header_)));
  return file_.commit();
}

}  // namespace onebit
