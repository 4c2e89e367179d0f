// Colours where somebody sees them, and nowhere else.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>

namespace onebit::halo {

/// True where `stream` is a terminal that wants colours: not with NO_COLOR set (no-color.org) or TERM=dumb.
bool wants_colour(std::FILE* stream);

/// `text` in a dim or bold face where `stream` wants it; as it is elsewhere.
std::string dim(std::string_view text, std::FILE* stream);
std::string bold(std::string_view text, std::FILE* stream);

}  // namespace onebit::halo
