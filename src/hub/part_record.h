// What of an unfinished download is there: the record beside it, PATH.part.json. Whoever reads it takes it for any
// bytes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace onebit::hub {

struct PartRecord {
  uint64_t size = 0;             // of the whole file
  uint64_t chunk = 0;            // the file is cut into pieces of so many bytes, the last one of what is left
  std::string sha256, git_sha1;  // as the host listed them
  std::string etag;              // as it came with what is there
  std::vector<uint64_t> done;    // of each piece, bytes from its beginning
};

inline constexpr size_t kMostChunks = size_t{1} << 16;
inline constexpr size_t kMostRecordBytes = size_t{4} << 20;  // that are read

/// The file and the record of a download to `path`.
std::string part_path(const std::string& path);
std::string record_path(const std::string& path);

std::string to_json(const PartRecord& record);
/// Errors: not to be understood, or pieces that do not fit the size.
Result<PartRecord> parse_part_record(std::string_view json, std::string_view what);

/// Of all downloads in a folder, finished or not, as their records tell.
uint64_t fetched_bytes(const std::string& folder);

}  // namespace onebit::hub
