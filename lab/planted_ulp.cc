// 1bit-server with one wrong bit: the smallest error there can be, for tests/e2e/burnin_test.sh, which shows that
// burn-in sees it. The first element of each head's attention is one unit in the last place too large.
//
// It takes select.cc's place, whose object file the linker then leaves out.
#define chosen_kernels sound_kernels
#include "kernels/cpu/select.cc"
#undef chosen_kernels

#include <cmath>

namespace onebit::cpu {
namespace {

const Kernels* sound = nullptr;

void planted_divide(const float* o, const float* l, uint32_t n, float* y) {
  sound->divide(o, l, n, y);
  y[0] = std::nextafter(y[0], INFINITY);
}

}  // namespace

Result<const Kernels*> chosen_kernels();
Result<const Kernels*> chosen_kernels() {
  static Kernels table;
  ASSIGN_OR_RETURN(sound, sound_kernels());
  table = *sound;
  table.divide = planted_divide;
  return &table;
}

}  // namespace onebit::cpu
