// POST /v1/embeddings as OpenAI has it, and /api/embed as Ollama has it.
#pragma once

#include "server/api_format.h"
#include "server/base64.h"

namespace onebit::server {

/// One request for each input.
ApiResult<ApiCall> read_embeddings(std::string_view body, const ApiContext& context);
/// The same for Ollama's fields; inputs that are longer than the context are cut unless `truncate` is false.
ApiResult<ApiCall> read_ollama_embed(std::string_view body, const ApiContext& context);

class EmbeddingsFormat final : public ApiFormat {
 public:
  using ApiFormat::ApiFormat;
  std::string whole(const std::vector<ChoiceText>& choices, const std::vector<Outcome>& outcomes,
                    const ApiUsage& usage) const override;
};

class OllamaEmbedFormat final : public ApiFormat {
 public:
  using ApiFormat::ApiFormat;
  std::string whole(const std::vector<ChoiceText>& choices, const std::vector<Outcome>& outcomes,
                    const ApiUsage& usage) const override;
};

}  // namespace onebit::server
