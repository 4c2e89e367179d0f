// A request's body of any bytes, to every route that reads one: a sentence, or what the engine takes. And text of any
// bytes, cut anywhere, as every protocol's stream: events that are whole, and JSON.
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "server/json_body.h"
#include "server/messages_api.h"
#include "server/protocol.h"
#include "tests/support/tiny_model.h"

namespace onebit::server {
namespace {

void check(bool holds) {
  if (!holds) std::abort();
}

struct Fixed {
  ModelConfig config = [] {
    auto c = test::tiny_config();
    c.context = 2000;
    return c;
  }();
  Tokenizer tokenizer = [this] {
    auto data = test::tiny_tokenizer(config.vocabulary);
    data.chat.layout = ChatLayout::kBitnet2B4T;
    return *Tokenizer::create(std::move(data));
  }();
  grammar::GrammarCache grammars{tokenizer};
  ApiContext context{.tokenizer = tokenizer, .config = config, .model_name = "tiny", .grammars = &grammars};
};

void check_call(const ApiCall& call, const ApiContext& context) {
  for (const auto& request : call.requests) {
    check(!request.prompt.empty() && request.prompt.size() < context.config.context);
    check(request.params.stop.size() <= 16);
  }
  check(call.hidden_prompt_tokens.size() == call.requests.size());
}

/// Every event ends with an empty line, and its data is one JSON object on one line; of Ollama, each line is one.
void check_stream(std::string_view stream, bool lines) {
  const std::string_view end = lines ? "\n" : "\n\n";
  check(stream.empty() || stream.ends_with(end));
  while (!stream.empty()) {
    auto event = stream.substr(0, stream.find(end));
    stream.remove_prefix(event.size() + end.size());
    if (!lines) event.remove_prefix(event.find("data: ") + 6);
    check(event == "[DONE]" || nlohmann::json::parse(event, nullptr, false).is_object());
  }
}

void check_format(const Protocol& protocol, const ApiCall& call, const ApiContext& context, std::string_view text) {
  const auto format = protocol.format(call, context.tokenizer, {"x_1", 0, "tiny", "1bit"});
  Outcome outcome;
  outcome.stop_string = text.substr(0, text.size() % 8);
  ApiUsage usage;
  auto stream = format->begin(0);
  std::string whole;
  ToolCallSplitter splitter(call.calls_in);
  for (size_t at = 0; at < text.size();) {
    const auto piece = std::string(text.substr(at, 1 + (at + text.size()) % 7));
    at += piece.size();
    stream += call.may_call() ? format->calls(0, splitter.push(piece), {}) : format->piece(0, {piece, {}, 0});
    whole += piece;
  }
  if (call.may_call()) stream += format->calls(0, splitter.finish(), {});
  stream += format->end(0, outcome, splitter.calls() > 0, &usage) + format->finish(usage) +
            format->error(api_error(500, "engine_error", std::string(text)));
  check_stream(stream, std::string_view(protocol.stream_type) != "text/event-stream");
  check(nlohmann::json::parse(format->whole({{whole, {}, 0}}, {outcome}, usage), nullptr, false).is_object());
}

}  // namespace
}  // namespace onebit::server

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace onebit::server;
  static const Fixed fixed;
  const std::string_view body(reinterpret_cast<const char*>(bytes), size);
  for (const auto* protocol :
       {&kChatProtocol, &kCompletionProtocol, &kResponsesProtocol, &kMessagesProtocol, &kOllamaChatProtocol,
        &kOllamaGenerateProtocol, &kEmbeddingsProtocol, &kOllamaEmbedProtocol}) {
    const auto call = protocol->read(body, fixed.context);
    if (!call) {
      check(!call.error().message.empty() && call.error().status >= 400);
      check(nlohmann::json::parse(messages_error(call.error()), nullptr, false).is_object());
      continue;
    }
    check_call(*call, fixed.context);
    if (call->kind != ApiCall::Kind::kEmbedding && call->requests.size() == 1 && !call->echo)
      check_format(*protocol, *call, fixed.context, body);
  }
  count_tokens(body, fixed.context);
  tokenize(body, fixed.context);
  detokenize(body, fixed.context);
  apply_template(body, fixed.context);
  // The model is the same whether the object is kept or not.
  const auto root = parse_body(body);
  if (root) {
    const auto it = root->find("model");
    check(model_in(body) == (it != root->end() && it->is_string() ? it->get<std::string>() : std::string()));
  }
  return 0;
}
