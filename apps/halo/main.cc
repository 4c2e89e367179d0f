#include <CLI/CLI.hpp>

#include "halo/commands.h"
#include "halo/common.h"
#include "version.h"

namespace {

/// One line that says what was wrong with the arguments, and where help is.
std::string usage_error(const CLI::App* app, const CLI::Error& error) {
  std::string command;
  for (const auto* sub : app->get_subcommands()) command = " " + sub->get_name();
  return fmt::format("halo{}: {} (halo{} --help tells more)\n", command, error.what(), command);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace onebit::halo;
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
      "  halo COMMAND --help                          everything about a command\n"
      "\nExit codes: 0 done, 1 failed (one sentence on standard error says why), 2 wrong usage.");
  int exit_code = 0;
  add_chat(app, exit_code);
  add_run(app, exit_code);
  add_ppl(app, exit_code);
  add_tokenize(app, exit_code);
  add_detokenize(app, exit_code);
  add_convert(app, exit_code);
  add_synth(app, exit_code);
  add_inspect(app, exit_code);
  add_verify(app, exit_code);
  app.failure_message(usage_error);
  const auto commands = app.get_subcommands([](const CLI::App*) { return true; });
  const auto is_command = [&](const CLI::App* command) { return command->get_name() == argv[1]; };
  if (argc > 1 && argv[1][0] != '-' && std::none_of(commands.begin(), commands.end(), is_command)) {
    fmt::print(stderr, "halo: there is no command '{}' (halo --help lists them)\n", argv[1]);
    return 2;
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  } catch (const std::bad_alloc&) {
    return report({"out of memory"});
  } catch (const std::exception& e) {
    return report({e.what()});
  }
  if (app.get_subcommands().empty()) {
    fmt::print(stderr, "{}", app.help());
    return 2;
  }
  return exit_code;
}
