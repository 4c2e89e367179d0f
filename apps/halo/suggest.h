// What somebody probably meant to type.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace onebit::halo {

/// The candidate at the smallest edit distance (insertions, deletions, substitutions, swaps of neighbours), if it
/// is near enough to be a slip: at most 2, and less than half of the word. Empty otherwise.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace onebit::halo
