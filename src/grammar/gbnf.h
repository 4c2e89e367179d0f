// GBNF, llama.cpp's notation of grammars: rules of literals, character classes, groups, repetitions and other rules.
#pragma once

#include <string_view>

#include "grammar/program.h"

namespace onebit::grammar {

/// `root` becomes the first rule. Errors name the line and what is wrong there: a rule that is missing, a group or
/// class that does not end, what names tokens instead of text.
Result<Rules> parse_gbnf(std::string_view source, Budget& budget);

}  // namespace onebit::grammar
