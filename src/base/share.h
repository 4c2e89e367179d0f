// Work that several processes share, each started with the same arguments: by mpirun, or by hand on several machines.
// They speak to each other through files of a folder that all of them see, one for each share: who computes a share
// holds its file's lock, so that the share of a process that is gone is free again, with all it had done.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace onebit {

/// This process's part: items index, index + count, index + 2 count, … of what all do.
struct Share {
  uint32_t index = 0;
  uint32_t count = 1;

  bool whole() const { return count == 1; }
  /// How many of `items` it has.
  uint64_t of(uint64_t items) const { return items <= index ? 0 : (items - index - 1) / count + 1; }
  /// The file of the share at `index`, beside that of all.
  std::string path(const std::string& all) const;
};

/// "I/N", I from 0. Errors: not of this form, or I is not below N.
Result<Share> parse_share(std::string_view text);
/// What Open MPI's mpirun says that this process is (OMPI_COMM_WORLD_RANK, _SIZE); the whole without it.
Result<Share> share_of_environment();

/// Does every share of own.count: its own, then whatever nobody is at. `work` does one to its end, from where its file
/// ends, and says true; or, since another process holds it, false, and is asked again after `pause_ms`. Returns when
/// all are done, by whomever, or with the first error of `work`.
Status do_shares(Share own, const std::function<Result<bool>(Share)>& work, int pause_ms = 200);

}  // namespace onebit
