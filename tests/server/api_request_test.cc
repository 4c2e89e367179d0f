#include "server/api_request.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "engine/model.h"
#include "tests/support/test_model.h"

namespace onebit::server {
namespace {

using nlohmann::json;

class ApiRequestTest : public ::testing::Test {
 protected:
  ApiRequestTest() : model_(*Model::open(onebit::test::bundled_model())) {}

  json chat() const { return {{"messages", {{{"role", "user"}, {"content", "Hello"}}}}}; }
  /// With one field set.
  ApiResult<ApiCall> chat_with(const char* field, const json& value) const {
    auto body = chat();
    body[field] = value;
    return read_chat(body.dump(), context_);
  }
  ApiResult<ApiCall> completion_with(const char* field, const json& value) const {
    json body{{"prompt", "Hello"}};
    body[field] = value;
    return read_completion(body.dump(), context_);
  }

  Model model_;
  ApiContext context_{model_.tokenizer(), model_.file().config(), "tiny", {.choices = 4, .answers = 32}};
};

TEST_F(ApiRequestTest, EveryFieldThatCannotBeIsNamed) {
  const std::vector<std::pair<const char*, json>> wrong{
      {"temperature", -0.1},
      {"temperature", "1"},
      {"temperature", 101},
      {"top_p", 1.5},
      {"top_k", 1.5},
      {"min_p", -1},
      {"typical_p", 2},
      {"repetition_penalty", 0},
      {"seed", 1.5},
      {"seed", "x"},
      {"stop", 5},
      {"stop", {1, 2}},
      {"stop",
       json::array({"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "17"})},
      {"stream", 1},
      {"stream_options", 1},
      {"ignore_eos", "yes"},
      {"logit_bias", json::array()},
      {"n", 0},
      {"n", 5},
      {"max_tokens", -1},
      {"max_tokens", 1e30},
      {"logit_bias", {{"1x", 1}}},
      {"logit_bias", {{"99999", 1}}},
      {"logit_bias", {{"1", 101}}},
      {"logit_bias", {{"1", nullptr}}},
      {"dry_multiplier", -1},
      {"dry_base", 0.5},
      {"xtc_probability", 1.1},
      {"model", 5},
      {"tools", {{{"type", "function"}}}},
      {"response_format", {{"type", "json_schema"}}}};
  for (const auto& [field, value] : wrong) {
    const auto call = chat_with(field, value);
    ASSERT_FALSE(call) << field << " = " << value;
    EXPECT_EQ(call.error().status, 400);
    EXPECT_EQ(call.error().param, field) << call.error().message;
    EXPECT_FALSE(completion_with(field, value)) << field << " = " << value;
  }
  EXPECT_EQ(chat_with("stream_options", {{"include_usage", 1}}).error().param, "stream_options.include_usage");
  EXPECT_EQ(chat_with("top_logprobs", 3).error().param, "top_logprobs");
  EXPECT_EQ(chat_with("model", "other").error().status, 404);
}

TEST_F(ApiRequestTest, WhatIsAbsentOrNullHasItsDefault) {
  for (const char* field : {"temperature", "seed", "stop", "n", "logit_bias", "tools", "model", "stream_options"})
    EXPECT_TRUE(chat_with(field, nullptr)) << field;
  const auto call = chat_with("user", "somebody");
  ASSERT_TRUE(call);
  EXPECT_EQ(call->requests.size(), 1u);
  EXPECT_EQ(call->requests[0].params.sampling.temperature, 1.0f);
  EXPECT_NE(call->requests[0].params.sampling.seed, chat_with("user", "x")->requests[0].params.sampling.seed);
  EXPECT_EQ(completion_with("user", "x")->requests[0].params.max_tokens, 16u);
}

TEST_F(ApiRequestTest, MessagesThatCannotBe) {
  for (const char* messages :
       {"null", "[]", "{}", "[1]", "[{}]", R"([{"role": 1, "content": "x"}])", R"([{"role": "king", "content": "x"}])",
        R"([{"role": "user", "content": 1}])", R"([{"role": "user"}])", R"([{"role": "system", "content": null}])",
        R"([{"role": "user", "content": [{"type": "image_url"}]}])",
        R"([{"role": "user", "content": [{"type": "text", "text": 1}]}])"}) {
    const auto call = read_chat(std::string(R"({"messages": )") + messages + "}", context_);
    ASSERT_FALSE(call) << messages;
    EXPECT_TRUE(call.error().param.starts_with("messages")) << call.error().param;
  }
}

TEST_F(ApiRequestTest, PromptsOfEveryKind) {
  const auto ids = [&](const json& prompt) {
    const auto call = completion_with("prompt", prompt);
    EXPECT_TRUE(call) << call.error().message;
    std::vector<std::vector<TokenId>> result;
    for (const auto& request : call->requests) result.push_back(request.prompt);
    return result;
  };
  const auto hello = ids("Hello")[0];
  EXPECT_EQ(hello.front(), *model_.tokenizer().bos());
  EXPECT_EQ(ids(hello)[0], hello);
  EXPECT_EQ(ids(json::array({"Hello", "Hello"})).size(), 2u);
  EXPECT_EQ(ids("<|begin_of_text|>Hello")[0], hello) << "no second BOS";
  EXPECT_EQ(ids("")[0].size(), 1u);
  for (const json& wrong : {json(), json(1), json::array(), json::array({"a", 1}), json::array({json::array()}),
                            json(json::value_t::object)})
    EXPECT_EQ(completion_with("prompt", wrong).error().param, "prompt") << wrong;
  EXPECT_FALSE(completion_with("prompt", std::vector<std::string>(100, "x"))) << "more answers than may be asked for";
}

TEST_F(ApiRequestTest, WhatWouldTakeFarMoreThanItsBytesIsRefused) {
  const auto nested = [](size_t n) { return std::string(n, '[') + std::string(n, ']'); };
  for (const size_t depth : {size_t{70}, size_t{200000}}) {
    const auto text = R"({"messages": [{"role": "user", "content": )" + nested(depth) + "}]}";
    EXPECT_FALSE(read_chat(text, context_));
    EXPECT_FALSE(apply_template(text, context_));
    EXPECT_FALSE(read_completion(R"({"prompt": )" + nested(depth) + "}", context_));
  }
  EXPECT_TRUE(read_completion(R"({"prompt": ")" + nested(100) + R"(\"["})", context_)) << "brackets in a text are text";
  EXPECT_EQ(chat_with("stop", std::string(2000, 'x')).error().param, "stop");
  json biases = json::object();
  for (int id = 0; id < 2000; ++id) biases[std::to_string(id)] = 1;
  EXPECT_EQ(chat_with("logit_bias", biases).error().param, "logit_bias");
  EXPECT_EQ(completion_with("prompt", std::vector<std::string>(100000, "")).error().param, "prompt");
  EXPECT_EQ(completion_with("prompt", std::vector<int>(5000, 1)).error().code, "context_length_exceeded");
}

TEST_F(ApiRequestTest, ChoicesDifferInTheirNumberOnly) {
  const auto call = chat_with("n", 3);
  ASSERT_TRUE(call);
  ASSERT_EQ(call->requests.size(), 3u);
  for (uint32_t i = 0; i < 3; ++i) {
    EXPECT_EQ(call->requests[i].params.sampling.choice, i);
    EXPECT_EQ(call->requests[i].params.sampling.seed, call->requests[0].params.sampling.seed);
  }
}

}  // namespace
}  // namespace onebit::server
