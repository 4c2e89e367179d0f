// A conversation at a terminal or in a script: its messages, its settings, its commands.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "engine/generate.h"
#include "engine/model.h"
#include "halo/common.h"
#include "tokenizer/chat_layout.h"

namespace onebit::halo {

class ChatSession {
 public:
  ChatSession(Model& model, GenerateParams params, std::string system)
      : model_(model),
        params_(std::move(params)),
        sequence_(model.backend(), spare_of(model)),
        system_(std::move(system)) {}

  /// The answer to `question`, streamed to `sink`; both sides are remembered. A failed question is forgotten.
  Result<Generation> ask(std::string_view question, const TextSink& sink);

  /// A line that begins with '/'. What it has to say goes to standard output. True: leave.
  Result<bool> command(std::string_view line);

 private:
  Result<std::vector<TokenId>> fitting_prompt();
  Status set(std::string_view arguments);
  Status save(const std::string& path) const;
  Status load(const std::string& path);
  void print_stats() const;
  void print_settings() const;

  Model& model_;
  GenerateParams params_;
  Sequence sequence_;
  std::string system_;
  std::vector<ChatMessage> messages_;
  std::optional<Generation> last_;
};

}  // namespace onebit::halo
