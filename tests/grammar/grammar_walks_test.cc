// Random schemas, random answers that their masks allow: each is JSON that fits its schema.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <random>
#include <regex>

#include "base/utf8.h"
#include "grammar/grammar_cache.h"
#include "grammar/matcher.h"
#include "tests/grammar/word_tokenizer.h"

namespace onebit::grammar {
namespace {

using Json = nlohmann::ordered_json;

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  int below(int n) { return static_cast<int>(engine_() % static_cast<uint32_t>(n)); }
  bool chance(int percent) { return below(100) < percent; }

 private:
  std::mt19937 engine_;
};

Json random_schema(Random& random, int depth);

Json random_number(Random& random) {
  Json schema{{"type", random.chance(50) ? "integer" : "number"}};
  const int low = random.below(400) - 200;
  if (random.chance(50)) schema[random.chance(50) ? "minimum" : "exclusiveMinimum"] = low;
  if (random.chance(50)) schema[random.chance(50) ? "maximum" : "exclusiveMaximum"] = low + 10 + random.below(2000);
  if (schema["type"] == "integer" && random.chance(20)) schema["multipleOf"] = 1 + random.below(9);
  return schema;
}

Json random_string(Random& random) {
  Json schema{{"type", "string"}};
  if (random.chance(40)) schema["minLength"] = random.below(3);
  if (random.chance(60)) schema["maxLength"] = 3 + random.below(5);
  if (random.chance(25)) {
    schema = {{"type", "string"},
              {"pattern", std::vector<std::string>{"^[a-c]{2,4}$", "x+", "^(ab|ba)*$",
                                                   "^\\d{3}-\\w$"}[static_cast<size_t>(random.below(4))]}};
  }
  return schema;
}

Json random_object(Random& random, int depth) {
  Json schema{{"type", "object"}, {"properties", Json::object()}, {"required", Json::array()}};
  for (int n = random.below(4); n > 0; --n) {
    const auto name = std::string(1, static_cast<char>('a' + random.below(5))) + (random.chance(20) ? "\"é" : "");
    schema["properties"][name] = random_schema(random, depth - 1);
    if (random.chance(60)) schema["required"].push_back(name);
  }
  if (random.chance(30)) schema["additionalProperties"] = random.chance(50) ? Json(false) : random_schema(random, 0);
  if (random.chance(10)) schema["maxProperties"] = 4;
  return schema;
}

Json random_schema(Random& random, int depth) {
  switch (depth <= 0 ? random.below(5) : random.below(9)) {
    case 0:
      return random_number(random);
    case 1:
      return random_string(random);
    case 2:
      return {{"enum", {"red", "green", 7, nullptr, {{"k", {1, 2}}}}}};
    case 3:
      return {{"type", {"boolean", "null"}}};
    case 4:
      return {{"const", "c"}};
    case 5: {
      Json schema{{"type", "array"}, {"items", random_schema(random, depth - 1)}};
      if (random.chance(50)) schema["minItems"] = random.below(3);
      if (random.chance(50)) schema["maxItems"] = 2 + random.below(2);
      return schema;
    }
    case 6:
      return {{"anyOf", {random_schema(random, depth - 1), random_schema(random, depth - 1)}}};
    default:
      return random_object(random, depth);
  }
}

/// The plain meaning of the keywords above.
bool fits(const Json& schema, const Json& value) {
  if (schema.is_boolean()) return schema.get<bool>();
  const auto has_type = [&](const Json& t) {
    return (t == "integer" && value.is_number() && std::floor(value.get<double>()) == value.get<double>()) ||
           (t == "number" && value.is_number()) || (t == "string" && value.is_string()) ||
           (t == "null" && value.is_null()) || (t == "boolean" && value.is_boolean()) ||
           (t == "array" && value.is_array()) || (t == "object" && value.is_object());
  };
  if (schema.contains("type")) {
    const auto& t = schema["type"];
    if (!(t.is_array() ? std::any_of(t.begin(), t.end(), has_type) : has_type(t))) return false;
  }
  if (schema.contains("enum") && std::find(schema["enum"].begin(), schema["enum"].end(), value) == schema["enum"].end())
    return false;
  if (schema.contains("const") && schema["const"] != value) return false;
  if (schema.contains("anyOf") &&
      std::none_of(schema["anyOf"].begin(), schema["anyOf"].end(), [&](const Json& s) { return fits(s, value); }))
    return false;
  if (value.is_number()) {
    const double v = value.get<double>();
    if (schema.contains("minimum") && v < schema["minimum"].get<double>()) return false;
    if (schema.contains("maximum") && v > schema["maximum"].get<double>()) return false;
    if (schema.contains("exclusiveMinimum") && v <= schema["exclusiveMinimum"].get<double>()) return false;
    if (schema.contains("exclusiveMaximum") && v >= schema["exclusiveMaximum"].get<double>()) return false;
    if (schema.contains("multipleOf") && std::fmod(v, schema["multipleOf"].get<double>()) != 0) return false;
  }
  if (value.is_string()) {
    const auto text = value.get<std::string>();
    size_t length = 0;
    for (const char c : text) length += (static_cast<uint8_t>(c) & 0xC0) != 0x80;
    if (!utf8_valid(text) || length < schema.value("minLength", size_t{0}) ||
        length > schema.value("maxLength", SIZE_MAX))
      return false;
    if (schema.contains("pattern") && !std::regex_search(text, std::regex(schema["pattern"].get<std::string>())))
      return false;
  }
  if (value.is_array()) {
    if (value.size() < schema.value("minItems", size_t{0}) || value.size() > schema.value("maxItems", SIZE_MAX))
      return false;
    for (const auto& item : value)
      if (schema.contains("items") && !fits(schema["items"], item)) return false;
  }
  if (value.is_object()) {
    if (value.size() > schema.value("maxProperties", SIZE_MAX)) return false;
    for (const auto& name : schema.value("required", Json::array()))
      if (!value.contains(name.get<std::string>())) return false;
    for (const auto& [name, member] : value.items()) {
      const bool known = schema.contains("properties") && schema["properties"].contains(name);
      if (known ? !fits(schema["properties"][name], member)
                : schema.contains("additionalProperties") && !fits(schema["additionalProperties"], member))
        return false;
    }
  }
  return true;
}

/// A random answer; after a while by the tokens that end things. Empty where it does not end.
std::string walk(Matcher& matcher, const Tokenizer& tokenizer, Random& random) {
  std::string text;
  TokenMask mask;
  for (int step = 0; step < 600; ++step) {
    if (const auto status = matcher.next(mask); !status) {
      ADD_FAILURE() << status.error().message;
      return {};
    }
    std::vector<TokenId> allowed, closing;
    for (TokenId id = 0; static_cast<size_t>(id) < tokenizer.vocabulary_size(); ++id) {
      if (!allows(mask, id)) continue;
      allowed.push_back(id);
      if (tokenizer.is_stop(id) || tokenizer.token_bytes(id).find_first_not_of("\"}]") == std::string_view::npos)
        closing.push_back(id);
    }
    if (allowed.empty()) {
      ADD_FAILURE() << "a dead end after " << text;
      return {};
    }
    const bool close = !closing.empty() && random.chance(step < 20 ? 15 : 80);
    const auto& from = close ? closing : allowed;
    const TokenId id = from[static_cast<size_t>(random.below(static_cast<int>(from.size())))];
    if (tokenizer.is_stop(id)) return text;
    text += tokenizer.token_bytes(id);
    EXPECT_TRUE(matcher.accept(id)) << text;
    if (matcher.must_end()) return text;
  }
  return {};
}

TEST(GrammarWalks, AnswersFitTheirSchemas) {
  const Tokenizer tokenizer = test::word_tokenizer(test::json_words());
  GrammarCache cache(tokenizer);
  int ended = 0, schemas = 0;
  for (uint32_t seed = 1; seed <= 1200; ++seed) {
    Random random(seed);
    const auto schema = random_schema(random, 3);
    const auto grammar = cache.get(Language::kJsonSchema, schema.dump());
    if (!grammar) {
      EXPECT_NE(grammar.error().message.find("no value fits"), std::string::npos) << schema << grammar.error().message;
      continue;
    }
    ++schemas;
    for (int i = 0; i < 2; ++i) {
      Matcher matcher(*grammar);
      const auto text = walk(matcher, tokenizer, random);
      if (text.empty()) continue;
      ++ended;
      const auto value = Json::parse(text, nullptr, false);
      ASSERT_FALSE(value.is_discarded()) << schema << "\n" << text;
      ASSERT_TRUE(fits(schema, value)) << schema << "\n" << text;
    }
  }
  EXPECT_GT(schemas, 1100);
  EXPECT_GT(ended, 2000);
}

TEST(GrammarWalks, AnyJsonIsJson) {
  const Tokenizer tokenizer = test::word_tokenizer(test::json_words());
  GrammarCache cache(tokenizer);
  const auto grammar = cache.get(Language::kJsonSchema, R"({"type": "object"})");
  int ended = 0;
  for (uint32_t seed = 1; seed <= 200; ++seed) {
    Random random(seed);
    Matcher matcher(*grammar);
    const auto text = walk(matcher, tokenizer, random);
    if (text.empty()) continue;
    ++ended;
    ASSERT_TRUE(Json::accept(text)) << text;
  }
  EXPECT_GT(ended, 150);
}

}  // namespace
}  // namespace onebit::grammar
