#include "base/spare_memory.h"

#include <cstdlib>  // says which C library it is
#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace onebit {

void give_back_spare_memory() {
#ifdef __GLIBC__
  ::malloc_trim(0);
#endif
}

}  // namespace onebit
