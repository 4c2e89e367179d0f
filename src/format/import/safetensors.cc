#include "format/import/safetensors.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "base/utf8.h"
#include "format/import/json.h"

namespace onebit {
namespace {

using nlohmann::json;

std::optional<DType> dtype_by_name(std::string_view name) {
  if (name == "U8") return DType::kU8;
  if (name == "F16") return DType::kF16;
  if (name == "BF16") return DType::kBf16;
  if (name == "F32") return DType::kF32;
  return std::nullopt;
}

/// The array of non-negative integers at `key`.
Result<std::vector<uint64_t>> read_numbers(const json& entry, const char* key) {
  const auto it = entry.find(key);
  if (it == entry.end() || !it->is_array()) return fail("{} is missing or no array", key);
  std::vector<uint64_t> numbers;
  for (const auto& n : *it) {
    if (!n.is_number_unsigned()) return fail("{} holds {}, expected whole numbers from 0", key, printable(n.dump()));
    numbers.push_back(n.get<uint64_t>());
  }
  return numbers;
}

/// Product of the shape times the element's size, or an error where it passes `limit`.
Result<uint64_t> bytes_of_shape(const std::vector<uint64_t>& shape, DType dtype, uint64_t limit) {
  uint64_t bytes = element_bytes(dtype);
  for (const uint64_t n : shape) {
    if (n == 0) return 0;
    if (bytes > limit / n) return fail("shape needs more bytes than the file's {}", limit);
    bytes *= n;
  }
  return bytes;
}

/// One entry of the header, its bytes inside `data`; nothing for a type that is not imported.
Result<std::optional<SourceTensor>> read_entry(const json& entry, std::span<const std::byte> data) {
  if (!entry.is_object()) return fail("entry is no object");
  const auto type = entry.find("dtype");
  if (type == entry.end() || !type->is_string()) return fail("dtype is missing or no string");
  ASSIGN_OR_RETURN(auto shape, read_numbers(entry, "shape"));
  ASSIGN_OR_RETURN(const auto offsets, read_numbers(entry, "data_offsets"));
  if (shape.size() > 8) return fail("shape has {} dimensions, expected at most 8", shape.size());
  if (offsets.size() != 2) return fail("data_offsets has {} numbers, expected 2", offsets.size());
  if (offsets[0] > offsets[1] || offsets[1] > data.size())
    return fail("data_offsets is [{}, {}], expected a range inside the {} bytes of data", offsets[0], offsets[1],
                data.size());
  const auto dtype = dtype_by_name(type->get_ref<const std::string&>());
  if (!dtype) return std::nullopt;
  ASSIGN_OR_RETURN(const uint64_t bytes, bytes_of_shape(shape, *dtype, data.size()));
  if (bytes != offsets[1] - offsets[0])
    return fail("data_offsets cover {} bytes, expected {} for the shape", offsets[1] - offsets[0], bytes);
  return SourceTensor{*dtype, std::move(shape), data.subspan(offsets[0], bytes)};
}

/// Two tensors that share bytes mean a damaged or made-up header.
Status check_overlaps(const std::vector<std::pair<uint64_t, std::string>>& begins,
                      const std::map<std::string, uint64_t>& ends) {
  for (size_t i = 1; i < begins.size(); ++i)
    if (begins[i].first < ends.at(begins[i - 1].second))
      return fail("tensors {} and {} overlap", printable(begins[i - 1].second), printable(begins[i].second));
  return {};
}

/// A name, not a path: an index must not reach files outside its folder.
bool is_file_name(const std::string& name) {
  constexpr size_t kLongest = 255;  // that file systems take
  const auto unfit = [](char c) { return c == '/' || static_cast<unsigned char>(c) < ' ' || c == 0x7f; };
  return !name.empty() && name.size() <= kLongest && name != "." && name != ".." &&
         std::none_of(name.begin(), name.end(), unfit);
}

}  // namespace

std::string_view name_of(DType dtype) {
  constexpr std::array names{"U8", "F16", "BF16", "F32"};
  return names[static_cast<size_t>(dtype)];
}

size_t element_bytes(DType dtype) {
  constexpr std::array<size_t, 4> sizes{1, 2, 2, 4};
  return sizes[static_cast<size_t>(dtype)];
}

Status Safetensors::add(const std::string& path) {
  ASSIGN_OR_RETURN(auto file, MappedFile::open(path));
  const auto bytes = file.bytes();
  uint64_t header_bytes = 0;
  if (bytes.size() < sizeof header_bytes)
    return fail("{}: {} bytes, too short for a safetensors file", path, bytes.size());
  std::memcpy(&header_bytes, bytes.data(), sizeof header_bytes);
  if (header_bytes > std::min<uint64_t>(bytes.size() - sizeof header_bytes, kMaxJsonBytes))
    return fail("{}: header length is {}, expected at most {}: not a safetensors file, or cut short", path,
                header_bytes, std::min<uint64_t>(bytes.size() - sizeof header_bytes, kMaxJsonBytes));
  const auto* text = reinterpret_cast<const char*>(bytes.data()) + sizeof header_bytes;
  ASSIGN_OR_RETURN(const auto header, parse_json_object({text, header_bytes}, path));
  const auto data = bytes.subspan(sizeof header_bytes + header_bytes);
  std::vector<std::pair<uint64_t, std::string>> begins;
  std::map<std::string, uint64_t> ends;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    auto read = read_entry(entry, data);
    if (!read) return fail("{}: tensor {}: {}", path, printable(name), read.error().message);
    const std::optional<SourceTensor>& tensor = *read;
    if (!tensor) {
      other_types_.emplace(name, entry["dtype"].get<std::string>());
      continue;
    }
    if (!tensor->bytes.empty()) {
      const auto begin = static_cast<uint64_t>(tensor->bytes.data() - data.data());
      begins.emplace_back(begin, name);
      ends[name] = begin + tensor->bytes.size();
    }
    if (!tensors_.emplace(name, *tensor).second)
      return fail("{}: tensor {}: stands in two files", path, printable(name));
  }
  std::sort(begins.begin(), begins.end());
  if (auto status = check_overlaps(begins, ends); !status) return fail_in(path, status.error());
  files_.push_back(std::move(file));
  return {};
}

Result<Safetensors> Safetensors::open_file(const std::string& path) {
  Safetensors result;
  result.path_ = path;
  RETURN_IF_ERROR(result.add(path));
  return result;
}

Result<Safetensors> Safetensors::open_folder(const std::string& folder) {
  const auto in_folder = [&](std::string_view name) { return (std::filesystem::path(folder) / name).string(); };
  std::error_code ignored;
  const auto index_path = in_folder("model.safetensors.index.json");
  if (!std::filesystem::exists(index_path, ignored)) {
    if (!std::filesystem::exists(in_folder("model.safetensors"), ignored))
      return fail("{}: no model.safetensors and no model.safetensors.index.json in this folder", folder);
    return open_file(in_folder("model.safetensors"));
  }
  ASSIGN_OR_RETURN(const auto text, read_text_file(index_path, kMaxJsonBytes));
  ASSIGN_OR_RETURN(const auto index, parse_json_object(text, index_path));
  const auto map = index.find("weight_map");
  if (map == index.end() || !map->is_object()) return fail("{}: weight_map is missing or no object", index_path);
  std::set<std::string> shards;
  for (const auto& [name, shard] : map->items()) {
    if (!shard.is_string()) return fail("{}: weight_map: {} is no file name", index_path, printable(name));
    const auto& file = shard.get_ref<const std::string&>();
    if (!is_file_name(file))
      return fail("{}: weight_map: {} names '{}', expected a file in this folder", index_path, printable(name),
                  printable(file));
    shards.insert(file);
  }
  Safetensors result;
  result.path_ = folder;
  for (const auto& shard : shards) RETURN_IF_ERROR(result.add(in_folder(shard)));
  for (const auto& [name, shard] : map->items())
    if (result.find(name) == nullptr && result.other_type(name).empty())
      return fail("{}: weight_map: tensor {} is not in {}", index_path, printable(name),
                  printable(shard.get_ref<const std::string&>()));
  return result;
}

Status Safetensors::check_unchanged() const {
  for (const auto& file : files_) RETURN_IF_ERROR(file.check_unchanged());
  return {};
}

const SourceTensor* Safetensors::find(std::string_view name) const {
  const auto it = tensors_.find(name);
  return it == tensors_.end() ? nullptr : &it->second;
}

std::string_view Safetensors::other_type(std::string_view name) const {
  const auto it = other_types_.find(name);
  return it == other_types_.end() ? std::string_view() : it->second;
}

}  // namespace onebit
