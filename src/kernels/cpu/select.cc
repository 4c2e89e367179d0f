#include "kernels/cpu/select.h"

#include <cstdlib>
#include <vector>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace onebit::cpu {
namespace {

#if defined(__x86_64__)

struct CpuId {
  unsigned a = 0, b = 0, c = 0, d = 0;
};

CpuId cpuid(unsigned leaf, unsigned subleaf) {
  CpuId id;
  if (__get_cpuid_count(leaf, subleaf, &id.a, &id.b, &id.c, &id.d) == 0) return {};
  return id;
}

/// The registers that the operating system saves: without that, CPUID's word is not enough.
unsigned saved_registers() {
  if ((cpuid(1, 0).c & bit_OSXSAVE) == 0) return 0;
  unsigned low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

bool has(unsigned word, unsigned bits) {
  return (word & bits) == bits;
}

struct Features {
  bool avx2 = false, avx_vnni = false, avx512 = false;

  Features() {
    constexpr unsigned kYmm = 0x6, kZmm = 0xe6;
    constexpr unsigned kAvxVnni = 1u << 4;  // leaf 7.1 eax; not in every cpuid.h
    const unsigned saved = saved_registers();
    const auto one = cpuid(1, 0), seven = cpuid(7, 0), seven_one = cpuid(7, 1);
    avx2 = has(saved, kYmm) && has(one.c, bit_FMA | bit_F16C | bit_AVX) && has(seven.b, bit_AVX2);
    avx_vnni = avx2 && has(seven_one.a, kAvxVnni);
    avx512 = avx2 && has(saved, kZmm) && has(seven.b, bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL) &&
             has(seven.c, bit_AVX512VBMI | bit_AVX512VNNI);
  }
};

#endif

std::vector<const Kernels*> find_usable() {
  std::vector<const Kernels*> usable;
  const auto add = [&](bool runs, const Kernels* kernels) {
    if (runs && kernels != nullptr) usable.push_back(kernels);
  };
#if defined(__x86_64__)
  const Features features;
  add(features.avx512, avx512_kernels());
  add(features.avx_vnni, avx2_vnni_kernels());
  add(features.avx2, avx2_kernels());
#elif defined(__aarch64__) && defined(__linux__)
  add((::getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0, neon_kernels());
#endif
  add(true, scalar_kernels());
  return usable;
}

}  // namespace

std::span<const Kernels* const> usable_kernels() {
  static const auto usable = find_usable();
  return usable;
}

Result<const Kernels*> kernels_by_name(std::string_view name) {
  std::string names;
  for (const auto* kernels : usable_kernels()) {
    if (kernels->name == name) return kernels;
    names += (names.empty() ? "" : ", ") + std::string(kernels->name);
  }
  return fail("instruction set '{}': this machine runs {}", name, names);
}

Result<const Kernels*> chosen_kernels() {
  const char* wish = std::getenv("HALO_ISA");
  if (wish == nullptr || *wish == '\0') return usable_kernels().front();
  auto kernels = kernels_by_name(wish);
  if (!kernels) return fail("HALO_ISA: {}", kernels.error().message);
  return kernels;
}

const Kernels& best_kernels() {
  return *usable_kernels().front();
}

}  // namespace onebit::cpu
