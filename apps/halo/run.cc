#include <nlohmann/json.hpp>

#include "base/utf8.h"
#include "halo/commands.h"
#include "halo/common.h"

namespace onebit::halo {
namespace {

struct RunArguments {
  ModelArguments model;
  GenerateArguments generate;
  std::string prompt;
  bool has_prompt = false;
  bool json = false;
  bool special = false;
  std::optional<uint32_t> logprobs;
};

nlohmann::json logprobs_json(const Generation& generation, const Tokenizer& tokenizer) {
  auto list = nlohmann::json::array();
  const auto entry = [&](TokenId id, float logprob) {
    return nlohmann::json{{"id", id}, {"token", utf8_replace_invalid(tokenizer.token_bytes(id))}, {"logprob", logprob}};
  };
  for (const auto& token : generation.tokens) {
    auto item = entry(token.id, token.logprob);
    item["top"] = nlohmann::json::array();
    for (const auto& other : token.top) item["top"].push_back(entry(other.id, other.logprob));
    list.push_back(std::move(item));
  }
  return list;
}

void print_json(const Generation& g, std::span<const TokenId> prompt, const RunArguments& a,
                const Tokenizer& tokenizer) {
  nlohmann::json root;
  root["text"] = g.text;
  root["prompt_token_ids"] = std::vector<TokenId>(prompt.begin(), prompt.end());
  auto ids = nlohmann::json::array();
  for (const auto& token : g.tokens) ids.push_back(token.id);
  root["token_ids"] = std::move(ids);
  root["finish_reason"] = name_of(g.finish_reason);
  if (a.logprobs) root["logprobs"] = logprobs_json(g, tokenizer);
  const double prompt_ms = g.prompt_seconds * 1000, answer_ms = g.answer_seconds * 1000;
  root["timings"] = {
      {"prompt_tokens", g.prompt_tokens},
      {"prompt_ms", prompt_ms},
      {"prompt_tokens_per_second", prompt_ms > 0 ? g.prompt_tokens / g.prompt_seconds : 0.0},
      {"drafted_tokens", g.drafts.computed},
      {"accepted_tokens", g.drafts.accepted},
      {"answer_tokens", g.tokens.size()},
      {"answer_ms", answer_ms},
      {"answer_tokens_per_second", answer_ms > 0 ? static_cast<double>(g.tokens.size()) / g.answer_seconds : 0.0}};
  fmt::print("{}\n", root.dump());
}

Status run(const RunArguments& a) {
  std::string text = a.prompt;
  if (!a.has_prompt) {
    ASSIGN_OR_RETURN(text, read_standard_input());
    if (!text.empty() && text.back() == '\n') text.pop_back();
  }
  ASSIGN_OR_RETURN(auto params, a.generate.resolve());
  params.logprobs = a.logprobs.has_value();
  params.top_logprobs = a.logprobs.value_or(0);
  ASSIGN_OR_RETURN(auto model, a.model.open());
  const auto& tokenizer = model.tokenizer();
  auto prompt = tokenizer.encode(text, a.special ? SpecialTokens::kParse : SpecialTokens::kAsText);
  const auto bos = tokenizer.bos();
  if (bos && (prompt.empty() || prompt.front() != *bos)) prompt.insert(prompt.begin(), *bos);
  catch_interrupt();
  Sequence sequence(model.backend(), spare_of(model));
  const auto sink = [&](std::string_view piece) {
    if (!a.json) {
      fmt::print("{}", piece);
      std::fflush(stdout);
    }
    return !interrupted();
  };
  ASSIGN_OR_RETURN(const auto generation, generate(sequence, tokenizer, model.file().config(), prompt, params, sink));
  if (a.json) {
    print_json(generation, prompt, a, tokenizer);
    return {};
  }
  fmt::print("\n");
  std::fflush(stdout);
  print_timings(generation);
  return {};
}

}  // namespace

void add_run(CLI::App& app, int& exit_code) {
  auto a = std::make_shared<RunArguments>();
  auto* command = app.add_subcommand("run", "Continue a text");
  command->add_option("prompt", a->prompt, "The text; standard input where absent (without its last line end)")
      ->type_name("TEXT");
  a->model.add_to(*command);
  a->generate.add_to(*command);
  command->add_flag("--json", a->json, "Print one JSON object: text, prompt_token_ids, token_ids, logprobs, timings");
  command->add_flag("--special", a->special, "Read the names of special tokens in the prompt as these tokens");
  command->add_option("--logprobs", a->logprobs, "With --json: each token's log-probability and the N likeliest")
      ->type_name("N")
      ->check(CLI::Range(0, 100));
  command->footer("A BOS token is put first unless the prompt begins with one.");
  command->callback([a, command, &exit_code] {
    a->has_prompt = command->count("prompt") > 0;
    if (auto status = run(*a); !status) exit_code = report(status.error());
  });
}

}  // namespace onebit::halo
