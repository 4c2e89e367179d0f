// From the JSON of OpenAI's API to requests of the engine.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/request.h"
#include "format/model_config.h"
#include "grammar/grammar_cache.h"
#include "server/api_error.h"
#include "server/tools.h"
#include "tokenizer/tokenizer.h"

namespace onebit::server {

/// What a request may ask for at most.
struct ApiLimits {
  uint32_t choices = 16;       // n
  uint32_t answers = 128;      // prompts of one completion times n
  uint32_t inputs = 2048;      // of one request for embeddings
  uint32_t top_logprobs = 20;  // beside each token
  uint32_t max_tokens = 0;     // of an answer; 0: what the context holds
  uint32_t pieces = 1 << 17;   // told by /tokenize, each with its text
};

/// What requests are read against.
struct ApiContext {
  const Tokenizer& tokenizer;
  const ModelConfig& config;
  std::string model_name;
  ApiLimits limits{};
  bool any_model = false;                     // a request may name another model, and gets this one
  grammar::GrammarCache* grammars = nullptr;  // where answers may be asked to follow one

  /// The same with another config, which must outlive it.
  ApiContext with(const ModelConfig& other) const {
    return {.tokenizer = tokenizer,
            .config = other,
            .model_name = model_name,
            .limits = limits,
            .any_model = any_model,
            .grammars = grammars};
  }
};

/// One HTTP request that generates: `requests` in the order of the answer's choices.
struct ApiCall {
  enum class Kind { kChat, kCompletion, kEmbedding };
  Kind kind = Kind::kChat;
  std::vector<Request> requests;
  bool stream = false;
  bool include_usage = false;
  bool logprobs = false;
  bool echo = false;
  std::string details;                   // what another protocol's answer needs of the request
  CallsIn calls_in = CallsIn::kNothing;  // of tools, in the answer's text
  bool may_call() const { return calls_in != CallsIn::kNothing; }
  bool named_tool = false;                     // it is the call of one function, which was asked for
  std::vector<uint32_t> hidden_prompt_tokens;  // of each request: a BOS that we put before the prompt
};

/// POST /v1/chat/completions and /v1/completions.
ApiResult<ApiCall> read_chat(std::string_view body, const ApiContext& context);
/// The same of a body that was parsed, or made of another protocol's. body: its text, since `root` has lost the order
/// of a schema's properties.
ApiResult<ApiCall> read_chat_object(const nlohmann::json& root, const ApiContext& context, std::string_view body);
ApiResult<ApiCall> read_completion_object(const nlohmann::json& root, const ApiContext& context, std::string_view body);

class Fields;
/// A fault where the field "model" names another model than there is.
void check_model(Fields& fields, const ApiContext& context);
ApiResult<ApiCall> read_completion(std::string_view body, const ApiContext& context);

/// POST /tokenize, /detokenize, /apply-template; GET /tokenizer_info: the answer's body.
ApiResult<std::string> tokenize(std::string_view body, const ApiContext& context);
ApiResult<std::string> detokenize(std::string_view body, const ApiContext& context);
ApiResult<std::string> apply_template(std::string_view body, const ApiContext& context);
std::string tokenizer_info(const ApiContext& context);

}  // namespace onebit::server
