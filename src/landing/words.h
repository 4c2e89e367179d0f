// Words of strangers, such as a model's name, made fit to be shown.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace onebit::landing {

/// `text` as valid UTF-8 of at most `limit` bytes, cut between characters. What shows nothing by itself but changes
/// what stands around it (controls, marks of direction, joiners, ends of lines, tags) and what is no character becomes
/// U+FFFD, a whole run of them one.
std::string fit_to_show(std::string_view text, size_t limit = 200);

}  // namespace onebit::landing
