#include "server/embeddings_api.h"

#include <fmt/format.h>

#include <bit>
#include <nlohmann/json.hpp>

#include "server/fields.h"
#include "server/json_body.h"
#include "server/ollama_api.h"
#include "server/protocol.h"

namespace onebit::server {
namespace {

using nlohmann::json;
using Json = nlohmann::ordered_json;

static_assert(std::endian::native == std::endian::little, "embeddings in base64 are little-endian");

/// Words are text: names of special tokens mean nothing. BOS is put before them; where a model pools the last token's
/// state, <|endoftext|> after them, as the tokenizers of such models (Qwen3's) put it there.
std::vector<TokenId> tokens_of(const std::string& text, const ApiContext& context) {
  auto ids = context.tokenizer.encode(text, SpecialTokens::kAsText);
  if (const auto bos = context.tokenizer.bos()) ids.insert(ids.begin(), *bos);
  const auto end = context.tokenizer.special_token("<|endoftext|>");
  if (context.config.pooling == Pooling::kLast && end && context.tokenizer.is_stop(*end)) ids.push_back(*end);
  return ids;
}

class Reader {
 public:
  Reader(const json& root, const ApiContext& context) : fields_(root), context_(context) {}

  ApiResult<ApiCall> read(bool ollama) {
    call_.kind = ApiCall::Kind::kEmbedding;
    truncate_ = ollama && fields_.boolean("truncate", true);
    pooling_ = fields_.string("pooling", context_.config.pooling == Pooling::kLast ? "last" : "mean");
    if (pooling_ != "mean" && pooling_ != "last") fields_.fault("pooling", "pooling must be \"mean\" or \"last\"");
    const auto hidden = context_.config.hidden;
    if (fields_.integer("dimensions", hidden, 1, INT32_MAX) != hidden)
      fields_.fault("dimensions",
                    fmt::format("dimensions: this model's embeddings have {}, no fewer and no more", hidden), 400,
                    "unsupported_value");
    if (!ollama) call_.details = fields_.string("encoding_format", "float");
    if (!ollama && call_.details != "float" && call_.details != "base64")
      fields_.fault("encoding_format", "encoding_format must be \"float\" or \"base64\"");
    check_model(fields_, context_);
    inputs(ollama);
    if (const auto* error = fields_.error()) return tl::unexpected(*error);
    return std::move(call_);
  }

 private:
  void inputs(bool ollama) {
    const auto* input = fields_.find("input");
    const char* what = ollama ? "input must be a text or an array of texts"
                              : "input must be a text, an array of token ids, or an array of either";
    if (input == nullptr) return fields_.fault("input", what);
    if (input->is_string()) return add(tokens_of(input->get<std::string>(), context_));
    if (!ollama && is_token_ids(*input)) return add(token_ids(*input));
    if (!input->is_array() || (!ollama && input->empty())) return fields_.fault("input", what);
    if (input->size() > context_.limits.inputs)
      return fields_.fault("input", fmt::format("{} inputs are more than {}", input->size(), context_.limits.inputs));
    for (const auto& one : *input) {
      if (one.is_string())
        add(tokens_of(one.get<std::string>(), context_));
      else if (!ollama && is_token_ids(one))
        add(token_ids(one));
      else
        fields_.fault("input", what);
      if (fields_.error()) return;
    }
  }

  void add(std::vector<TokenId> tokens) {
    const auto at = call_.requests.size();
    const uint32_t most = context_.config.context - 1;
    if (truncate_ && tokens.size() > most) tokens.resize(most);
    if (tokens.empty()) return fields_.fault("input", fmt::format("input {} is empty", at));
    if (tokens.size() > most)
      return fields_.fault("input",
                           fmt::format("input {} has {} tokens, and this model takes {}", at, tokens.size(), most), 400,
                           "context_length_exceeded");
    for (const TokenId id : tokens)
      if (id < 0 || static_cast<uint32_t>(id) >= context_.config.vocabulary)
        return fields_.fault("input", fmt::format("input {} has a token id outside the vocabulary of {}", at,
                                                  context_.config.vocabulary));
    Request request;
    request.prompt = std::move(tokens);
    request.pooling = pooling_ == "last" ? Pooling::kLast : Pooling::kMean;
    call_.requests.push_back(std::move(request));
    call_.hidden_prompt_tokens.push_back(0);
  }

  Fields fields_;
  const ApiContext& context_;
  ApiCall call_;
  std::string pooling_;
  bool truncate_ = false;
};

}  // namespace

ApiResult<ApiCall> read_embeddings(std::string_view body, const ApiContext& context) {
  const auto root = parse_body(body);
  if (!root) return tl::unexpected(root.error());
  return Reader(*root, context).read(false);
}

ApiResult<ApiCall> read_ollama_embed(std::string_view body, const ApiContext& context) {
  auto root = parse_body(body);
  if (!root) return tl::unexpected(root.error());
  without_tag(*root);
  return Reader(*root, context).read(true);
}

const Protocol kEmbeddingsProtocol{"embd-", read_embeddings, make_format<EmbeddingsFormat>};
const Protocol kOllamaEmbedProtocol{"", read_ollama_embed, make_format<OllamaEmbedFormat>};

std::string EmbeddingsFormat::whole(const std::vector<ChoiceText>& choices, const std::vector<Outcome>& /*outcomes*/,
                                    const ApiUsage& usage) const {
  Json data = Json::array();
  for (size_t i = 0; i < choices.size(); ++i) {
    const auto& values = choices[i].embedding;
    data.push_back(
        {{"object", "embedding"},
         {"index", i},
         {"embedding", call_.details == "base64" ? Json(base64(std::as_bytes(std::span(values)))) : Json(values)}});
  }
  return dump({{"object", "list"},
               {"data", std::move(data)},
               {"model", head_.model},
               {"usage", {{"prompt_tokens", usage.prompt_tokens}, {"total_tokens", usage.prompt_tokens}}}});
}

std::string OllamaEmbedFormat::whole(const std::vector<ChoiceText>& choices, const std::vector<Outcome>& /*outcomes*/,
                                     const ApiUsage& usage) const {
  Json all = Json::array();
  for (const auto& choice : choices) all.push_back(choice.embedding);
  return dump({{"model", head_.model},
               {"embeddings", std::move(all)},
               {"total_duration", nanoseconds(usage.first_token_ms)},
               {"load_duration", 0},
               {"prompt_eval_count", usage.prompt_tokens}});
}

}  // namespace onebit::server
