// Requests of other protocols as the chat completions that they are, and their answers written.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "engine/model.h"
#include "server/embeddings_api.h"
#include "server/json_body.h"
#include "server/messages_api.h"
#include "server/ollama_api.h"
#include "server/protocol.h"
#include "server/responses_api.h"
#include "server/tools.h"
#include "tests/support/test_model.h"

namespace onebit::server {
namespace {

using nlohmann::json;

class ProtocolsTest : public ::testing::Test {
 protected:
  ProtocolsTest() : model_(*Model::open(onebit::test::bundled_model())) {}

  /// What a field's value is refused for; the field that is named.
  std::string fault(const Protocol& protocol, json body, const char* field, const json& value) const {
    body[field] = value;
    const auto call = protocol.read(body.dump(), context_);
    if (call) return "taken";
    EXPECT_FALSE(call.error().message.empty());
    EXPECT_EQ(call.error().status / 100, 4);
    return call.error().param;
  }

  Model model_;
  ApiContext context_{model_.tokenizer(), model_.file().config(), "tiny", {}};
  const json response_{{"input", "Hello"}};
  const json message_{{"max_tokens", 5}, {"messages", {{{"role", "user"}, {"content", "Hello"}}}}};
  const json ollama_{{"messages", {{{"role", "user"}, {"content", "Hello"}}}}};
};

TEST_F(ProtocolsTest, AllSayTheSameToTheModel) {
  const auto prompt = [&](const Protocol& protocol, const json& body) {
    const auto call = protocol.read(body.dump(), context_);
    EXPECT_TRUE(call) << call.error().message;
    return call ? call->requests.at(0).prompt : std::vector<TokenId>();
  };
  const auto expected = prompt(
      kChatProtocol,
      {{"messages", {{{"role", "system"}, {"content", "Be brief."}}, {{"role", "user"}, {"content", "Hello"}}}}});
  auto response = response_, message = message_, ollama = ollama_;
  response["instructions"] = "Be brief.";
  message["system"] = "Be brief.";
  const json system{{"role", "system"}, {"content", "Be brief."}};
  ollama["messages"].insert(ollama["messages"].begin(), system);
  EXPECT_EQ(prompt(kResponsesProtocol, response), expected);
  EXPECT_EQ(prompt(kMessagesProtocol, message), expected);
  EXPECT_EQ(prompt(kOllamaChatProtocol, ollama), expected);
  EXPECT_EQ(prompt(kOllamaGenerateProtocol, {{"prompt", "Hello"}, {"system", "Be brief."}}), expected);
}

TEST_F(ProtocolsTest, ToolsAreThoseOfAChatCompletion) {
  const json schema{{"type", "object"}, {"properties", {{"city", {{"type", "string"}}}}}};
  const auto of_response = chat_of_response(
      {{"tools", {{{"type", "function"}, {"name", "weather"}, {"parameters", schema}, {"strict", true}}}},
       {"tool_choice", {{"type", "function"}, {"name", "weather"}}},
       {"text", {{"format", {{"type", "json_schema"}, {"name", "x"}, {"schema", schema}}}}},
       {"input",
        {{{"role", "user"}, {"content", "Weather?"}},
         {{"type", "reasoning"}, {"summary", json::array()}},
         {{"type", "function_call"}, {"call_id", "1"}, {"name", "weather"}, {"arguments", "{}"}},
         {{"type", "function_call"}, {"call_id", "2"}, {"name", "weather"}, {"arguments", "{}"}},
         {{"type", "function_call_output"}, {"call_id", "1"}, {"output", "Sun"}}}}});
  ASSERT_TRUE(of_response) << of_response.error().message;
  EXPECT_EQ((*of_response)["tools"][0]["function"]["name"], "weather");
  EXPECT_EQ((*of_response)["tools"][0]["function"]["parameters"], schema);
  EXPECT_EQ((*of_response)["tool_choice"]["function"]["name"], "weather");
  EXPECT_EQ((*of_response)["response_format"]["json_schema"]["schema"], schema);
  EXPECT_EQ((*of_response)["messages"].size(), 3u);
  EXPECT_EQ((*of_response)["messages"][1]["tool_calls"].size(), 2u);
  EXPECT_EQ((*of_response)["messages"][2], (json{{"role", "tool"}, {"tool_call_id", "1"}, {"content", "Sun"}}));

  const auto of_messages = chat_of_messages(
      {{"max_tokens", 9},
       {"tools", {{{"name", "weather"}, {"description", "d"}, {"input_schema", schema}}}},
       {"tool_choice", {{"type", "any"}, {"disable_parallel_tool_use", true}}},
       {"messages",
        {{{"role", "user"}, {"content", "Weather?"}},
         {{"role", "assistant"},
          {"content",
           {{{"type", "thinking"}, {"thinking", "…"}},
            {{"type", "text"}, {"text", "I look."}},
            {{"type", "tool_use"}, {"id", "1"}, {"name", "weather"}, {"input", {{"city", "Rome"}}}}}}},
         {{"role", "user"},
          {"content",
           {{{"type", "tool_result"}, {"tool_use_id", "1"}, {"content", {{{"type", "text"}, {"text", "Sun"}}}}},
            {{"type", "text"}, {"text", "And tomorrow?"}}}}}}}});
  ASSERT_TRUE(of_messages) << of_messages.error().message;
  const auto& m = (*of_messages)["messages"];
  ASSERT_EQ(m.size(), 4u);
  EXPECT_EQ(m[1]["content"], "I look.");
  EXPECT_EQ(m[1]["tool_calls"][0]["function"]["arguments"], R"({"city":"Rome"})");
  EXPECT_EQ(m[2]["role"], "tool");
  EXPECT_EQ(m[3]["content"], "And tomorrow?");
  EXPECT_EQ((*of_messages)["tool_choice"], "required");
  EXPECT_EQ((*of_messages)["parallel_tool_calls"], false);
}

TEST_F(ProtocolsTest, EveryFieldThatCannotBeIsNamed) {
  const json object = json::object(), list = json::array();
  const std::vector<std::tuple<const Protocol*, const json*, const char*, json, const char*>> wrong{
      {&kResponsesProtocol, &response_, "input", 5, "input"},
      {&kResponsesProtocol, &response_, "input", list, "input"},
      {&kResponsesProtocol, &response_, "input", {1}, "input[0]"},
      {&kResponsesProtocol, &response_, "input", json::array({object}), "input[0].role"},
      {&kResponsesProtocol, &response_, "input", {{{"role", "user"}}}, "input[0].content"},
      {&kResponsesProtocol,
       &response_,
       "input",
       {{{"role", "user"}, {"content", {{{"type", "input_text"}}}}}},
       "input[0].content"},
      {&kResponsesProtocol, &response_, "input", {{{"type", "function_call"}}}, "input[0].call_id"},
      {&kResponsesProtocol,
       &response_,
       "input",
       {{{"type", "function_call_output"}, {"call_id", "x"}}},
       "input[0].output"},
      {&kResponsesProtocol, &response_, "input", {{{"role", "king"}, {"content", "x"}}}, "input"},
      {&kResponsesProtocol, &response_, "instructions", 5, "instructions"},
      {&kResponsesProtocol, &response_, "metadata", "x", "metadata"},
      {&kResponsesProtocol, &response_, "text", "x", "text"},
      {&kResponsesProtocol, &response_, "text", {{"format", 1}}, "text.format"},
      {&kResponsesProtocol, &response_, "tools", object, "tools"},
      {&kResponsesProtocol, &response_, "tools", {1}, "tools"},
      {&kResponsesProtocol, &response_, "include", {1}, "include"},
      {&kResponsesProtocol, &response_, "store", "yes", "store"},
      {&kResponsesProtocol, &response_, "stream", 1, "stream"},
      {&kResponsesProtocol, &response_, "seed", "x", "seed"},
      {&kMessagesProtocol, &message_, "max_tokens", -1, "max_tokens"},
      {&kMessagesProtocol, &message_, "max_tokens", nullptr, "max_tokens"},
      {&kMessagesProtocol, &message_, "messages", object, "messages"},
      {&kMessagesProtocol, &message_, "messages", {1}, "messages.0"},
      {&kMessagesProtocol, &message_, "messages", {{{"role", "user"}}}, "messages.0.content"},
      {&kMessagesProtocol, &message_, "messages", {{{"role", "user"}, {"content", 5}}}, "messages.0.content"},
      {&kMessagesProtocol, &message_, "messages", {{{"role", "user"}, {"content", {5}}}}, "messages.0.content.0"},
      {&kMessagesProtocol,
       &message_,
       "messages",
       {{{"role", "user"}, {"content", {{{"type", "text"}}}}}},
       "messages.0.content.0.text"},
      {&kMessagesProtocol,
       &message_,
       "messages",
       {{{"role", "user"}, {"content", {{{"type", "tool_use"}}}}}},
       "messages.0.content.0"},
      {&kMessagesProtocol, &message_, "system", 5, "system"},
      {&kMessagesProtocol, &message_, "system", {{{"type", "image"}}}, "system.0"},
      {&kMessagesProtocol, &message_, "stop_sequences", 5, "stop_sequences"},
      {&kMessagesProtocol, &message_, "tools", 5, "tools"},
      {&kMessagesProtocol, &message_, "tools", json::array({object}), "tools"},
      {&kMessagesProtocol, &message_, "tool_choice", "auto", "tool_choice"},
      {&kMessagesProtocol, &message_, "mcp_servers", {1}, "mcp_servers"},
      {&kMessagesProtocol, &message_, "top_p", 2, "top_p"},
      {&kOllamaChatProtocol, &ollama_, "messages", object, "messages"},
      {&kOllamaChatProtocol, &ollama_, "messages", {1}, "messages[0]"},
      {&kOllamaChatProtocol, &ollama_, "options", 5, "options"},
      {&kOllamaChatProtocol, &ollama_, "options", {{"top_k", "x"}}, "top_k"},
      {&kOllamaChatProtocol, &ollama_, "options", {{"num_predict", 0}}, "options.num_predict"},
      {&kOllamaChatProtocol, &ollama_, "format", 5, "format"},
      {&kOllamaChatProtocol, &ollama_, "stream", "no", "stream"},
      {&kOllamaChatProtocol, &ollama_, "model", "other", "model"}};
  for (const auto& [protocol, body, field, value, named] : wrong)
    EXPECT_EQ(fault(*protocol, *body, field, value), named) << field << " = " << value;
}

TEST_F(ProtocolsTest, AnyTypeInAnyFieldAndDepthEndInASentence) {
  const json values[] = {nullptr,
                         true,
                         -1,
                         0,
                         2147483648LL,
                         9223372036854775807LL,
                         18446744073709551615ULL,
                         1e308,
                         "",
                         "\xff",
                         std::string(5000, 'x'),
                         json::array(),
                         {1, "x", nullptr},
                         json::object(),
                         {{"type", 5}},
                         {{"role", "user"}},
                         {{{"type", "text"}, {"text", 5}}}};
  const std::pair<const Protocol*, json> bodies[] = {
      {&kResponsesProtocol, response_},         {&kMessagesProtocol, message_},
      {&kOllamaChatProtocol, ollama_},          {&kOllamaGenerateProtocol, {{"prompt", "x"}}},
      {&kEmbeddingsProtocol, {{"input", "x"}}}, {&kOllamaEmbedProtocol, {{"input", "x"}}}};
  const char* fields[] = {"input",
                          "instructions",
                          "messages",
                          "system",
                          "model",
                          "max_tokens",
                          "max_output_tokens",
                          "stream",
                          "tools",
                          "tool_choice",
                          "text",
                          "options",
                          "format",
                          "images",
                          "context",
                          "dimensions",
                          "include",
                          "encoding_format",
                          "stop_sequences",
                          "metadata",
                          "prompt",
                          "truncate",
                          "raw",
                          "thinking",
                          "name"};
  size_t tried = 0;
  for (const auto& [protocol, body] : bodies) {
    for (const char* field : fields)
      for (const auto& value : values) {
        auto changed = body;
        changed[field] = value;
        const auto call = protocol->read(changed.dump(-1, ' ', false, json::error_handler_t::ignore), context_);
        EXPECT_TRUE(call || !call.error().message.empty());
        ++tried;
      }
    const std::string nested = std::string(100000, '[') + std::string(100000, ']');
    for (const char* field : {"input", "messages", "prompt", "options"})
      EXPECT_FALSE(protocol->read("{\"" + std::string(field) + "\": " + nested + "}", context_));
    for (const char* text : {"", "{", "[]", "nul", "\xff\xfe", "{\"a\": 1}}", "{\"a\": NaN}"})
      EXPECT_FALSE(protocol->read(text, context_)) << text;
  }
  EXPECT_GT(tried, 2000u);
}

TEST_F(ProtocolsTest, TokensAreCountedWithoutALimit) {
  auto body = message_;
  body.erase("max_tokens");
  const auto few = count_tokens(body.dump(), context_);
  ASSERT_TRUE(few) << few.error().message;
  body["messages"][0]["content"] = std::string(60000, '7');
  const auto many = count_tokens(body.dump(), context_);
  ASSERT_TRUE(many) << many.error().message;
  EXPECT_GT(json::parse(*many)["input_tokens"], 15000);
  EXPECT_FALSE(read_messages_call(body.dump(), context_));
}

/// The events of a stream, each one's name held against its type.
std::vector<json> events_of(const std::string& stream) {
  std::vector<json> events;
  for (size_t at = 0, end; (end = stream.find("\n\n", at)) != std::string::npos; at = end + 2) {
    const auto event = stream.substr(at, end - at);
    const size_t data = event.find("data: ");
    EXPECT_NE(data, std::string::npos) << event;
    events.push_back(json::parse(event.substr(data + 6)));
    if (event.starts_with("event: ")) {
      EXPECT_EQ(event.substr(7, event.find('\n') - 7), events.back()["type"].get<std::string>());
    }
  }
  return events;
}

TEST_F(ProtocolsTest, StreamsAreWellFormedWhateverTheTextIs) {
  const std::vector<std::string> pieces{"a\nb", "\n\ndata: {}\n\n",   "\r\n", "\xff\xfe", "\"}\\", "",
                                        "é🌍",  std::string("\0x", 2)};
  Outcome outcome;
  outcome.prompt_tokens = 3;
  outcome.answer_tokens = 8;
  outcome.stop_string = "\nstop";
  ApiUsage usage;
  usage.add(outcome, true);
  for (const auto* protocol : {&kResponsesProtocol, &kMessagesProtocol, &kChatProtocol}) {
    const auto& body = protocol == &kResponsesProtocol  ? response_
                       : protocol == &kMessagesProtocol ? message_
                                                        : ollama_;
    const auto call = protocol->read(body.dump(), context_);
    ASSERT_TRUE(call) << call.error().message;
    const auto format = protocol->format(*call, model_.tokenizer(), {"x_1", 5, "tiny", "1bit"});
    auto stream = format->begin(0);
    for (const auto& piece : pieces) stream += format->piece(0, {piece, {}, 0});
    stream += format->end(0, outcome, false, &usage) + format->finish(usage);
    if (protocol == &kChatProtocol) stream.resize(stream.size() - std::string("data: [DONE]\n\n").size());
    EXPECT_GT(events_of(stream).size(), pieces.size());
    events_of(format->error(api_error(500, "engine_error", "a\n\nb")));
  }
  const auto call = kOllamaChatProtocol.read(ollama_.dump(), context_);
  const auto format = kOllamaChatProtocol.format(*call, model_.tokenizer(), {"x_1", 5, "tiny", "1bit"});
  std::string lines;
  for (const auto& piece : pieces) lines += format->piece(0, {piece, {}, 0});
  lines += format->end(0, outcome, false, &usage) + format->finish(usage);
  size_t count = 0;
  for (size_t at = 0, end; (end = lines.find('\n', at)) != std::string::npos; at = end + 1, ++count)
    EXPECT_TRUE(json::parse(lines.substr(at, end - at)).contains("done"));
  EXPECT_EQ(count, pieces.size() + 1);
}

TEST(ToolCalls, AreTakenOutOfTextInPiecesOfAnySize) {
  const std::string text =
      "Well.<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>\n"
      "<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n</tool_call>";
  for (size_t size = 1; size < text.size(); ++size) {
    ToolCallSplitter splitter(CallsIn::kWords);
    SaidAndCalled all;
    for (size_t at = 0; at < text.size(); at += size) all.add(splitter.push(std::string_view(text).substr(at, size)));
    all.add(splitter.finish());
    EXPECT_EQ(all.content, "Well.");
    ASSERT_EQ(all.calls.size(), 2u);
    EXPECT_EQ(all.calls[0].name, "f");
    EXPECT_EQ(json::parse(all.calls[0].arguments), json({{"a", 1}}));
    EXPECT_EQ(all.calls[1].name, "g");
  }
}

TEST(ToolCalls, AMarkWithinJsonOfASchemaIsNone) {
  const std::string text = R"({"a": "x <tool_call>\n{\"name\": y"})";
  for (size_t size = 1; size < text.size(); ++size) {
    ToolCallSplitter splitter(CallsIn::kJson);
    std::string content;
    for (size_t at = 0; at < text.size(); at += size)
      content += splitter.push(std::string_view(text).substr(at, size)).content;
    content += splitter.finish().content;
    EXPECT_EQ(content, text);
    EXPECT_EQ(splitter.calls(), 0u);
  }
  EXPECT_EQ(split_calls("<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>", CallsIn::kJson).calls.size(),
            1u);
  EXPECT_EQ(split_calls("<tool", CallsIn::kJson).content, "<tool") << "cut off";
  EXPECT_EQ(split_calls("<tool", CallsIn::kCalls).content, "") << "half a marker is no word where there are none";
}

TEST(ErrorForms, EachProtocolHasItsOwn) {
  const auto error = api_error(429, "queue_full", "so many are waiting");
  EXPECT_EQ(json::parse(error_form_of("/v1/messages/count_tokens")(error)),
            (json{{"type", "error"}, {"error", {{"type", "rate_limit_error"}, {"message", "so many are waiting"}}}}));
  EXPECT_EQ(json::parse(error_form_of("/api/chat")(error)), (json{{"error", "so many are waiting"}}));
  EXPECT_EQ(json::parse(error_form_of("/v1/responses")(error))["error"]["code"], "queue_full");
}

TEST(JsonBody, TheModelIsFoundWithoutKeepingTheRest) {
  EXPECT_EQ(model_in(R"({"model": "a"})"), "a");
  EXPECT_EQ(model_in(R"({"x": {"model": "b"}, "y": [{"model": "c"}], "model": "a"})"), "a");
  EXPECT_EQ(model_in(R"({"model": "a", "model": "b"})"), "b") << "as where the object is kept";
  EXPECT_EQ(model_in(R"({"model": 5})"), "");
  EXPECT_EQ(model_in(R"(["model", "a"])"), "");
  EXPECT_EQ(model_in(R"({"model": {"model": "a"}})"), "");
  EXPECT_EQ(model_in("{\"model\": \"a\", " + std::string(100000, '[')), "") << "too deep";
  EXPECT_EQ(model_in(""), "");
}

TEST(Base64, IsThatOfTheStandard) {
  const auto of = [](std::string_view text) { return base64(std::as_bytes(std::span(text))); };
  EXPECT_EQ(of(""), "");
  EXPECT_EQ(of("f"), "Zg==");
  EXPECT_EQ(of("fo"), "Zm8=");
  EXPECT_EQ(of("foo"), "Zm9v");
  EXPECT_EQ(of("foobar"), "Zm9vYmFy");
  EXPECT_EQ(of("\xff\xfe\xfd"), "//79");
}

}  // namespace
}  // namespace onebit::server
