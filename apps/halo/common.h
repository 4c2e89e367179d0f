// What the subcommands share.
#pragma once

#include <CLI/App.hpp>
#include <optional>
#include <string>

#include "base/share.h"
#include "engine/generate.h"
#include "engine/model.h"

namespace onebit::halo {

/// Prints "halo: message" on standard error; returns 1, the exit code of a failure.
int report(const Error& error);

/// -m, --kv, --head, --engine, --device, --device-fallback, --gpu-weights, --threads, --pin.
struct ModelArguments {
  std::string path;
  std::string kv = "f16";
  std::string head = "stored";
  std::string engine = "gen-2";
  std::string device = "auto";
  std::string fallback = "cpu";
  std::string gpu_weights = "auto";
  uint32_t threads = 0;
  bool pin = false;

  void add_to(CLI::App& command);
  Result<Model> open(StepProfile* profile = nullptr) const;
};

/// --shard I/N.
void add_share(CLI::App& command, std::string& text);
/// This process's share of a command that several run: by `text`, that option, or else as mpirun says; or the whole.
Result<Share> share_of(const std::string& text);

/// What takes the place of a device that `model` loses: the CPU, unless the options say otherwise; says so. The model
/// must outlive it and not move.
Sequence::Spare spare_of(Model& model);

/// -n, --temp, --top-k, …, --stop.
struct GenerateArguments {
  GenerateParams params;
  std::optional<uint64_t> seed;
  std::vector<std::string> logit_bias;  // ID=BIAS

  void add_to(CLI::App& command);
  /// The seed drawn where none was given, the biases parsed.
  Result<GenerateParams> resolve() const;
};

/// All of standard input. At most 64 MiB.
Result<std::string> read_standard_input();
/// True where standard input is something piped in, not a terminal.
bool input_is_piped();

/// "prompt 22 tokens in 0.21 s, 105.0 tok/s; answer 12 tokens in 0.14 s, 86.0 tok/s".
std::string timings_text(const Generation& generation);
/// The same in brackets on standard error.
void print_timings(const Generation& generation);

/// Set by Ctrl-C from now on instead of ending the program; a second one ends it.
void catch_interrupt();
bool interrupted();
void clear_interrupt();

/// Provenance of files this program writes.
std::string converter_name();
/// Now, or $SOURCE_DATE_EPOCH, as 2026-01-31T12:00:00Z.
std::string iso_date();

}  // namespace onebit::halo
