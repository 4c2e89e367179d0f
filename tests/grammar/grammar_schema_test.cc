// JSON Schema, keyword by keyword.
#include <gtest/gtest.h>

#include "grammar/grammar_cache.h"
#include "grammar/matcher.h"
#include "tests/grammar/word_tokenizer.h"

namespace onebit::grammar {
namespace {

bool fits(const std::string& schema, const std::string& text) {
  static const Tokenizer tokenizer = test::word_tokenizer({});
  GrammarCache cache(tokenizer);
  const auto grammar = cache.get(Language::kJsonSchema, schema);
  if (!grammar) {
    ADD_FAILURE() << schema << ": " << grammar.error().message;
    return false;
  }
  Matcher matcher(*grammar);
  return matcher.accept(text) && matcher.may_end();
}

void check(const std::string& schema, std::initializer_list<const char*> good, std::initializer_list<const char*> bad) {
  for (const auto* text : good) EXPECT_TRUE(fits(schema, text)) << schema << " on " << text;
  for (const auto* text : bad) EXPECT_FALSE(fits(schema, text)) << schema << " on " << text;
}

std::string refusal(const std::string& schema) {
  const auto program = compile(Language::kJsonSchema, schema);
  return program ? "taken" : program.error().message;
}

TEST(GrammarSchema, Types) {
  check("{}", {"null", "true", "1.5e3", "\"x\\n\\u00e9\"", "[1, {}]", "{\"a\":[[]], \"b\": {\n  \"c\": 1\n}}"},
        {"nul", "[1,]", "{\"a\"}", "01", "1.", "\"\n\"", "\"\\ud800\""});
  check(R"({"type": "integer"})", {"0", "-12"}, {"1.5", "-", "00", "\"1\""});
  check(R"({"type": ["string", "null"]})", {"null", "\"\""}, {"1", "true"});
  check(R"({"enum": ["a", 1, null, {"x": [1]}]})", {"\"a\"", "1", "null", "{\"x\": [1]}"}, {"\"b\"", "2"});
  check(R"({"const": "\"é\n"})", {"\"\\\"é\\n\""}, {"\"e\""});
  check(R"({"enum": ["a", 1, "bb"], "type": "string", "minLength": 2})", {"\"bb\""}, {"\"a\"", "1"});
}

TEST(GrammarSchema, Objects) {
  const std::string closed = R"({"type": "object", "properties": {"b": {"type": "integer"}, "a": {"type": "boolean"}},
    "required": ["a"], "additionalProperties": false})";
  check(closed, {"{\"b\": 1, \"a\": true}", "{\"a\":false}", "{ \"a\":false }"},
        {"{\"a\": true, \"b\": 1}", "{\"b\": 1}", "{}", "{\"a\": true,}", "{\"a\": true, \"c\": 1}", "{\"a\": 1}"});
  check(R"({"properties": {"a": {}}, "additionalProperties": {"type": "integer"}})",
        {"{}", "{\"a\": \"x\", \"b\": 1}", "{\"ab\": 1, \"\": 2}"},
        {"{\"b\": \"x\"}", "{\"b\": 1, \"a\": \"x\"}", "3"});
  check(
      R"({"type": "object", "patternProperties": {"^n_": {"type": "number"}}, "additionalProperties": {"type": "string"}})",
      {"{\"n_x\": 1, \"y\": \"z\"}"}, {"{\"n_x\": \"z\"}", "{\"y\": 1}"});
  check(R"({"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1, "maxProperties": 2})",
        {"{\"a\": 1}", "{\"a\": 1, \"b\": 2}"}, {"{}", "{\"a\": 1, \"b\": 2, \"c\": 3}"});
  check(
      R"({"properties": {"a": {}, "b": {}, "c": {}}, "minProperties": 2, "maxProperties": 2, "additionalProperties": false})",
      {"{\"a\": 1, \"b\": 2}", "{\"a\": 1, \"c\": 2}"}, {"{\"a\": 1}", "{\"a\": 1, \"b\": 2, \"c\": 3}"});
  check(R"({"type": "object", "propertyNames": {"pattern": "^[a-z]{1,3}$"}})", {"{\"abc\": 1}"},
        {"{\"abcd\": 1}", "{\"\": 1}"});
  check(R"({"type": "object", "required": ["x"]})", {"{\"x\": 1}", "{\"x\": [], \"y\": 2}"}, {"{}", "{\"y\": 1}"});
}

TEST(GrammarSchema, Arrays) {
  check(R"({"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3})",
        {"[1]", "[1, 2, 3]", "[\n  1,\n  2\n]"}, {"[]", "[1,2,3,4]", "[true]"});
  check(R"({"prefixItems": [{"type": "integer"}, {"type": "string"}], "items": false, "minItems": 2})", {"[1, \"a\"]"},
        {"[1]", "[1, \"a\", 2]", "[\"a\", 1]"});
  check(R"({"type": "array", "items": [{"type": "integer"}], "additionalItems": {"type": "null"}})",
        {"[]", "[1]", "[1, null, null]"}, {"[null]", "[1, 1]"});
  check(R"({"type": "array", "minItems": 2})", {"[1, 2]", "[1, 2, []]"}, {"[1]"});
  check(R"({"type": "array", "maxItems": 0})", {"[]", "[ ]"}, {"[1]"});
}

TEST(GrammarSchema, Numbers) {
  check(R"({"type": "integer", "minimum": -3, "maximum": 120})", {"-3", "0", "5", "99", "120"},
        {"-4", "121", "1000", "-0"});
  check(R"({"type": "integer", "exclusiveMinimum": 9, "exclusiveMaximum": 12})", {"10", "11"}, {"9", "12", "1"});
  check(R"({"type": "number", "minimum": 0.5, "maximum": 3.75})", {"0.5", "0.51", "1", "3", "3.75", "3.7500", "2.999"},
        {"0.49", "0", "3.751", "4", "-1"});
  check(R"({"type": "number", "exclusiveMinimum": -1.5, "exclusiveMaximum": 1})", {"-1.49", "0", "0.999"},
        {"-1.5", "-1.50", "1", "1.0"});
  check(R"({"type": "integer", "multipleOf": 7})", {"0", "7", "-21", "700"}, {"1", "8", "-20"});
  check(R"({"type": "number", "multipleOf": 0.05, "minimum": 1, "maximum": 2})", {"1", "1.05", "1.1", "2"},
        {"1.01", "0.95", "2.05"});
  check(R"({"type": "integer", "minimum": 1e17})", {"100000000000000000"}, {"99999999999999999"});
  check(R"({"minimum": 1e-3, "maximum": 0.002})", {"0.001", "0.0015"}, {"0.0009", "0.0021"});
}

TEST(GrammarSchema, Strings) {
  check(R"({"type": "string", "minLength": 2, "maxLength": 3})", {"\"aé\"", "\"\\n\\\"x\"", "\"😀😀\""},
        {"\"a\"", "\"abcd\""});
  check(R"({"type": "string", "pattern": "^a.*z$"})", {"\"az\"", "\"a\\\"z\""}, {"\"a\"", "\"za\""});
  check(R"({"type": "string", "pattern": "b", "maxLength": 2})", {"\"b\"", "\"ab\"", "\"bb\""}, {"\"a\"", "\"abb\""});
  check(R"({"format": "date"})", {"\"2024-02-29\"", "\"1999-12-31\""},
        {"\"2023-02-29\"", "\"2024-13-01\"", "\"1900-02-29\""});
  check(R"({"format": "date-time"})", {"\"2024-02-29T23:59:59.5Z\"", "\"2024-01-01T00:00:00+01:30\""},
        {"\"2024-01-01 00:00:00Z\""});
  check(R"({"format": "time"})", {"\"12:00:00Z\""}, {"\"24:00:00Z\"", "\"12:00:00\""});
  check(R"({"format": "uuid"})", {"\"123e4567-e89b-12d3-a456-426614174000\""}, {"\"123e4567\""});
  check(R"({"format": "email"})", {"\"a.b@c-d.org\""}, {"\"a@b\"", "\"@b.c\"", "\"a b@c.d\""});
  check(R"({"format": "ipv4"})", {"\"255.0.10.99\""}, {"\"256.0.0.1\"", "\"1.2.3\"", "\"01.2.3.4\""});
  check(R"({"format": "ipv6"})", {"\"::1\"", "\"fe80::1:2\"", "\"1:2:3:4:5:6:7:8\""}, {"\"1:2\"", "\":::\""});
  check(R"({"format": "duration"})", {"\"P1Y2M3DT4H5M6S\"", "\"PT5M\"", "\"P3W\""}, {"\"P\"", "\"PT\"", "\"1D\""});
  check(R"({"format": "uri"})", {"\"https://a.example/b?c=d#e\""}, {"\"a b\"", "\"https://\""});
}

TEST(GrammarSchema, Combinations) {
  const std::string tree =
      R"({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {"v": {"type": "integer"},
    "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]}}, "required": ["v", "next"], "additionalProperties": false}}})";
  check(tree, {R"({"v": 1, "next": null})", R"({"v": 1, "next": {"v": 2, "next": {"v": 3, "next": null}}})"},
        {R"({"v": 1, "next": {"v": 2}})", R"({"v": 1})"});
  check(R"({"allOf": [{"type": "object", "properties": {"a": {"minimum": 1}}, "required": ["a"]},
                      {"properties": {"a": {"type": "integer", "maximum": 3}, "b": {}}}]})",
        {"{\"a\": 2}", "{\"a\": 3, \"b\": null}"}, {"{\"a\": 0}", "{\"a\": 4}", "{\"b\": 1}", "{\"a\": 1.5}"});
  check(R"({"anyOf": [{"type": "string", "maxLength": 1}, {"type": "integer"}], "type": ["string", "integer"]})",
        {"\"a\"", "5"}, {"\"ab\"", "true"});
  check(
      R"({"oneOf": [{"properties": {"k": {"const": "x"}, "n": {"type": "integer"}}, "required": ["k", "n"], "type": "object"},
                      {"properties": {"k": {"const": "y"}}, "required": ["k"], "type": "object"}]})",
      {R"({"k": "x", "n": 1})", R"({"k": "y"})"}, {R"({"k": "x"})", R"({"k": "z"})"});
  check(
      R"({"oneOf": [{"type": "string"}, {"type": "number", "maximum": 0}, {"type": "number", "exclusiveMinimum": 0}]})",
      {"\"a\"", "0", "2.5"}, {"null"});
  check(R"({"$ref": "#/definitions/a~1b", "definitions": {"a/b": {"type": "null"}}})", {"null"}, {"1"});
  check(
      R"({"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}, "additionalProperties": false})",
      {R"({"children": [{}, {"children": [{"children": []}]}]})"}, {R"({"children": [1]})"});
  check(R"({"properties": {"a": {"type": "string"}, "b": false}, "type": "object"})", {"{}", "{\"a\": \"\"}"},
        {"{\"b\": 1}"});
}

TEST(GrammarSchema, WhatIsNotSupportedIsRefusedByName) {
  for (const auto& [schema, word] : std::initializer_list<std::pair<const char*, const char*>>{
           {R"({"not": {"type": "string"}})", "'not'"},
           {R"({"if": {}, "then": {}})", "'if'"},
           {R"({"properties": {"a": {"contains": {}}}})", "'contains'"},
           {R"({"dependentRequired": {"a": ["b"]}})", "'dependentRequired'"},
           {R"({"unevaluatedProperties": false})", "'unevaluatedProperties'"},
           {R"({"minLenght": 3})", "'minLenght'"},
           {R"({"type": "strnig"})", "type must be"},
           {R"({"type": "string", "format": "regex"})", "format 'regex'"},
           {R"({"type": "string", "format": "password", "nullable": true})", ""},
           {R"x({"type": "string", "pattern": "(?=a)"})x", "look-ahead"},
           {R"({"type": "array", "uniqueItems": true})", "uniqueItems"},
           {R"({"oneOf": [{"type": "integer"}, {"type": "number"}]})", "oneOf"},
           {R"({"oneOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]})", "oneOf"},
           {R"({"$ref": "#/nowhere"})", "$ref '#/nowhere'"},
           {R"({"$ref": "http://example.org/x"})", "$ref"},
           {R"({"$ref": "#"})", ""},
           {R"({"type": "integer", "multipleOf": 0})", "multipleOf"},
           {R"({"type": "integer", "multipleOf": 1234567})", "multipleOf"},
           {R"({"type": "number", "minimum": 1e30})", "bound"},
           {R"({"type": "string", "maxLength": 1000000})", "too large"},
           {R"({"type": "array", "minItems": 1000000})", "too large"},
           {R"({"type": "object", "additionalProperties": true, "minProperties": 3})", "minProperties"},
           {R"({"type": "string", "enum": [1]})", "no value"},
           {R"({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]})", "no value"},
           {R"({"required": "a"})", "required"},
           {R"({"minLength": -1})", "minLength"},
           {R"(false)", "no value"},
           {R"([])", "schema must be"},
           {R"({)", "JSON"}}) {
    const auto message = refusal(schema);
    EXPECT_NE(message.find(word), std::string::npos) << schema << ": " << message;
  }
}

}  // namespace
}  // namespace onebit::grammar
