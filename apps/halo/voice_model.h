// For measuring: a model that computes as it would, and says a text that is given.
#pragma once

#include <string>
#include <vector>

#include "engine/model.h"
#include "voice/engine_model.h"

namespace onebit::halo {

/// A text in pieces of the length that tokens of such a text have: a word with the space before it, a sign, half of a
/// long word.
std::vector<std::string> token_like_pieces(std::string_view text);

/// Answers every question with `text`, a piece for each token that the model computes and samples as usual; what it
/// sampled is thrown away. So random weights of a shape tell how soon a real model of it would be heard.
class FixedTextModel : public voice::LanguageModel {
 public:
  FixedTextModel(Model& model, GenerateParams params, std::string_view text);

  Status answer(const std::string& question, const Sink& sink, const std::stop_token& stop) override;
  void remember(const std::string&, const std::string&) override {}

 private:
  Model& model_;
  GenerateParams params_;
  Sequence sequence_;
  std::vector<std::string> pieces_;
};

}  // namespace onebit::halo
