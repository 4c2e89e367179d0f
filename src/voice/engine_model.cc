#include "voice/engine_model.h"

namespace onebit::voice {

EngineModel::EngineModel(Model& model, EngineModelOptions options, const Sequence::Spare& spare)
    : model_(model), options_(std::move(options)), sequence_(model.backend(), spare) {}

/// The conversation as tokens; the oldest exchanges are dropped until a quarter of the context is left for the answer.
Result<std::vector<TokenId>> EngineModel::prompt_for(const std::string& question) {
  const uint32_t context = model_.file().config().context;
  while (true) {
    std::vector<ChatMessage> all;
    if (!options_.system.empty()) all.push_back({"system", options_.system});
    all.insert(all.end(), messages_.begin(), messages_.end());
    all.push_back({"user", question});
    ASSIGN_OR_RETURN(auto prompt, encode_chat(model_.tokenizer(), all, true));
    if (prompt.size() <= context - context / 4 || messages_.empty()) return prompt;
    messages_.erase(messages_.begin(), messages_.begin() + 2);
  }
}

Status EngineModel::answer(const std::string& question, const Sink& sink, const std::stop_token& stop) {
  ASSIGN_OR_RETURN(const auto prompt, prompt_for(question));
  const auto cancelled = [&] { return stop.stop_requested(); };
  const auto told = [&](std::string_view piece) { return !cancelled() && sink(piece); };
  const auto made =
      generate(sequence_, model_.tokenizer(), model_.file().config(), prompt, options_.params, told, cancelled);
  if (!made && !cancelled()) return tl::unexpected(made.error());
  return {};
}

void EngineModel::remember(const std::string& question, const std::string& heard) {
  if (!options_.remember || heard.empty()) return;
  messages_.push_back({"user", question});
  messages_.push_back({"assistant", heard});
}

}  // namespace onebit::voice
