#include <editline/readline.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>

#include "base/utf8.h"
#include "halo/commands.h"
#include "halo/common.h"
#include "tokenizer/chat_layout.h"

namespace onebit::halo {
namespace {

struct ChatArguments {
  ModelArguments model;
  GenerateArguments generate;
  std::string message;
  bool has_message = false;
  std::string system;
};

/// A conversation and the sequence that holds its computed part.
class Conversation {
 public:
  Conversation(Model& model, GenerateParams params, std::string system)
      : model_(model), params_(std::move(params)), sequence_(model.backend()), system_(std::move(system)) {}

  void clear() { messages_.clear(); }
  void set_system(std::string_view text) { system_ = text; }

  /// Streams the answer to standard output and remembers both sides. A failed question is forgotten.
  Status ask(std::string_view question) {
    messages_.push_back({"user", std::string(question)});
    auto generation = answer();
    if (!generation) {
      messages_.pop_back();
      return tl::unexpected(generation.error());
    }
    messages_.push_back({"assistant", generation->text});
    fmt::print("\n");
    std::fflush(stdout);
    print_timings(*generation);
    return {};
  }

 private:
  Result<Generation> answer() {
    ASSIGN_OR_RETURN(const auto prompt, fitting_prompt());
    const auto sink = [](std::string_view piece) {
      fmt::print("{}", piece);
      std::fflush(stdout);
      return !interrupted();
    };
    return generate(sequence_, model_.tokenizer(), model_.file().config(), prompt, params_, sink);
  }

  /// The conversation as tokens; the oldest exchanges are dropped until at least a quarter of the
  /// context is left for the answer.
  Result<std::vector<TokenId>> fitting_prompt() {
    const uint32_t context = model_.file().config().context;
    while (true) {
      std::vector<ChatMessage> all;
      if (!system_.empty()) all.push_back({"system", system_});
      all.insert(all.end(), messages_.begin(), messages_.end());
      ASSIGN_OR_RETURN(auto prompt, encode_chat(model_.tokenizer(), all, true));
      if (prompt.size() <= context - context / 4 || messages_.size() < 3) return prompt;
      messages_.erase(messages_.begin(), messages_.begin() + 2);
      fmt::print(stderr, "[the conversation no longer fits the context: its oldest exchange was dropped]\n");
    }
  }

  Model& model_;
  GenerateParams params_;
  Sequence sequence_;
  std::string system_;
  std::vector<ChatMessage> messages_;
};

constexpr const char* kHelp =
    "  /clear          forget the conversation\n"
    "  /system TEXT    instructions for the rest of it; without TEXT: none\n"
    "  /exit           leave (or Ctrl-D); Ctrl-C stops an answer\n";

/// A line from the terminal; nothing at its end.
std::optional<std::string> read_line() {
  const std::unique_ptr<char, void (*)(void*)> line(::readline("> "), std::free);
  if (!line) return std::nullopt;
  std::string text(line.get());
  if (!trim_white_space(text).empty()) ::add_history(line.get());
  return text;
}

int interactive(Conversation& conversation) {
  fmt::print("Ask something; /help lists commands.\n");
  while (const auto line = read_line()) {
    clear_interrupt();
    const auto text = trim_white_space(*line);
    if (text.empty()) continue;
    if (text == "/exit" || text == "/quit") return 0;
    if (text == "/help") {
      fmt::print("{}", kHelp);
    } else if (text == "/clear") {
      conversation.clear();
    } else if (text == "/system" || text.starts_with("/system ")) {
      conversation.set_system(trim_white_space(text.substr(7)));
    } else if (text.front() == '/') {
      fmt::print("unknown command; these exist:\n{}", kHelp);
    } else if (auto status = conversation.ask(text); !status) {
      report(status.error());
    }
    clear_interrupt();
  }
  fmt::print("\n");
  return 0;
}

int chat(const ChatArguments& a) {
  auto params = a.generate.resolve();
  if (!params) return report(params.error());
  std::string message = a.message;
  const bool one_shot = a.has_message || input_is_piped();
  if (!a.has_message && one_shot) {
    auto text = read_standard_input();
    if (!text) return report(text.error());
    message = *std::move(text);
  }
  if (one_shot && trim_white_space(message).empty()) return report({"the message is empty"});
  auto model = a.model.open();
  if (!model) return report(model.error());
  catch_interrupt();
  Conversation conversation(*model, *std::move(params), a.system);
  if (!one_shot) return interactive(conversation);
  if (auto status = conversation.ask(message); !status) return report(status.error());
  return 0;
}

}  // namespace

void add_chat(CLI::App& app, int& exit_code) {
  auto a = std::make_shared<ChatArguments>();
  auto* command = app.add_subcommand("chat", "Talk with a model: one question, or a conversation");
  command
      ->add_option("message", a->message, "One question; where absent, standard input, or a conversation on a terminal")
      ->type_name("TEXT");
  command->add_option("--system", a->system, "Instructions put before the conversation")->type_name("TEXT");
  a->model.add_to(*command);
  a->generate.add_to(*command);
  command->callback([a, command, &exit_code] {
    a->has_message = command->count("message") > 0;
    exit_code = chat(*a);
  });
}

}  // namespace onebit::halo
