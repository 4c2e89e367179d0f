// One file of a host: in parallel ranges, going on where an earlier try ended, checked against its hash, under its name
// only when whole.
#pragma once

#include <functional>
#include <string>

#include "hub/fetch.h"
#include "hub/repo.h"

namespace onebit::hub {

/// Bytes that are there, of all of the file, and what is being done.
using DownloadProgress = std::function<void(uint64_t done, std::string_view phase)>;

struct DownloadSizes {
  uint64_t chunk = uint64_t{64} << 20;    // of a request's range
  uint64_t progress = uint64_t{1} << 20;  // bytes after which a failure does not count with those before
};

struct Download {
  std::string url;
  std::string path;  // where the file will be
  RepoFile file;
  std::string repo;  // OWNER/NAME, for errors
  DownloadSizes sizes{};
};

struct Downloaded {
  uint64_t kept = 0;      // bytes that an earlier try had left
  bool verified = false;  // false: the host told no hash
};

/// Beside `path` while it is not whole: PATH.part, as large as the file will be, and PATH.part.json, which says what of
/// it is there. Both stay after an interruption or a failure that another try may mend, and are taken up by that where
/// the size and hash are still the same and the host says that the file is (If-Range, ETag). A file that is at `path`
/// is kept where size and hash are right and replaced where not.
Result<Downloaded> download(Fetcher& fetcher, const HostOptions& options, const Download& what,
                            const DownloadProgress& progress);

/// Bytes on the disk of `path` or its unfinished part: what of `file` needs no more space.
uint64_t bytes_on_disk(const std::string& path);

}  // namespace onebit::hub
