// halo tokenize without a model: the ids that a folder's tokenizer.json, or else its tokenizer.model, gives.
//
//   tokenize_folder tokenize --json-lines FILE DIR
//
// FILE holds one JSON string a line; for each, one JSON array of ids goes to standard output.
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/mapped_file.h"
#include "format/import/hf_tokenizer.h"
#include "tokenizer/tokenizer.h"

namespace {

using namespace onebit;

Result<Tokenizer> open_tokenizer(const std::string& folder) {
  HfTokenizerFiles files;
  files.folder = folder;
  const bool has_json = std::filesystem::exists(folder + "/tokenizer.json");
  ASSIGN_OR_RETURN(auto text, read_text_file(folder + (has_json ? "/tokenizer.json" : "/tokenizer.model"), 1 << 28));
  (has_json ? files.tokenizer_json : files.tokenizer_model) = std::move(text);
  ASSIGN_OR_RETURN(auto data, import_hf_tokenizer(files, 200'000));
  return Tokenizer::create(std::move(data));
}

Status run(const std::string& lines_file, const std::string& folder) {
  ASSIGN_OR_RETURN(const auto tokenizer, open_tokenizer(folder));
  ASSIGN_OR_RETURN(const auto text, read_text_file(lines_file, size_t{1} << 28));
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const auto value = nlohmann::json::parse(line);
    fmt::print("[{}]\n", fmt::join(tokenizer.encode(value.get_ref<const std::string&>(), SpecialTokens::kAsText), ","));
  }
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5 || std::string(argv[1]) != "tokenize" || std::string(argv[2]) != "--json-lines") {
    fmt::print(stderr, "usage: tokenize_folder tokenize --json-lines FILE DIR\n");
    return 2;
  }
  const auto status = run(argv[3], argv[4]);
  if (status) return 0;
  fmt::print(stderr, "tokenize_folder: {}\n", status.error().message);
  return 1;
}
