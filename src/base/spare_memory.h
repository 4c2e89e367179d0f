// What the allocator keeps of memory that was freed.
#pragma once

namespace onebit {

/// Has the allocator keep little: one heap for all threads, and large pieces straight from the system. Otherwise each
/// thread has a heap that stays as large as it ever was, with few things in it. Before there are threads.
void keep_little_spare_memory();

/// Gives it back to the system, where the C library can. Takes milliseconds, and other threads that allocate wait.
void give_back_spare_memory();

}  // namespace onebit
