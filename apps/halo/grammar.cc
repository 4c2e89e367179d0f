// halo grammar: whether a grammar can be followed, and what following it costs a step.
#include "grammar/grammar_cache.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <random>

#include "base/mapped_file.h"
#include "engine/model.h"
#include "format/h1b_file.h"
#include "grammar/matcher.h"
#include "halo/commands.h"
#include "halo/common.h"
#include "halo/models.h"

namespace onebit::halo {
namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::ordered_json;

struct GrammarArguments {
  std::string model, vocabulary, schema, gbnf, regex;
  uint32_t walks = 20, tokens = 300;
  bool json = false;
};

double milliseconds_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

Result<std::string> read(const std::string& path) {
  ASSIGN_OR_RETURN(const auto file, MappedFile::open(path));
  const auto bytes = file.bytes();
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

/// Tokens as hexadecimal digits, one a line in the order of their ids; an empty line is an id without a token. The last
/// line ends answers.
Result<Tokenizer> listed_tokenizer(const std::string& path) {
  ASSIGN_OR_RETURN(const auto text, read(path));
  TokenizerData data;
  std::string_view rest = text;
  while (!rest.empty()) {
    auto line = rest.substr(0, std::min(rest.find('\n'), rest.size()));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    std::string bytes;
    for (size_t i = 0; i + 1 < line.size(); i += 2) {
      const auto digit = [](char c) { return c <= '9' ? c - '0' : (c | 32) - 'a' + 10; };
      bytes += static_cast<char>(16 * digit(line[i]) + digit(line[i + 1]));
    }
    data.tokens.push_back(std::move(bytes));
  }
  if (data.tokens.empty()) return fail("{}: there are no tokens", path);
  data.special.assign(data.tokens.size(), false);
  data.special.back() = true;
  data.stop_tokens = {static_cast<TokenId>(data.tokens.size()) - 1};
  RETURN_IF_ERROR(validate(data));
  return Tokenizer::create(std::move(data));
}

Result<Tokenizer> tokenizer_of(const GrammarArguments& a) {
  if (!a.vocabulary.empty()) return listed_tokenizer(a.vocabulary);
  ASSIGN_OR_RETURN(const auto path, model_path(a.model));
  ASSIGN_OR_RETURN(const auto file, H1bFile::open(path));
  return open_tokenizer(file);
}

/// Milliseconds of each mask of random answers; of those that were computed with nothing kept yet, too.
struct Times {
  std::vector<double> all;
  double first = 0;  // the longest of the first answer
  uint64_t allowed = 0;
};

Status walk(const std::shared_ptr<const grammar::Grammar>& grammar, const Tokenizer& tokenizer, uint32_t most,
            std::mt19937& random, Times& times) {
  grammar::Matcher matcher(grammar);
  grammar::TokenMask mask;
  for (uint32_t i = 0; i < most && !matcher.must_end(); ++i) {
    const auto begin = Clock::now();
    RETURN_IF_ERROR(matcher.next(mask));
    times.all.push_back(milliseconds_since(begin));
    std::vector<TokenId> allowed;
    for (TokenId id = 0; static_cast<size_t>(id) < tokenizer.vocabulary_size(); ++id)
      if (grammar::allows(mask, id)) allowed.push_back(id);
    if (allowed.empty()) return fail("no token of this vocabulary can follow");
    times.allowed += allowed.size();
    const TokenId id = allowed[random() % allowed.size()];
    if (tokenizer.is_stop(id)) break;
    if (!matcher.accept(id)) return fail("a token that was allowed is refused");
  }
  return {};
}

Status check_grammar(const GrammarArguments& a) {
  ASSIGN_OR_RETURN(const auto tokenizer, tokenizer_of(a));
  const auto language = !a.schema.empty() ? grammar::Language::kJsonSchema
                        : !a.gbnf.empty() ? grammar::Language::kGbnf
                                          : grammar::Language::kRegex;
  std::string source = a.regex;
  if (a.regex.empty()) {
    ASSIGN_OR_RETURN(source, read(a.schema.empty() ? a.gbnf : a.schema));
  }
  auto begin = Clock::now();
  ASSIGN_OR_RETURN(const auto program, grammar::compile(language, source));
  const double compile_ms = milliseconds_since(begin);
  grammar::GrammarCache cache(tokenizer);
  begin = Clock::now();
  ASSIGN_OR_RETURN(const auto compiled, cache.get(language, source));
  const double prepare_ms = milliseconds_since(begin) - compile_ms;

  Times times;
  std::mt19937 random(1);
  for (uint32_t i = 0; i < a.walks; ++i) {
    RETURN_IF_ERROR(walk(compiled, tokenizer, a.tokens, random, times));
    if (i == 0) times.first = *std::max_element(times.all.begin(), times.all.end());
  }
  const size_t steps = times.all.size();
  double sum = 0;
  for (const double t : times.all) sum += t;
  std::sort(times.all.begin(), times.all.end());
  const auto at = [&](double share) {
    return times.all[std::min(steps - 1, static_cast<size_t>(share * static_cast<double>(steps)))];
  };
  if (a.json) {
    const ordered_json result{{"vocabulary", tokenizer.vocabulary_size()},
                              {"states", program.states.size() - 1},
                              {"bytes", program.bytes()},
                              {"compile_ms", compile_ms},
                              {"prepare_ms", prepare_ms},
                              {"steps", steps},
                              {"mean_ms", sum / static_cast<double>(steps)},
                              {"median_ms", at(0.5)},
                              {"p99_ms", at(0.99)},
                              {"most_ms", times.all.back()},
                              {"most_of_first_answer_ms", times.first},
                              {"allowed", static_cast<double>(times.allowed) / static_cast<double>(steps)}};
    fmt::print("{}\n", result.dump());
    return {};
  }
  fmt::print("{} states, {} bytes, compiled in {:.2f} ms\n", program.states.size() - 1, program.bytes(), compile_ms);
  fmt::print("masks of {} tokens over {} steps: mean {:.3f} ms, median {:.3f}, 99 % {:.3f}, longest {:.3f}\n",
             tokenizer.vocabulary_size(), steps, sum / static_cast<double>(steps), at(0.5), at(0.99), times.all.back());
  return {};
}

}  // namespace

void add_grammar(CLI::App& app, int& exit_code) {
  auto a = std::make_shared<GrammarArguments>();
  auto* command =
      app.add_subcommand("grammar", "Whether a JSON schema or grammar can be followed, and what a step costs");
  command->add_option("-m,--model", a->model, "Model file whose vocabulary is masked; the bundled one")
      ->type_name("FILE");
  command
      ->add_option("--vocabulary", a->vocabulary, "Instead: tokens in hexadecimal, one a line, the last ends answers")
      ->type_name("FILE");
  auto* source = command->add_option_group("source");
  source->add_option("--schema", a->schema, "JSON schema")->type_name("FILE");
  source->add_option("--gbnf", a->gbnf, "Grammar in GBNF")->type_name("FILE");
  source->add_option("--regex", a->regex, "Regular expression of the whole answer")->type_name("TEXT");
  source->require_option(1);
  command->add_option("-n,--walks", a->walks, "Random answers that are timed")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  command->add_option("--tokens", a->tokens, "Of each answer at most")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  command->add_flag("--json", a->json, "One JSON object");
  command->callback([a, &exit_code] {
    if (auto status = check_grammar(*a); !status) exit_code = report(status.error());
  });
}

}  // namespace onebit::halo
