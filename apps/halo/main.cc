#include <CLI/CLI.hpp>

#include "halo/commands.h"
#include "halo/common.h"
#include "version.h"

int main(int argc, char** argv) {
  using namespace onebit::halo;
  CLI::App app("halo: ternary (BitNet b1.58) language models on this machine");
  app.set_version_flag("--version", converter_name());
  app.require_subcommand(1);
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
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  } catch (const std::bad_alloc&) {
    return report({"out of memory"});
  } catch (const std::exception& e) {
    return report({e.what()});
  }
  return exit_code;
}
