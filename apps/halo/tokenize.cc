#include <nlohmann/json.hpp>

#include "base/utf8.h"
#include "halo/commands.h"
#include "halo/common.h"
#include "halo/models.h"

namespace onebit::halo {
namespace {

struct TokenizeArguments {
  std::string model;
  std::string text;
  bool has_text = false;
  bool special = false;
  bool show = false;
  bool json = false;
  std::string json_lines;
};

struct DetokenizeArguments {
  std::string model;
  std::vector<TokenId> ids;
  bool skip_special = false;
};

Result<Tokenizer> open_tokenizer_of(const std::string& model) {
  ASSIGN_OR_RETURN(const auto path, model_path(model));
  ASSIGN_OR_RETURN(const auto file, H1bFile::open(path));
  return open_tokenizer(file);
}

/// One JSON string a line in, one array of ids a line out.
Status tokenize_lines(const Tokenizer& tokenizer, const TokenizeArguments& a, SpecialTokens special) {
  ASSIGN_OR_RETURN(const auto lines, read_text_file(a.json_lines, size_t{1} << 30));
  size_t number = 0;
  for (size_t begin = 0; begin < lines.size(); ++number) {
    const size_t end = std::min(lines.find('\n', begin), lines.size());
    const auto value = nlohmann::json::parse(lines.begin() + static_cast<ptrdiff_t>(begin),
                                             lines.begin() + static_cast<ptrdiff_t>(end), nullptr, false);
    if (!value.is_string()) return fail("{}: line {}: expected a JSON string", a.json_lines, number + 1);
    fmt::print("[{}]\n", fmt::join(tokenizer.encode(value.get_ref<const std::string&>(), special), ","));
    begin = end + 1;
  }
  return {};
}

Status tokenize(const TokenizeArguments& a) {
  ASSIGN_OR_RETURN(const auto tokenizer, open_tokenizer_of(a.model));
  const auto special = a.special ? SpecialTokens::kParse : SpecialTokens::kAsText;
  if (!a.json_lines.empty()) return tokenize_lines(tokenizer, a, special);
  std::string text = a.text;
  if (!a.has_text) {
    ASSIGN_OR_RETURN(text, read_standard_input());
  }
  const auto ids = tokenizer.encode(text, special);
  if (a.json) {
    fmt::print("{}\n", nlohmann::json{{"ids", ids}, {"count", ids.size()}}.dump());
    return {};
  }
  if (!a.show) {
    fmt::print("{}\n", fmt::join(ids, " "));
    return {};
  }
  for (const TokenId id : ids)
    fmt::print("{:6}  {}\n", id, nlohmann::json(utf8_replace_invalid(tokenizer.token_bytes(id))).dump());
  return {};
}

Status detokenize(const DetokenizeArguments& a) {
  ASSIGN_OR_RETURN(const auto tokenizer, open_tokenizer_of(a.model));
  for (const TokenId id : a.ids)
    if (id < 0 || static_cast<size_t>(id) >= tokenizer.vocabulary_size())
      return fail("token id {} is outside the vocabulary of {}", id, tokenizer.vocabulary_size());
  const auto text = tokenizer.decode(a.ids, a.skip_special);
  std::fwrite(text.data(), 1, text.size(), stdout);
  return {};
}

}  // namespace

void add_tokenize(CLI::App& app, int& exit_code) {
  auto a = std::make_shared<TokenizeArguments>();
  auto* command = app.add_subcommand("tokenize", "Text to token ids");
  command->add_option("text", a->text, "The text; standard input, every byte of it, where absent")->type_name("TEXT");
  command->add_option("-m,--model", a->model, "Model file (.h1b); the bundled one where absent")->type_name("FILE");
  command->add_flag("--special", a->special, "Read the names of special tokens as these tokens");
  command->add_flag("--json", a->json, "One JSON object: ids, count");
  command->add_flag("--show", a->show, "A line a token: id and text");
  command
      ->add_option("--json-lines", a->json_lines, "A file of JSON strings, one a line; prints an array of ids for each")
      ->type_name("FILE");
  command->callback([a, command, &exit_code] {
    a->has_text = command->count("text") > 0;
    if (auto status = tokenize(*a); !status) exit_code = report(status.error());
  });
}

void add_detokenize(CLI::App& app, int& exit_code) {
  auto a = std::make_shared<DetokenizeArguments>();
  auto* command = app.add_subcommand("detokenize", "Token ids to text");
  command->add_option("ids", a->ids, "Token ids")->required()->type_name("ID");
  command->add_option("-m,--model", a->model, "Model file (.h1b); the bundled one where absent")->type_name("FILE");
  command->add_flag("--skip-special", a->skip_special, "Leave special tokens out");
  command->callback([a, &exit_code] {
    if (auto status = detokenize(*a); !status) exit_code = report(status.error());
  });
}

}  // namespace onebit::halo
