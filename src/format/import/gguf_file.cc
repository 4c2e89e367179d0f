#include "format/import/gguf_file.h"

#include <algorithm>
#include <cstring>
#include <fstream>

#include "base/utf8.h"

namespace onebit {
namespace {

using gguf::Value;

constexpr uint64_t kMaxNameBytes = 65535;  // of keys, as the format's description has it
constexpr uint64_t kMaxAlignment = 1 << 20;
/// The least that a key with its value, and a tensor's description, take.
constexpr uint64_t kLeastPair = 8 + 1 + 4 + 1, kLeastTensor = 8 + 1 + 4 + 8 + 4 + 8;

/// Reads from front to back; nothing where the bytes are used up.
class Cursor {
 public:
  explicit Cursor(std::span<const std::byte> bytes) : bytes_(bytes) {}

  template <class T>
  std::optional<T> number() {
    if (left() < sizeof(T)) return std::nullopt;
    T value{};
    std::memcpy(&value, bytes_.data() + at_, sizeof value);
    at_ += sizeof value;
    return value;
  }
  std::optional<std::span<const std::byte>> take(uint64_t bytes) {
    if (left() < bytes) return std::nullopt;
    at_ += bytes;
    return bytes_.subspan(at_ - bytes, bytes);
  }
  /// u64 length, then so many bytes.
  std::optional<std::string_view> text() {
    const auto length = number<uint64_t>();
    const auto bytes = length ? take(*length) : std::nullopt;
    if (!bytes) return std::nullopt;
    return std::string_view(reinterpret_cast<const char*>(bytes->data()), bytes->size());
  }
  uint64_t left() const { return bytes_.size() - at_; }
  uint64_t at() const { return at_; }

 private:
  std::span<const std::byte> bytes_;
  uint64_t at_ = 0;
};

constexpr std::string_view kCut = "the file ends here: it is cut short, or a length is wrong";
tl::unexpected<Error> cut() {
  return fail("{}", kCut);
}

/// `count` elements; of strings, each with its length.
Result<GgufValue> read_elements(Cursor& cursor, uint32_t type, uint64_t count, bool is_array) {
  if (type > static_cast<uint32_t>(Value::kF64)) return fail("value type is {}, expected 0 to 12", type);
  GgufValue value{static_cast<Value>(type), is_array, count, {}};
  if (value.type == Value::kArray) return fail("an array of arrays, which this version does not read");
  const uint64_t size = gguf::bytes_of(value.type);
  // A string takes at least its length's 8 bytes.
  if (count > cursor.left() / std::max<uint64_t>(size, size == 0 ? 8 : 1)) return cut();
  if (size != 0) {
    value.bytes = *cursor.take(count * size);
    return value;
  }
  Cursor end = cursor;
  for (uint64_t i = 0; i < count; ++i)
    if (!end.text()) return cut();
  value.bytes = *cursor.take(end.at() - cursor.at());
  return value;
}

Result<GgufValue> read_value(Cursor& cursor) {
  const auto type = cursor.number<uint32_t>();
  if (!type) return cut();
  if (*type != static_cast<uint32_t>(Value::kArray)) return read_elements(cursor, *type, 1, false);
  const auto element = cursor.number<uint32_t>();
  const auto count = element ? cursor.number<uint64_t>() : std::nullopt;
  if (!count) return cut();
  return read_elements(cursor, *element, *count, true);
}

/// Bytes of a tensor of this shape, or an error where they pass `limit`.
Result<uint64_t> bytes_of_shape(const GgufTensor& tensor, const gguf::TypeInfo& info, uint64_t limit) {
  if (tensor.columns() % info.block != 0)
    return fail("{} columns, expected a multiple of {} for {}", tensor.columns(), info.block, info.name);
  const uint64_t blocks = tensor.columns() / info.block;
  if (blocks > limit / info.block_bytes)
    return fail("shape needs more bytes than the {} of data: the file is cut short", limit);
  uint64_t bytes = blocks * info.block_bytes;
  for (size_t i = 1; i < tensor.shape.size(); ++i) {
    if (bytes > limit / tensor.shape[i])
      return fail("shape needs more bytes than the {} of data: the file is cut short", limit);
    bytes *= tensor.shape[i];
  }
  if (info.tail_bytes > limit - bytes)
    return fail("shape needs more bytes than the {} of data: the file is cut short", limit);
  return bytes + info.tail_bytes;
}

/// A tensor's description, and its offset.
Result<std::pair<GgufTensor, uint64_t>> read_tensor(Cursor& cursor) {
  const auto dimensions = cursor.number<uint32_t>();
  if (!dimensions) return cut();
  if (*dimensions < 1 || *dimensions > 4) return fail("{} dimensions, expected 1 to 4", *dimensions);
  GgufTensor tensor;
  for (uint32_t i = 0; i < *dimensions; ++i) {
    const auto n = cursor.number<uint64_t>();
    if (!n) return cut();
    if (*n == 0) return fail("dimension {} is 0", i);
    tensor.shape.push_back(*n);
  }
  const auto type = cursor.number<uint32_t>();
  const auto offset = type ? cursor.number<uint64_t>() : std::nullopt;
  if (!offset) return cut();
  tensor.type = *type;
  tensor.info = gguf::find_type(*type);
  return std::pair(std::move(tensor), *offset);
}

Status check_version(uint32_t version) {
  if (version == 2 || version == gguf::kVersion) return {};
  if (version == 1) return fail("GGUF version 1, which had other lengths; convert it anew with a current program");
  if (version != 0 && (version & 0xffffu) == 0)
    return fail("a big-endian GGUF file; this program reads little-endian ones");
  return fail("GGUF version {}, this version reads 2 and 3", version);
}

uint64_t aligned(uint64_t n, uint64_t alignment) {
  return (n + alignment - 1) / alignment * alignment;
}

template <class T>
T element(const GgufValue& value, uint64_t index) {
  T out{};
  std::memcpy(&out, value.bytes.data() + index * sizeof out, sizeof out);
  return out;
}

bool is_integer(Value type) {
  return type <= Value::kI32 || type == Value::kU64 || type == Value::kI64;
}

/// An element of any integer type; nothing for other types and for what does not fit.
std::optional<int64_t> integer(const GgufValue& value, uint64_t index) {
  switch (value.type) {
    case Value::kU8:
      return element<uint8_t>(value, index);
    case Value::kI8:
      return element<int8_t>(value, index);
    case Value::kU16:
      return element<uint16_t>(value, index);
    case Value::kI16:
      return element<int16_t>(value, index);
    case Value::kU32:
      return element<uint32_t>(value, index);
    case Value::kI32:
      return element<int32_t>(value, index);
    case Value::kI64:
      return element<int64_t>(value, index);
    case Value::kU64: {
      const auto n = element<uint64_t>(value, index);
      return n <= INT64_MAX ? std::optional(static_cast<int64_t>(n)) : std::nullopt;
    }
    default:
      return std::nullopt;
  }
}

}  // namespace

uint64_t GgufTensor::rows() const {
  uint64_t n = 1;
  for (size_t i = 1; i < shape.size(); ++i) n *= shape[i];
  return n;
}

std::span<const std::byte> GgufTensor::row(uint64_t index) const {
  const uint64_t size = columns() / info->block * info->block_bytes;
  return bytes.subspan(index * size, size);
}

bool GgufFile::is_gguf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  char magic[sizeof gguf::kMagic] = {};
  return file.read(magic, sizeof magic) && std::memcmp(magic, gguf::kMagic, sizeof magic) == 0;
}

Result<GgufFile> GgufFile::open(const std::string& path) {
  ASSIGN_OR_RETURN(auto mapped, MappedFile::open(path));
  GgufFile file(std::move(mapped));
  if (auto status = file.read(); !status) return fail_in(path, status.error());
  return file;
}

Status GgufFile::read() {
  Cursor cursor(file_.bytes());
  const auto magic = cursor.take(sizeof gguf::kMagic);
  if (!magic || std::memcmp(magic->data(), gguf::kMagic, sizeof gguf::kMagic) != 0) return fail("is no GGUF file");
  const auto version = cursor.number<uint32_t>();
  if (!version) return fail("header: {}", kCut);
  RETURN_IF_ERROR(check_version(*version));
  version_ = *version;
  const auto tensors = cursor.number<uint64_t>();
  const auto pairs = tensors ? cursor.number<uint64_t>() : std::nullopt;
  if (!pairs) return fail("header: {}", kCut);
  if (*pairs > cursor.left() / kLeastPair || *tensors > cursor.left() / kLeastTensor)
    return fail("header: {} tensors and {} keys are more than {} bytes can hold", *tensors, *pairs,
                file_.bytes().size());

  for (uint64_t i = 0; i < *pairs; ++i) {
    const auto key = cursor.text();
    if (!key) return fail("metadata {}: {}", i, kCut);
    if (key->empty() || key->size() > kMaxNameBytes)
      return fail("metadata {}: a key of {} bytes, expected 1 to {}", i, key->size(), kMaxNameBytes);
    auto value = read_value(cursor);
    if (!value) return fail("metadata {}: {}", printable(*key), value.error().message);
    if (!metadata_.emplace(*key, *value).second) return fail("metadata {}: stands twice", printable(*key));
  }

  std::vector<std::pair<uint64_t, std::string>> offsets;
  for (uint64_t i = 0; i < *tensors; ++i) {
    const auto name = cursor.text();
    if (!name) return fail("tensor {}: {}", i, kCut);
    if (name->empty() || name->size() > kMaxNameBytes)
      return fail("tensor {}: a name of {} bytes, expected 1 to {}", i, name->size(), kMaxNameBytes);
    auto read = read_tensor(cursor);
    if (!read) return fail("tensor {}: {}", printable(*name), read.error().message);
    if (!tensors_.emplace(*name, std::move(read->first)).second)
      return fail("tensor {}: stands twice", printable(*name));
    offsets.emplace_back(read->second, *name);
  }

  ASSIGN_OR_RETURN(const auto given, whole("general.alignment"));
  const uint64_t alignment = given.value_or(gguf::kDefaultAlignment);
  if (alignment == 0 || alignment % 8 != 0 || alignment > kMaxAlignment)
    return fail("metadata general.alignment: found {}, expected a multiple of 8 up to {}", alignment, kMaxAlignment);
  const auto bytes = file_.bytes();
  const uint64_t begin = std::min<uint64_t>(aligned(cursor.at(), alignment), bytes.size());
  return place_tensors(bytes.subspan(begin), alignment, std::move(offsets));
}

/// Gives each tensor its bytes of `data`.
Status GgufFile::place_tensors(std::span<const std::byte> data, uint64_t alignment,
                               std::vector<std::pair<uint64_t, std::string>> offsets) {
  std::sort(offsets.begin(), offsets.end());
  RETURN_IF_ERROR(choose_q2_0(offsets, data.size(), alignment));
  const std::pair<uint64_t, std::string>* before = nullptr;
  uint64_t end = 0;  // of all tensors so far
  for (const auto& entry : offsets) {
    const auto& [offset, name] = entry;
    auto& tensor = tensors_.find(name)->second;
    const auto refuse = [&](std::string_view why) { return fail("tensor {}: {}", printable(name), why); };
    if (offset % alignment != 0)
      return refuse(fmt::format("offset is {}, expected a multiple of {}", offset, alignment));
    if (offset >= data.size())
      return refuse(
          fmt::format("offset is {}, beyond the {} bytes of data: the file is cut short", offset, data.size()));
    if (before != nullptr && offset < end)
      return fail("tensors {} and {} overlap", printable(before->second), printable(name));
    uint64_t size = 1;  // at least
    if (tensor.info != nullptr) {
      const auto bytes = bytes_of_shape(tensor, *tensor.info, data.size());
      if (!bytes) return refuse(bytes.error().message);
      size = *bytes;
      if (size > data.size() - offset)
        return refuse(fmt::format("needs {} bytes from {} on, the file has {}: it is cut short", size, offset,
                                  data.size() - offset));
      tensor.bytes = data.subspan(offset, size);
    }
    before = &entry;
    end = offset + size;
  }
  return {};
}

/// Two layouts have Q2_0's number, and no field tells which: the distance to what follows does.
Status GgufFile::choose_q2_0(const std::vector<std::pair<uint64_t, std::string>>& offsets, uint64_t data_bytes,
                             uint64_t alignment) {
  bool of_64 = true, of_128 = true;  // all tensors are as far from the next as this layout makes them
  std::vector<GgufTensor*> found;
  for (size_t i = 0; i < offsets.size(); ++i) {
    auto& tensor = tensors_.find(offsets[i].second)->second;
    if (tensor.type != static_cast<uint32_t>(gguf::Type::kQ2_0)) continue;
    found.push_back(&tensor);
    const bool last = i + 1 == offsets.size();
    const uint64_t next = last ? data_bytes : offsets[i + 1].first;
    const auto fits = [&](const gguf::TypeInfo& info) {
      const auto bytes = bytes_of_shape(tensor, info, data_bytes);
      if (!bytes || offsets[i].first > next) return false;
      const uint64_t distance = next - offsets[i].first;
      return aligned(*bytes, alignment) == distance || (last && *bytes == distance);
    };
    of_64 = of_64 && fits(gguf::info_of(gguf::Type::kQ2_0));
    of_128 = of_128 && fits(gguf::q2_0_of_128());
  }
  if (!of_64 && of_128)
    for (auto* tensor : found) tensor->info = &gguf::q2_0_of_128();
  return {};
}

const GgufTensor* GgufFile::find(std::string_view name) const {
  const auto it = tensors_.find(name);
  return it == tensors_.end() ? nullptr : &it->second;
}

/// Null where there is none of this name.
Result<const GgufValue*> GgufFile::find_value(std::string_view key, bool array) const {
  const auto it = metadata_.find(key);
  if (it == metadata_.end()) return nullptr;
  if (it->second.is_array != array)
    return fail("{}: metadata {}: found {}, expected {}", path(), key, array ? "one value" : "an array",
                array ? "an array" : "one value");
  return &it->second;
}

Result<std::optional<uint64_t>> GgufFile::whole(std::string_view key) const {
  ASSIGN_OR_RETURN(const auto* value, find_value(key, false));
  if (value == nullptr) return std::nullopt;
  const auto n = integer(*value, 0);
  if (!n || *n < 0) return fail("{}: metadata {}: expected a whole number from 0", path(), key);
  return static_cast<uint64_t>(*n);
}

Result<std::optional<double>> GgufFile::number(std::string_view key) const {
  ASSIGN_OR_RETURN(const auto* value, find_value(key, false));
  if (value == nullptr) return std::nullopt;
  if (value->type == Value::kF32) return element<float>(*value, 0);
  if (value->type == Value::kF64) return element<double>(*value, 0);
  const auto n = integer(*value, 0);
  if (!n) return fail("{}: metadata {}: expected a number", path(), key);
  return static_cast<double>(*n);
}

Result<std::optional<bool>> GgufFile::boolean(std::string_view key) const {
  ASSIGN_OR_RETURN(const auto* value, find_value(key, false));
  if (value == nullptr) return std::nullopt;
  if (value->type != Value::kBool) return fail("{}: metadata {}: expected true or false", path(), key);
  return value->bytes[0] != std::byte{0};
}

Result<std::optional<std::string_view>> GgufFile::text(std::string_view key) const {
  ASSIGN_OR_RETURN(const auto* value, find_value(key, false));
  if (value == nullptr) return std::nullopt;
  if (value->type != Value::kString) return fail("{}: metadata {}: expected a text", path(), key);
  return Cursor(value->bytes).text();
}

Result<std::vector<std::string_view>> GgufFile::texts(std::string_view key) const {
  ASSIGN_OR_RETURN(const auto* value, find_value(key, true));
  std::vector<std::string_view> out;
  if (value == nullptr) return out;
  if (value->type != Value::kString) return fail("{}: metadata {}: expected an array of texts", path(), key);
  Cursor cursor(value->bytes);
  out.reserve(value->count);
  for (uint64_t i = 0; i < value->count; ++i) out.push_back(*cursor.text());
  return out;
}

Result<std::vector<int64_t>> GgufFile::wholes(std::string_view key) const {
  ASSIGN_OR_RETURN(const auto* value, find_value(key, true));
  std::vector<int64_t> out;
  if (value == nullptr) return out;
  const auto refuse = [&] { return fail("{}: metadata {}: expected an array of whole numbers", path(), key); };
  if (!is_integer(value->type)) return refuse();
  for (uint64_t i = 0; i < value->count; ++i) {
    const auto n = integer(*value, i);
    if (!n) return refuse();
    out.push_back(*n);
  }
  return out;
}

Result<std::vector<float>> GgufFile::floats(std::string_view key) const {
  ASSIGN_OR_RETURN(const auto* value, find_value(key, true));
  std::vector<float> out;
  if (value == nullptr) return out;
  if (value->type != Value::kF32) return fail("{}: metadata {}: expected an array of f32", path(), key);
  out.resize(value->count);
  if (out.empty()) return out;
  std::memcpy(out.data(), value->bytes.data(), value->bytes.size());
  return out;
}

}  // namespace onebit
