#include "base/hash.h"

#include <xxhash.h>

#include <memory>

namespace onebit {

uint64_t xxh3(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

uint64_t xxh3(std::initializer_list<std::span<const std::byte>> stretches) {
  const std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state(XXH3_createState(), XXH3_freeState);
  XXH3_64bits_reset(state.get());
  for (const auto& bytes : stretches) XXH3_64bits_update(state.get(), bytes.data(), bytes.size());
  return XXH3_64bits_digest(state.get());
}

}  // namespace onebit
