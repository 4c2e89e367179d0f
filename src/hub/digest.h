// Hashes that a host names its files by.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace onebit::hub {

class Digest {
 public:
  static Digest sha256();
  /// SHA-1 of git's blob: a header with the size, then the contents.
  static Digest git_blob(uint64_t size);

  void update(std::span<const std::byte> bytes);
  /// In hex digits, lower case. The object is spent afterwards.
  std::string finish();

  Digest(Digest&&) noexcept;
  ~Digest();

 private:
  struct State;
  explicit Digest(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace onebit::hub
