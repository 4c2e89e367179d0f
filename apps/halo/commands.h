// Each subcommand adds itself to the program's parser and leaves its exit code: 0 ok, 1 failed, 2 usage.
#pragma once

#include <CLI/App.hpp>

namespace onebit::halo {

void add_run(CLI::App& app, int& exit_code);
void add_chat(CLI::App& app, int& exit_code);
void add_voice(CLI::App& app, int& exit_code);
void add_batch(CLI::App& app, int& exit_code);
void add_ppl(CLI::App& app, int& exit_code);
void add_burnin(CLI::App& app, int& exit_code);
void add_gate(CLI::App& app, int& exit_code);
void add_tokenize(CLI::App& app, int& exit_code);
void add_detokenize(CLI::App& app, int& exit_code);
void add_grammar(CLI::App& app, int& exit_code);
void add_convert(CLI::App& app, int& exit_code);
void add_inspect(CLI::App& app, int& exit_code);
void add_verify(CLI::App& app, int& exit_code);
void add_synth(CLI::App& app, int& exit_code);
void add_bench(CLI::App& app, int& exit_code);
void add_roofline(CLI::App& app, int& exit_code);
void add_report(CLI::App& app, int& exit_code);
void add_export(CLI::App& app, int& exit_code);
void add_pull(CLI::App& app, int& exit_code);
void add_list(CLI::App& app);
void add_rm(CLI::App& app, int& exit_code);
void add_completion(CLI::App& app);
void add_man(CLI::App& app, int& exit_code);

}  // namespace onebit::halo
