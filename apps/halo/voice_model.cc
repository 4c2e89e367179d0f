#include "halo/voice_model.h"

#include "engine/answer.h"

namespace onebit::halo {
namespace {

constexpr size_t kLongWord = 8;

bool of_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '\'' ||
         static_cast<unsigned char>(c) >= 0x80;
}

}  // namespace

std::vector<std::string> token_like_pieces(std::string_view text) {
  std::vector<std::string> pieces;
  for (size_t at = 0; at < text.size();) {
    size_t end = at;
    while (end < text.size() && (text[end] == ' ' || text[end] == '\n')) ++end;
    const size_t word = end;
    while (end < text.size() && of_word(text[end])) ++end;
    if (end == word && end < text.size()) ++end;  // a sign
    if (end - word > kLongWord) {
      const size_t half = word + (end - word) / 2;
      pieces.emplace_back(text.substr(at, half - at));
      at = half;
    }
    pieces.emplace_back(text.substr(at, end - at));
    at = end;
  }
  return pieces;
}

FixedTextModel::FixedTextModel(Model& model, GenerateParams params, std::string_view text)
    : model_(model), params_(std::move(params)), sequence_(model.backend()), pieces_(token_like_pieces(text)) {
  params_.ignore_eos = true;
}

Status FixedTextModel::answer(const std::string& question, const Sink& sink, const std::stop_token& stop) {
  const auto& tokenizer = model_.tokenizer();
  const auto& config = model_.file().config();
  const std::vector<ChatMessage> messages{{"user", question}};
  ASSIGN_OR_RETURN(const auto prompt, encode_chat(tokenizer, messages, true));
  RETURN_IF_ERROR(check_request(prompt, params_, config));
  Answer answer(tokenizer, config, params_, prompt);
  sequence_.want_best(answer.candidates());
  RETURN_IF_ERROR(sequence_.prefill(std::span<const TokenId>(prompt).first(1)));  // no question has another's keys
  const auto filled = sequence_.prefill(prompt, [&] { return stop.stop_requested(); });
  if (stop.stop_requested()) return {};
  if (!filled) return tl::unexpected(filled.error());
  for (const auto& piece : pieces_) {
    if (stop.stop_requested() || answer.ended()) return {};
    if (!sequence_.best().empty() && !answer.decided_by(sequence_.best())) RETURN_IF_ERROR(sequence_.compute_logits());
    const auto taken = sequence_.best().empty() ? answer.take(sequence_.logits(), sequence_.length())
                                                : answer.take(sequence_.best(), sequence_.length());
    if (!sink(piece)) return {};
    RETURN_IF_ERROR(sequence_.append(taken.token.id));
  }
  return {};
}

}  // namespace onebit::halo
