#include "grammar/json_string.h"

#include "grammar/regex.h"

namespace onebit::grammar {
namespace {

/// As JSON writes the characters that it does not take as they are.
struct Escape {
  uint8_t character;
  char letter;
};
constexpr Escape kEscapes[] = {{'"', '"'},  {'\\', '\\'}, {'\b', 'b'}, {'\f', 'f'},
                               {'\n', 'n'}, {'\r', 'r'},  {'\t', 't'}};

// Both halves of a surrogate pair or neither.
constexpr std::string_view kAnyString =
    R"("([^"\\\u0000-\u001f]|\\["\\/bfnrt]|\\u([0-9a-ce-fA-CE-F][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2}|)"
    R"([dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}))*")";

struct Format {
  std::string_view name, regex;
};

#define DAY                                                                                             \
  "(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|" \
  "02-(?:0[1-9]|1[0-9]|2[0-8]))|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)"
#define TIME "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,9})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
#define LABEL "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
#define BYTE "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
#define IPV4 "(?:" BYTE "\\.){3}" BYTE
#define H16 "[0-9a-fA-F]{1,4}"
#define DURATION_TIME "T(?:[0-9]{1,4}H(?:[0-9]{1,4}M(?:[0-9]{1,4}S)?)?|[0-9]{1,4}M(?:[0-9]{1,4}S)?|[0-9]{1,4}S)"
#define DURATION_DATE "(?:[0-9]{1,4}Y(?:[0-9]{1,4}M(?:[0-9]{1,4}D)?)?|[0-9]{1,4}M(?:[0-9]{1,4}D)?|[0-9]{1,4}D)"
#define ATOM "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,64}"
#define PATH_CHARACTER "[A-Za-z0-9._~!$&'()*+,;=:@-]"

constexpr Format kFormats[] = {
    {"date", DAY},
    {"time", TIME},
    {"date-time", DAY "T" TIME},
    {"duration", "P(?:" DURATION_DATE "(?:" DURATION_TIME ")?|" DURATION_TIME "|[0-9]{1,4}W)"},
    {"uuid", "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"},
    {"email", ATOM "(?:\\." ATOM "){0,3}@" LABEL "(?:\\." LABEL "){1,3}"},
    {"hostname", LABEL "(?:\\." LABEL "){0,3}"},
    {"ipv4", IPV4},
    {"ipv6", "(?:" H16 ":){7}" H16 "|::|::" H16 "(?::" H16 "){0,6}|" H16 "::(?:" H16 "(?::" H16 "){0,5})?|" H16 ":" H16
             "::(?:" H16 "(?::" H16 "){0,4})?|::ffff:" IPV4},
    {"uri", "(?:https?|ftp)://" LABEL "(?:\\." LABEL "){0,3}(?::[1-9][0-9]{0,4})?(?:/" PATH_CHARACTER
            "*)*(?:\\?" PATH_CHARACTER "*)?(?:#" PATH_CHARACTER "*)?"},
};

#undef DAY
#undef TIME
#undef LABEL
#undef BYTE
#undef IPV4
#undef H16
#undef DURATION_TIME
#undef DURATION_DATE
#undef ATOM
#undef PATH_CHARACTER

}  // namespace

Status append_any_string(Nfa& nfa, StateId from, StateId to, Budget& budget) {
  ASSIGN_OR_RETURN(const auto any, parse_regex(kAnyString));
  ASSIGN_OR_RETURN(const StateId end, append(nfa, from, any, budget));
  nfa.empty(end, to);
  return {};
}

void append_string(Nfa& nfa, StateId from, const Dfa& text, StateId to) {
  if (text.states.empty()) return;
  std::vector<StateId> ids;
  ids.reserve(text.states.size());
  for (size_t i = 0; i < text.states.size(); ++i) ids.push_back(nfa.add_state());
  nfa.bytes(from, '"', '"', ids[0]);
  const auto plain = [](size_t b) { return b >= 0x20 && b != '"' && b != '\\'; };
  for (size_t i = 0; i < text.states.size(); ++i) {
    const auto& state = text.states[i];
    if (state.final) nfa.bytes(ids[i], '"', '"', to);
    StateId escape = 0;
    for (const auto& edge : state.edges) {
      for (size_t low = edge.low; low <= edge.high; ++low) {
        if (!plain(low)) continue;
        size_t high = low;
        while (high < edge.high && plain(high + 1)) ++high;
        nfa.bytes(ids[i], static_cast<uint8_t>(low), static_cast<uint8_t>(high), ids[edge.to]);
        low = high;
      }
      for (const auto& e : kEscapes) {
        if (e.character < edge.low || e.character > edge.high) continue;
        if (escape == 0) {
          escape = nfa.add_state();
          nfa.bytes(ids[i], '\\', '\\', escape);
        }
        nfa.bytes(escape, static_cast<uint8_t>(e.letter), static_cast<uint8_t>(e.letter), ids[edge.to]);
      }
    }
  }
}

std::optional<std::string_view> format_regex(std::string_view name) {
  for (const auto& format : kFormats)
    if (format.name == name) return format.regex;
  return std::nullopt;
}

std::string format_names() {
  std::string names;
  for (const auto& format : kFormats) names += (names.empty() ? "" : ", ") + std::string(format.name);
  return names;
}

}  // namespace onebit::grammar
