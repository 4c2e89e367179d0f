#include <nlohmann/json.hpp>

#include "base/utf8.h"
#include "halo/chat_session.h"
#include "halo/commands.h"
#include "halo/common.h"
#include "halo/line_editor.h"
#include "halo/terminal.h"

namespace onebit::halo {
namespace {

struct ChatArguments {
  ModelArguments model;
  GenerateArguments generate;
  std::string message;
  bool has_message = false;
  bool json = false;
  std::string system;
};

bool stream_answer(std::string_view piece) {
  fmt::print("{}", piece);
  std::fflush(stdout);
  return !interrupted();
}

void interactive(ChatSession& session) {
  LineEditor editor;
  fmt::print("{}\n", dim("Ask something; /help lists commands.", stdout));
  while (const auto message = editor.read_message()) {
    clear_interrupt();
    const auto text = trim_white_space(*message);
    if (text.empty()) continue;
    if (text.front() == '/') {
      const auto leave = session.command(text);
      if (!leave) {
        report(leave.error());
      } else if (*leave) {
        return;
      }
      continue;
    }
    const auto generation = session.ask(text, stream_answer);
    fmt::print("\n");
    std::fflush(stdout);
    if (generation) {
      print_timings(*generation);
    } else {
      report(generation.error());
    }
    clear_interrupt();
  }
  fmt::print("\n");
}

Status one_shot(ChatSession& session, std::string_view message, bool json) {
  if (json) {
    ASSIGN_OR_RETURN(const auto g, session.ask(message, [](std::string_view) { return !interrupted(); }));
    fmt::print("{}\n", nlohmann::json{{"text", g.text},
                                      {"finish_reason", name_of(g.finish_reason)},
                                      {"prompt_tokens", g.prompt_tokens},
                                      {"answer_tokens", g.tokens.size()},
                                      {"prompt_ms", g.prompt_seconds * 1000},
                                      {"answer_ms", g.answer_seconds * 1000}}
                           .dump());
    return {};
  }
  ASSIGN_OR_RETURN(const auto generation, session.ask(message, stream_answer));
  fmt::print("\n");
  std::fflush(stdout);
  print_timings(generation);
  return {};
}

Status chat(const ChatArguments& a) {
  ASSIGN_OR_RETURN(auto params, a.generate.resolve());
  std::string message = a.message;
  const bool single = a.has_message || input_is_piped();
  if (!a.has_message && single) {
    ASSIGN_OR_RETURN(message, read_standard_input());
  }
  if (single && trim_white_space(message).empty()) return fail("the message is empty");
  ASSIGN_OR_RETURN(auto model, a.model.open());
  catch_interrupt();
  ChatSession session(model, std::move(params), a.system);
  if (single) return one_shot(session, message, a.json);
  interactive(session);
  return {};
}

}  // namespace

void add_chat(CLI::App& app, int& exit_code) {
  auto a = std::make_shared<ChatArguments>();
  auto* command = app.add_subcommand("chat", "Talk with a model: one question, or a conversation");
  command
      ->add_option("message", a->message, "One question; where absent, standard input, or a conversation on a terminal")
      ->type_name("TEXT");
  command->add_option("--system", a->system, "Instructions put before the conversation")->type_name("TEXT");
  command->add_flag("--json", a->json, "With one question: print one JSON object instead of the stream");
  a->model.add_to(*command);
  a->generate.add_to(*command);
  command->callback([a, command, &exit_code] {
    a->has_message = command->count("message") > 0;
    if (auto status = chat(*a); !status) exit_code = report(status.error());
  });
}

}  // namespace onebit::halo
