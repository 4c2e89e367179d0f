// Lists of numbers as benchmarks take them.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace onebit::halo {

/// "8", "1,2,4", "1-4" (each), "64-512+64" (in steps), "64-512*2" (by factors), and any of these with commas
/// between. Errors: anything else, more than 1,000 numbers.
Result<std::vector<uint32_t>> parse_number_list(std::string_view text);

}  // namespace onebit::halo
