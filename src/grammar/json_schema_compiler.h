// Inside of json_schema.h: schemas that hold together of one value, and what they say of it.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "grammar/json_number.h"
#include "grammar/json_schema.h"

namespace onebit::grammar {

/// A set of types.
enum JsonType : uint32_t {
  kNullType = 1,
  kBooleanType = 2,
  kIntegerType = 4,
  kNumberType = 8,  // and integers, too
  kStringType = 16,
  kArrayType = 32,
  kObjectType = 64,
  kNumbers = kIntegerType | kNumberType,
  kAllTypes = 127
};

/// One of the schemas that a value must fit; of its anyOf or oneOf a branch may be among them already.
struct SchemaPart {
  const JsonValue* schema;
  bool any_of_done = false, one_of_done = false;
  auto operator<=>(const SchemaPart&) const = default;
};
/// Ascending, none twice. None at all: any value.
using SchemaParts = std::vector<SchemaPart>;

/// What parts without alternatives say together.
struct Facts {
  SchemaParts parts;
  uint32_t types = kAllTypes;      // that are allowed
  uint32_t generated = kAllTypes;  // of these, those that answers have: what the keywords are about
  std::optional<std::vector<const JsonValue*>> values;  // of enum and const
  NumberBounds number;
  uint64_t min_length = 0, max_length = UINT64_MAX;
  std::vector<std::string> patterns, formats;
  uint64_t min_items = 0, max_items = UINT64_MAX;
  uint64_t min_properties = 0, max_properties = UINT64_MAX;
  bool unique_items = false;
  bool nothing = false;  // no value fits

  bool any_text() const { return min_length == 0 && max_length == UINT64_MAX && patterns.empty() && formats.empty(); }
};

class SchemaCompiler {
 public:
  SchemaCompiler(Rules& rules, const JsonValue& root, Budget& budget) : rules_(rules), root_(root), budget_(budget) {}
  Result<RuleId> run();

 private:
  // json_schema.cc
  RuleId rule_of(SchemaParts parts);
  Status build(RuleId rule, const SchemaParts& parts);
  Status build_value(RuleId rule, const Facts& facts);
  Result<SchemaParts> expand(const SchemaParts& parts);
  Status expand_one(const SchemaPart& part, std::vector<SchemaPart>& work);
  Status check_keywords(const JsonValue& schema);
  Result<const JsonValue*> resolve(const std::string& reference);
  Result<bool> alternatives(RuleId rule, const SchemaParts& parts, const char* keyword, bool SchemaPart::* done);
  Status check_exclusive(const SchemaParts& parts, const JsonValue& branches);

  // json_schema_values.cc
  Result<Facts> facts_of(const SchemaParts& parts);
  Status read_types(const JsonValue& schema, Facts& facts);
  Status read_numbers(const JsonValue& schema, Facts& facts);
  Status read_values(const JsonValue& schema, Facts& facts);
  Status read_counts(const JsonValue& schema, Facts& facts);
  Result<Dfa> text_automaton(const Facts& facts);
  Result<bool> allowed(const JsonValue& value, const Facts& facts);
  Result<bool> excludes(const SchemaParts& a, const SchemaParts& b, int depth);
  Result<bool> excludes_type(const Facts& a, const Facts& b, JsonType type, int depth);
  Result<bool> excludes_object(const Facts& a, const Facts& b, int depth);

  // json_schema_object.cc
  struct Additional {          // properties that are not declared
    std::optional<Dfa> names;  // none: any
    SchemaParts value;
  };
  Status build_object(RuleId rule, const Facts& facts);
  Status build_array(RuleId rule, const Facts& facts);
  std::vector<std::string> declared_names(const Facts& facts);
  std::set<std::string> required_names(const Facts& facts);
  Result<std::optional<SchemaParts>> schemas_for(const Facts& facts, const std::string& name);
  Result<std::vector<Additional>> additional(const Facts& facts, const std::vector<std::string>& declared);
  Result<std::optional<Dfa>> name_automaton(const Facts& facts);
  void add_pair(Nfa& nfa, StateId from, const Additional& pair, StateId to);
  RuleId space();
  RuleId any_string();

  Rules& rules_;
  const JsonValue& root_;
  Budget& budget_;
  std::map<SchemaParts, RuleId> by_parts_;
  std::deque<std::pair<RuleId, SchemaParts>> pending_;
  std::set<const JsonValue*> checked_;
  std::map<std::string, Dfa> found_;  // texts in which a pattern is found
  Result<const Dfa*> texts_with(const std::string& pattern);
  std::optional<RuleId> space_, any_string_;
};

/// Sorted, without doubles.
SchemaParts normalised(SchemaParts parts);

}  // namespace onebit::grammar
