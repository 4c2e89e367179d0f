#include "halo/common.h"

#include <unistd.h>

#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <random>

#include "halo/models.h"
#include "halo/terminal.h"
#include "version.h"

namespace onebit::halo {
namespace {

volatile std::sig_atomic_t g_interrupted = 0;

extern "C" void on_interrupt(int) {
  if (g_interrupted != 0) std::_Exit(130);
  g_interrupted = 1;
}

Result<std::pair<TokenId, float>> parse_logit_bias(const std::string& text) {
  const auto equals = text.find('=');
  TokenId id = 0;
  float bias = 0;
  if (equals != std::string::npos) {
    const char* end = text.data() + text.size();
    const auto a = std::from_chars(text.data(), text.data() + equals, id);
    const auto b = std::from_chars(text.data() + equals + 1, end, bias);
    if (a.ec == std::errc() && a.ptr == text.data() + equals && b.ec == std::errc() && b.ptr == end)
      return std::pair(id, bias);
  }
  return fail("--logit-bias: '{}' is not of the form ID=BIAS, such as 417=-5", text);
}

}  // namespace

int report(const Error& error) {
  std::fflush(stdout);
  fmt::print(stderr, "{} {}\n", bold("halo:", stderr), error.message);
  return 1;
}

void ModelArguments::add_to(CLI::App& command) {
  command
      .add_option("-m,--model", path,
                  "Model: a file (.h1b) or a name (halo list); the bundled tiny-bitnet where absent")
      ->type_name("MODEL");
  command.add_option("--kv", kv, "How keys and values are kept: f16, q8 (half the memory) or f32 (for checks)")
      ->check(CLI::IsMember({"f16", "q8", "f32"}))
      ->capture_default_str();
  command
      .add_option("--head", head,
                  "Weights of the output layer: stored (the file's, int8 unless converted otherwise) or bf16 (the "
                  "embedding table, for checks)")
      ->check(CLI::IsMember({"stored", "bf16"}))
      ->capture_default_str();
  command
      .add_option("--engine", engine,
                  "gen-2, or reference: the same bits from plain scalar code on one thread, for checks")
      ->check(CLI::IsMember({"gen-2", "reference"}))
      ->capture_default_str();
  command.add_option("--device", device, "What gen-2 computes on: auto (a GPU where there is one), cpu, cuda:N, hip:N")
      ->type_name("DEVICE")
      ->capture_default_str();
  command
      .add_option("--device-fallback", fallback,
                  "What goes on with an answer where a GPU fails: cpu, or none: that is an error")
      ->check(CLI::IsMember({"cpu", "none"}))
      ->capture_default_str();
  command
      .add_option("--gpu-weights", gpu_weights,
                  "How a GPU gets the weights: auto (in place where it shares the host's memory, else copied) or copy")
      ->check(CLI::IsMember({"auto", "copy"}))
      ->capture_default_str();
  command.add_option("-t,--threads", threads, "Threads of the CPU; 0: one for each processor")
      ->check(CLI::Range(0u, 1024u))
      ->capture_default_str();
  command.add_flag("--pin", pin, "Keep each thread on a processor of its own");
}

Result<Model> ModelArguments::open(StepProfile* profile) const {
  ASSIGN_OR_RETURN(const auto file, model_path(path));
  ASSIGN_OR_RETURN(const auto kv_type, kv_type_by_name(kv));
  ASSIGN_OR_RETURN(const auto computes_on, device_by_name(device));
  return Model::open(file, {.kv_type = kv_type,
                            .head = head == "bf16" ? HeadChoice::kEmbedding : HeadChoice::kStored,
                            .engine = engine == "reference" ? Engine::kReference : Engine::kGen2,
                            .devices = {computes_on},
                            .cpu_fallback = fallback == "cpu",
                            .kv_bytes = 0,
                            .gpu_in_place = gpu_weights == "auto",
                            .threads = threads,
                            .pin = pin,
                            .profile = profile});
}

void add_share(CLI::App& command, std::string& text) {
  const auto check = [](std::string& value) {
    const auto share = parse_share(value);
    return share ? std::string() : share.error().message;
  };
  command
      .add_option("--shard", text,
                  "This process does share I, from 0, of N, and then what nobody is at; mpirun says it by itself")
      ->check(CLI::Validator(check, ""))
      ->type_name("I/N");
}

Result<Share> share_of(const std::string& text) {
  return text.empty() ? share_of_environment() : parse_share(text);
}

Sequence::Spare spare_of(Model& model) {
  return [&model](const Error& loss) {
    auto cpu = model.fall_back();
    if (cpu) fmt::print(stderr, "{} {}; going on with the CPU\n", bold("halo:", stderr), loss.message);
    return cpu;
  };
}

void GenerateArguments::add_to(CLI::App& command) {
  auto& p = params;
  auto& s = p.sampling;
  const char* group = "Sampling";
  command.add_option("-n,--max-tokens", p.max_tokens, "Stop after this many tokens; 0: when the context is full");
  command.add_option("--stop", p.stop, "Stop before this text (repeatable)")
      ->type_name("TEXT")
      ->allow_extra_args(false);
  command.add_flag("--ignore-eos", p.ignore_eos, "Go on past an end token");
  command
      .add_option("--lookup", p.lookup,
                  "Draft up to K tokens from the text so far and check them in one step: the same answer, faster where "
                  "it repeats what was said")
      ->type_name("K")
      ->check(CLI::Range(0u, 64u))
      ->capture_default_str();
  command.add_option("--temp", s.temperature, "Temperature; 0 takes the most likely token every time")
      ->group(group)
      ->capture_default_str();
  command.add_option("--top-k", s.top_k, "Choose among the K most likely tokens; 0: all")
      ->group(group)
      ->capture_default_str();
  command.add_option("--top-p", s.top_p, "Choose among the most likely tokens that together have this probability")
      ->group(group)
      ->capture_default_str();
  command.add_option("--min-p", s.min_p, "Leave out tokens below this fraction of the most likely one's probability")
      ->group(group)
      ->capture_default_str();
  command.add_option("--repetition-penalty", s.repetition_penalty, "Above 1: tokens that occurred become less likely")
      ->group(group)
      ->capture_default_str();
  command
      .add_option("--frequency-penalty", s.frequency_penalty, "Subtracted from a logit per occurrence in the answer")
      ->group(group)
      ->capture_default_str();
  command.add_option("--presence-penalty", s.presence_penalty, "Subtracted once from logits of tokens in the answer")
      ->group(group)
      ->capture_default_str();
  command.add_option("--logit-bias", logit_bias, "Added to a token's logit (repeatable)")
      ->type_name("ID=BIAS")
      ->group(group)
      ->allow_extra_args(false);
  command.add_option("--seed", seed, "Seed of the random choices; the same seed gives the same answer everywhere")
      ->group(group);
}

Result<GenerateParams> GenerateArguments::resolve() const {
  auto resolved = params;
  resolved.sampling.seed = seed ? *seed : std::random_device{}();
  for (const auto& text : logit_bias) {
    ASSIGN_OR_RETURN(const auto bias, parse_logit_bias(text));
    resolved.sampling.logit_bias.push_back(bias);
  }
  return resolved;
}

Result<std::string> read_standard_input() {
  constexpr size_t kLimit = size_t{64} << 20;
  std::string text;
  char buffer[1 << 16];
  size_t n = 0;
  while ((n = std::fread(buffer, 1, sizeof buffer, stdin)) > 0) {
    text.append(buffer, n);
    if (text.size() > kLimit) return fail("standard input: more than {} bytes", kLimit);
  }
  if (std::ferror(stdin) != 0) return fail("standard input: cannot read");
  return text;
}

bool input_is_piped() {
  return ::isatty(STDIN_FILENO) == 0;
}

std::string timings_text(const Generation& g) {
  const auto rate = [](size_t tokens, double seconds) {
    return seconds > 0 ? static_cast<double>(tokens) / seconds : 0.0;
  };
  const uint32_t computed = g.prompt_tokens - g.cached_tokens;
  const auto kept = g.cached_tokens > 0 ? fmt::format(" + {} kept", g.cached_tokens) : std::string();
  const auto drafted = g.drafts.computed > 0
                           ? fmt::format("; {} of {} drafted tokens accepted", g.drafts.accepted, g.drafts.computed)
                           : std::string();
  return fmt::format("prompt {}{} tokens in {:.2f} s, {:.1f} tok/s; answer {} tokens in {:.2f} s, {:.1f} tok/s{}",
                     computed, kept, g.prompt_seconds, rate(computed, g.prompt_seconds), g.tokens.size(),
                     g.answer_seconds, rate(g.tokens.size(), g.answer_seconds), drafted);
}

void print_timings(const Generation& g) {
  fmt::print(stderr, "{}\n", dim("[" + timings_text(g) + "]", stderr));
}

void catch_interrupt() {
  struct sigaction action{};
  action.sa_handler = on_interrupt;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, nullptr);  // no SA_RESTART: a blocking read returns
}

bool interrupted() {
  return g_interrupted != 0;
}
void clear_interrupt() {
  g_interrupted = 0;
}

std::string converter_name() {
  const std::string commit = kCommit;
  return fmt::format("1bit {}{}", kVersion, commit.empty() ? "" : " (" + commit + ")");
}

std::string iso_date() {
  std::time_t now = std::time(nullptr);
  if (const char* epoch = std::getenv("SOURCE_DATE_EPOCH"); epoch != nullptr) now = std::atoll(epoch);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

}  // namespace onebit::halo
