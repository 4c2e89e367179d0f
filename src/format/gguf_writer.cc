#include "format/gguf_writer.h"

#include "base/atomic_file.h"

namespace onebit {
namespace {

template <class T>
void put_number(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}
void put_gguf_text(std::string& out, std::string_view text) {
  put_number<uint64_t>(out, text.size());
  out += text;
}

uint64_t aligned(uint64_t n) {
  return (n + gguf::kDefaultAlignment - 1) / gguf::kDefaultAlignment * gguf::kDefaultAlignment;
}

std::string header_of(const GgufMetadata& metadata, const std::vector<GgufEntry>& entries) {
  std::string out(gguf::kMagic, sizeof gguf::kMagic);
  put_number<uint32_t>(out, gguf::kVersion);
  put_number<uint64_t>(out, entries.size());
  put_number<uint64_t>(out, metadata.count());
  out += metadata.bytes();
  uint64_t offset = 0;
  for (const auto& e : entries) {
    put_gguf_text(out, e.name);
    const bool vector = e.rows == 1;
    put_number<uint32_t>(out, vector ? 1 : 2);
    put_number(out, e.columns);
    if (!vector) put_number(out, e.rows);
    put_number(out, e.type);
    put_number(out, offset);
    offset = aligned(offset + e.bytes());
  }
  out.resize(aligned(out.size()));
  return out;
}

}  // namespace

void GgufMetadata::begin(std::string_view key, gguf::Value type) {
  put_gguf_text(bytes_, key);
  put_number(bytes_, type);
  ++count_;
}
void GgufMetadata::begin_array(std::string_view key, gguf::Value type, uint64_t size) {
  begin(key, gguf::Value::kArray);
  put_number(bytes_, type);
  put_number(bytes_, size);
}
void GgufMetadata::add(std::string_view key, std::string_view value) {
  begin(key, gguf::Value::kString);
  put_gguf_text(bytes_, value);
}
void GgufMetadata::add(std::string_view key, const std::vector<std::string>& values) {
  begin_array(key, gguf::Value::kString, values.size());
  for (const auto& value : values) put_gguf_text(bytes_, value);
}
void GgufMetadata::add(std::string_view key, const std::vector<int32_t>& values) {
  begin_array(key, gguf::Value::kI32, values.size());
  for (const auto value : values) put_number(bytes_, value);
}
void GgufMetadata::add(std::string_view key, std::span<const float> values) {
  begin_array(key, gguf::Value::kF32, values.size());
  for (const auto value : values) put_number(bytes_, value);
}

Status write_gguf(const std::string& path, const GgufMetadata& metadata, const std::vector<GgufEntry>& entries,
                  const std::function<Status()>& check, const WriteProgress& progress) {
  constexpr uint64_t kPiece = 1 << 20;
  ASSIGN_OR_RETURN(auto file, AtomicFile::create(path));
  const auto header = header_of(metadata, entries);
  RETURN_IF_ERROR(file.write(std::as_bytes(std::span(header))));
  uint64_t total = header.size();
  for (const auto& e : entries) total += aligned(e.bytes());
  for (const auto& e : entries) {
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
  RETURN_IF_ERROR(check());
  return file.commit();
}

}  // namespace onebit
