#include <nlohmann/json.hpp>

#include "eval/perplexity.h"
#include "halo/commands.h"
#include "halo/common.h"

namespace onebit::halo {
namespace {

struct PplArguments {
  ModelArguments model;
  std::string file;
  PerplexityOptions options;
  bool no_bos = false;
  bool json = false;
};

Status ppl(const PplArguments& a) {
  ASSIGN_OR_RETURN(const auto text, read_text_file(a.file, size_t{1} << 30));
  ASSIGN_OR_RETURN(auto model, a.model.open());
  const auto tokens = model.tokenizer().encode(text, SpecialTokens::kAsText);
  auto options = a.options;
  if (!a.no_bos) options.bos = model.tokenizer().bos();
  const auto progress = [&](const PerplexityResult& so_far, size_t windows) {
    if (!a.json)
      fmt::print(stderr, "window {} of {}: perplexity {:.4f}\n", so_far.windows.size(), windows, so_far.perplexity());
  };
  auto result = perplexity(model.backend(), tokens, options, progress);
  if (!result) return fail_in(a.file, result.error());
  if (!a.json) {
    fmt::print("perplexity {:.4f} over {} tokens\n", result->perplexity(), result->tokens());
    return {};
  }
  nlohmann::json root{{"file", a.file},
                      {"text_tokens", tokens.size()},
                      {"tokens_scored", result->tokens()},
                      {"nll_sum", result->nll()},
                      {"token_perplexity", result->perplexity()},
                      {"kv", a.model.kv},
                      {"head", a.model.head},
                      {"window", options.window},
                      {"bos", options.bos.has_value()}};
  auto windows = nlohmann::json::array();
  for (const auto& w : result->windows) windows.push_back({{"tokens", w.tokens}, {"nll", w.nll}});
  root["windows"] = std::move(windows);
  fmt::print("{}\n", root.dump());
  return {};
}

}  // namespace

void add_ppl(CLI::App& app, int& exit_code) {
  auto a = std::make_shared<PplArguments>();
  auto* command = app.add_subcommand("ppl", "Perplexity of a text file under a model");
  command->add_option("file", a->file, "The text, UTF-8")->required()->type_name("FILE");
  a->model.add_to(*command);
  command->add_option("--window", a->options.window, "Tokens scored per window")
      ->capture_default_str()
      ->check(CLI::Range(1u, 1u << 20));
  command->add_option("--windows", a->options.max_windows, "Score only the first N windows; 0: all")->type_name("N");
  command->add_flag("--no-bos", a->no_bos, "No BOS token before each window (its first token is then not scored)");
  command->add_flag("--json", a->json, "Print one JSON object with every window");
  command->callback([a, &exit_code] {
    if (auto status = ppl(*a); !status) exit_code = report(status.error());
  });
}

}  // namespace onebit::halo
