// What the allocator keeps of memory that was freed.
#pragma once

namespace onebit {

/// Gives it back to the system, where the C library can. Takes milliseconds, and other threads that allocate wait.
void give_back_spare_memory();

}  // namespace onebit
