// The hash tables' seed, the same in every run of a fuzz target, so that a finding repeats itself.
#include <unistd.h>

#include <cstring>

extern "C" int getentropy(void* buffer, size_t length) {
  std::memset(buffer, 0x5a, length);
  return 0;
}
