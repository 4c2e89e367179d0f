// What all three implementations of the shim (gpu_api.h) describe in the same words.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace onebit::gpu {

inline constexpr uint32_t kWarp = 32;

/// The first error of a chain of calls; the later ones do nothing. Errors tells about the runtime's errors: Type (its
/// default is success), good(error), out_of_memory(error), text(error), and forget(), for what the runtime remembers.
template <class Errors>
class BasicOutcome {
 public:
  bool ok() const { return Errors::good(error_); }
  bool out_of_memory() const { return Errors::out_of_memory(error_); }
  std::string text() const { return Errors::text(error_); }
  void take(typename Errors::Type error) {
    if (ok()) error_ = std::move(error);
  }
  /// For errors that leave the device sound.
  void clear() {
    error_ = {};
    Errors::forget();
  }

 private:
  typename Errors::Type error_{};
};

struct DeviceProperties {
  std::string name, architecture;
  uint32_t multiprocessors = 0;
  uint64_t shared_bytes = 0;  // that a block may ask for
  uint64_t memory_bytes = 0, free_bytes = 0;
  uint64_t l2_bytes = 0;
  bool integrated = false;  // shares the host's memory
};

struct LaunchShape {
  uint32_t blocks = 1, threads = 1;
  uint64_t shared_bytes = 0;
  /// All blocks are on the device at once, so they may wait for each other.
  bool together = false;
  /// May begin before the kernels launched before it have ended: it calls wait_for_earlier() before it reads what they
  /// wrote or writes what they read. Each of them called let_next_begin() or has ended by then.
  bool early = false;
};

}  // namespace onebit::gpu
