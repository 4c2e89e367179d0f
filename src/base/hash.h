// XXH3, 64 bits, seed 0: the checksum of every part of a model file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>

namespace onebit {

uint64_t xxh3(std::span<const std::byte> bytes);
/// Of several stretches one after another.
uint64_t xxh3(std::initializer_list<std::span<const std::byte>> stretches);

}  // namespace onebit
