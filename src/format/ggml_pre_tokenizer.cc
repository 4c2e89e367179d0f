#include "format/ggml_pre_tokenizer.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "base/utf8.h"

namespace onebit {
namespace {

constexpr auto kLlama3 = PreTokenizer::kLlama3;
constexpr auto kGpt2 = PreTokenizer::kGpt2;
constexpr auto kQwen2 = PreTokenizer::kQwen2;

/// The first that says what a vocabulary needs is the one that it is written with.
constexpr std::array<std::pair<std::string_view, GgmlPreTokenizer>, 14> kGgmlNames = {{
    {"llama-bpe", {kLlama3, true, false}},
    {"llama3", {kLlama3, true, false}},
    {"llama-v3", {kLlama3, true, false}},
    {"falcon3", {kLlama3, true, false}},
    {"falcon_e", {kLlama3, true, false}},
    {"falcon-h1", {kLlama3, true, false}},
    {"dbrx", {kLlama3, false, false}},
    {"smaug-bpe", {kLlama3, false, false}},
    {"qwen2", {kQwen2, false, true}},
    {"deepseek-r1-qwen", {kQwen2, false, true}},
    {"gpt-2", {kGpt2, false, false}},
    {"phi-2", {kGpt2, false, false}},
    {"olmo", {kGpt2, false, true}},  // these two have GPT-NeoX's vocabulary
    {"mpt", {kGpt2, false, true}},
}};

}  // namespace

Result<GgmlPreTokenizer> ggml_pre_tokenizer(std::string_view name) {
  const auto known =
      std::find_if(kGgmlNames.begin(), kGgmlNames.end(), [&](const auto& one) { return one.first == name; });
  if (known != kGgmlNames.end()) return known->second;
  std::string names;
  for (const auto& one : kGgmlNames) names.append(names.empty() ? "" : ", ").append(one.first);
  return fail("found '{}', this version knows {}", printable(name), names);
}

std::string_view ggml_pre_tokenizer_name(const TokenizerData& data) {
  const auto same = [&](const auto& one) {
    return one.second.pre_tokenizer == data.pre_tokenizer &&
           (data.pre_tokenizer != kLlama3 || one.second.ignore_merges == data.ignore_merges) &&
           (data.pre_tokenizer != kGpt2 || one.second.nfc == data.nfc);
  };
  const auto known = std::find_if(kGgmlNames.begin(), kGgmlNames.end(), same);
  return known == kGgmlNames.end() ? "default" : known->first;
}

}  // namespace onebit
