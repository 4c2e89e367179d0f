// Turns SIGBUS inside known mappings into a flag. Used by MappedFile only.
#pragma once

#include <cstddef>

namespace onebit::bus_guard {

/// Models and the shards of one conversion, with room to spare; the handler searches them all.
inline constexpr size_t kMostMappings = 512;

/// Registers [begin, begin + size). Returns a slot, or -1 where the table is full (kMostMappings).
int add(const void* begin, size_t size);
/// Call before the range is unmapped.
void remove(int slot);
/// True once a read inside the range met a page that the file no longer has.
bool faulted(int slot);

}  // namespace onebit::bus_guard
