// Strings as JSON writes them, and what JSON Schema's formats mean.
#pragma once

#include <optional>
#include <string_view>

#include "grammar/expression.h"

namespace onebit::grammar {

/// Between `from` and `to`, in quotes: any string, with every escape that JSON has.
Status append_any_string(Nfa& nfa, StateId from, StateId to, Budget& budget);
/// The strings whose UTF-8 the automaton matches; what has to be escaped is, by the short escapes only.
void append_string(Nfa& nfa, StateId from, const Dfa& text, StateId to);

/// A format as a regular expression that the whole text matches; none where the format is not known.
std::optional<std::string_view> format_regex(std::string_view format);
/// "date, time, …": those that are.
std::string format_names();

}  // namespace onebit::grammar
