#include "hub/part_record.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/mapped_file.h"
#include "format/import/json.h"

namespace onebit::hub {
namespace {

using nlohmann::json;

constexpr std::string_view kPart = ".part", kRecord = ".part.json";

uint64_t number_at(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_number_unsigned() ? it->get<uint64_t>() : 0;
}

std::string string_at(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

}  // namespace

std::string part_path(const std::string& path) {
  return path + std::string(kPart);
}
std::string record_path(const std::string& path) {
  return path + std::string(kRecord);
}

std::string to_json(const PartRecord& record) {
  return json{{"size", record.size},         {"chunk", record.chunk}, {"sha256", record.sha256},
              {"git_sha1", record.git_sha1}, {"etag", record.etag},   {"done", record.done}}
      .dump(-1, ' ', true, json::error_handler_t::replace);
}

Result<PartRecord> parse_part_record(std::string_view text, std::string_view what) {
  ASSIGN_OR_RETURN(const auto root, parse_json_object(text, what));
  PartRecord record{.size = number_at(root, "size"),
                    .chunk = number_at(root, "chunk"),
                    .sha256 = string_at(root, "sha256"),
                    .git_sha1 = string_at(root, "git_sha1"),
                    .etag = string_at(root, "etag"),
                    .done = {}};
  const auto done = root.find("done");
  if (record.chunk == 0 || done == root.end() || !done->is_array()) return fail("{}: is no record of a download", what);
  const uint64_t chunks = record.size / record.chunk + (record.size % record.chunk > 0 ? 1 : 0);
  if (chunks > kMostChunks || done->size() != chunks)
    return fail("{}: has {} pieces, which do not make {} bytes", what, done->size(), record.size);
  for (uint64_t begin = 0; const auto& value : *done) {
    const uint64_t most = std::min(record.chunk, record.size - begin);
    if (!value.is_number_unsigned() || value.get<uint64_t>() > most)
      return fail("{}: a piece has more than its {} bytes", what, most);
    record.done.push_back(value.get<uint64_t>());
    begin += most;
  }
  return record;
}

uint64_t fetched_bytes(const std::string& folder) {
  uint64_t sum = 0;
  std::error_code error;
  for (auto it = std::filesystem::recursive_directory_iterator(folder, error);
       !error && it != std::filesystem::recursive_directory_iterator(); it.increment(error)) {
    const auto path = it->path().string();
    std::error_code ignored;
    if (path.ends_with(kPart) || !it->is_regular_file(ignored)) continue;
    if (!path.ends_with(kRecord)) {
      const auto size = it->file_size(ignored);
      if (!ignored) sum += size;
      continue;
    }
    const auto text = read_text_file(path, kMostRecordBytes);
    const auto record = text ? parse_part_record(*text, path) : Result<PartRecord>(fail(""));
    if (record)
      for (const uint64_t done : record->done) sum += done;
  }
  return sum;
}

}  // namespace onebit::hub
