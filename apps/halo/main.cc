#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <new>

#include "halo/commands.h"
#include "halo/common.h"
#include "halo/suggest.h"
#include "version.h"

namespace onebit::halo {
namespace {

std::vector<const CLI::App*> commands_of(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

/// "; did you mean '--temp'?" for the arguments that a command did not expect; empty where nothing is near.
std::string suggestion(const CLI::App& command, std::string_view unexpected) {
  std::vector<std::string> flags;
  for (const auto* option : command.get_options())
    for (const auto& name : option->get_lnames()) flags.push_back("--" + name);
  for (size_t at = unexpected.find("--"); at != std::string_view::npos; at = unexpected.find("--", at + 1)) {
    const auto word = unexpected.substr(at, unexpected.find_first_of(" =", at) - at);
    if (const auto near = nearest(word, flags); !near.empty()) return fmt::format("; did you mean '{}'?", near);
  }
  return {};
}

/// One line that says what was wrong with the arguments, and where help is.
std::string usage_error(const CLI::App* app, const CLI::Error& error) {
  const CLI::App* command = app;
  for (const auto* sub : app->get_subcommands()) command = sub;
  const auto name = command == app ? std::string() : " " + command->get_name();
  const auto near =
      dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr ? suggestion(*command, error.what()) : std::string();
  return fmt::format("halo{}: {}{} (halo{} --help tells more)\n", name, error.what(), near, name);
}

/// What is said of a first word that is no command.
std::string unknown_command(const CLI::App& app, const std::string& word) {
  std::vector<std::string> names;
  for (const auto* command : commands_of(app)) names.push_back(command->get_name());
  const auto near = nearest(word, names);
  return fmt::format("halo: there is no command '{}'{} (halo --help lists them)\n", word,
                     near.empty() ? "" : fmt::format("; did you mean '{}'?", near));
}

int run(int argc, char** argv) {
  CLI::App app("halo: ternary (BitNet b1.58) language models on this machine");
  app.set_version_flag("--version", converter_name());
  app.require_subcommand(0, 1);  // none is told of below
  app.get_formatter()->column_width(36);
  app.footer(
      "Examples:\n"
      "  halo chat \"What is the capital of France?\"   one answer from the bundled model\n"
      "  halo chat                                    a conversation\n"
      "  halo run -n 40 \"Once upon a time\"            text that goes on\n"
      "  halo convert FOLDER -o model.h1b             a Hugging Face folder to a model file\n"
      "  halo pull OWNER/NAME                         the same from a host: fetched, checked, converted\n"
      "  halo COMMAND --help                          everything about a command\n"
      "\nExit codes: 0 done, 1 failed (one sentence on standard error says why), 2 wrong usage.");
  int exit_code = 0;
  add_chat(app, exit_code);
  add_run(app, exit_code);
  add_voice(app, exit_code);
  add_batch(app, exit_code);
  add_ppl(app, exit_code);
  add_burnin(app, exit_code);
  add_gate(app, exit_code);
  add_tokenize(app, exit_code);
  add_detokenize(app, exit_code);
  add_grammar(app, exit_code);
  add_convert(app, exit_code);
  add_synth(app, exit_code);
  add_inspect(app, exit_code);
  add_verify(app, exit_code);
  add_bench(app, exit_code);
  add_roofline(app, exit_code);
  add_report(app, exit_code);
  add_export(app, exit_code);
  add_pull(app, exit_code);
  add_list(app);
  add_rm(app, exit_code);
  add_completion(app);
  add_man(app, exit_code);
  app.failure_message(usage_error);
  const auto commands = commands_of(app);
  const auto is_command = [&](const CLI::App* command) { return command->get_name() == argv[1]; };
  if (argc > 1 && argv[1][0] != '-' && std::none_of(commands.begin(), commands.end(), is_command)) {
    fmt::print(stderr, "{}", unknown_command(app, argv[1]));
    return 2;
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  if (app.get_subcommands().empty()) {
    fmt::print(stderr, "{}", app.help());
    return 2;
  }
  return exit_code;
}

}  // namespace
}  // namespace onebit::halo

int main(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // a file-size limit is then an error like a full disk
  try {
    return onebit::halo::run(argc, argv);
  } catch (const std::bad_alloc&) {
    std::fputs("halo: out of memory\n", stderr);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "halo: %s\n", e.what());
  }
  return 1;
}
