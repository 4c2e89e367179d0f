// Which of the CPU's instruction sets gen-2 uses.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "kernels/cpu/cpu_kernels.h"

namespace onebit::cpu {

/// The tables that this machine can run, best first; never empty.
std::span<const Kernels* const> usable_kernels();

/// By name (avx512, avx2-vnni, avx2, neon, scalar). Errors: an unknown name, one this machine cannot run.
Result<const Kernels*> kernels_by_name(std::string_view name);

/// What $HALO_ISA names, or the best. An $HALO_ISA that cannot be followed is an error.
Result<const Kernels*> chosen_kernels();

/// The best of this machine.
const Kernels& best_kernels();

}  // namespace onebit::cpu
