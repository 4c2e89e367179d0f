// What a request asks of its answer's form: response_format, grammar, regex, choice and their other names.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "grammar/grammar_cache.h"
#include "server/fields.h"

namespace onebit::server {

/// A form as a grammar's source.
struct Structure {
  grammar::Language language;
  std::string source;
  std::string field;  // that asked for it
};

/// None where nothing is asked for. `body` is the request's text, whose order of members counts. Faults: two forms at
/// once, a form that cannot be.
std::optional<Structure> read_structure(Fields& fields, std::string_view body);

/// Compiled, or null and a fault.
std::shared_ptr<const grammar::Grammar> compile_structure(Fields& fields, const Structure& structure,
                                                          grammar::GrammarCache* grammars);

}  // namespace onebit::server
