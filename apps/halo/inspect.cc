#include <map>
#include <nlohmann/json.hpp>
#include "base/utf8.h"

#include "halo/commands.h"
#include "halo/common.h"
#include "halo/models.h"
#include "halo/progress.h"

namespace onebit::halo {
namespace {

struct InspectArguments {
  std::string file;
  bool json = false;
  bool tensors = false;
};

/// What all tensors of one packing take.
struct PackingTotal {
  uint64_t tensors = 0, weights = 0, bytes = 0;
  double bits_per_weight() const { return 8.0 * static_cast<double>(bytes) / static_cast<double>(weights); }
};

std::map<std::string_view, PackingTotal> totals(const H1bFile& file) {
  std::map<std::string_view, PackingTotal> result;
  for (const auto& t : file.tensors()) {
    auto& total = result[name_of(t.packing)];
    ++total.tensors;
    total.weights += t.rows * t.columns;
    total.bytes += t.bytes();
  }
  return result;
}

std::string shape_text(const Tensor& t) {
  return fmt::format("{} x {}", t.rows, t.columns);
}

const char* kind_of(const TokenizerData& tokenizer) {
  return tokenizer.pre_tokenizer == PreTokenizer::kSentencePiece ? "SentencePiece BPE" : "byte-level BPE";
}

nlohmann::json to_json(const H1bFile& file, const TokenizerData& tokenizer) {
  const auto& c = file.config();
  nlohmann::json root{{"file", file.path()}, {"format", "h1b"}, {"version", 3}, {"bytes", file.file_bytes()}};
  root["identity"] = fmt::format("{:016x}", file.identity());
  root["config"] = {{"architecture", family_name(c)},
                    {"norms", {{"sub", c.norms.sub}, {"heads", c.norms.heads}, {"projections", c.norms.projections}}},
                    {"activation", name_of(c.activation)},
                    {"layers", c.layers},
                    {"hidden", c.hidden},
                    {"heads", c.heads},
                    {"kv_heads", c.kv_heads},
                    {"head_dim", c.head_dim},
                    {"ffn", c.ffn},
                    {"vocabulary", c.vocabulary},
                    {"context", c.context},
                    {"rms_epsilon", c.rms_epsilon},
                    {"rope_theta", c.rope_theta},
                    {"tied_head", c.tied_head}};
  for (const auto& [name, total] : totals(file))
    root["packings"][std::string(name)] = {{"tensors", total.tensors},
                                           {"weights", total.weights},
                                           {"bytes", total.bytes},
                                           {"bits_per_weight", total.bits_per_weight()}};
  root["tokenizer"] = {{"kind", kind_of(tokenizer)},
                       {"pre_tokenizer", name_of(tokenizer.pre_tokenizer)},
                       {"nfc", tokenizer.nfc},
                       {"added_tokens", tokenizer.added.size() + tokenizer.added_after_nfc.size()},
                       {"tokens", tokenizer.tokens.size()},
                       {"merges", tokenizer.merges.size()},
                       {"special_tokens", std::count(tokenizer.special.begin(), tokenizer.special.end(), true)},
                       {"bos", tokenizer.bos},
                       {"stop_tokens", tokenizer.stop_tokens},
                       {"chat_layout", name_of(tokenizer.chat.layout)}};
  for (const auto& [key, value] : file.provenance()) root["provenance"][key] = value;
  root["tensors"] = nlohmann::json::array();
  for (const auto& t : file.tensors())
    root["tensors"].push_back({{"name", t.name},
                               {"kind", name_of(t.kind)},
                               {"packing", name_of(t.packing)},
                               {"shape", {t.rows, t.columns}},
                               {"offset", t.offset},
                               {"bytes", t.bytes()},
                               {"xxh3", fmt::format("{:016x}", t.xxh3)}});
  return root;
}

void print_text(const H1bFile& file, const TokenizerData& tokenizer, bool tensors) {
  const auto& c = file.config();
  fmt::print("{}: .h1b version 3, {:.1f} MB, identity {:016x}\n", file.path(),
             static_cast<double>(file.file_bytes()) / 1e6, file.identity());
  for (const auto& [key, value] : file.provenance()) fmt::print("  {:<14} {}\n", printable(key), printable(value, 400));
  fmt::print("\nShape\n  {} layers, hidden {}, {} query heads over {} KV heads of {}, feed-forward {}\n", c.layers,
             c.hidden, c.heads, c.kv_heads, c.head_dim, c.ffn);
  fmt::print("  {}: {}{}{}{} gate\n", family_name(c), c.norms.sub ? "sub-norms, " : "",
             c.norms.heads ? "head norms, " : "", c.norms.projections ? "projection norms, " : "",
             c.activation == Activation::kSilu ? "SiLU" : "squared ReLU");
  if (c.pooling != Pooling::kNone)
    fmt::print("  made for embeddings: {}\n",
               c.pooling == Pooling::kLast ? "the last token's state" : "the mean of all states");
  fmt::print("  vocabulary {}, context {}, RoPE theta {:.0f}, RMSNorm epsilon {:g}, {} head\n", c.vocabulary, c.context,
             c.rope_theta, c.rms_epsilon, c.tied_head ? "tied" : "untied");
  fmt::print("\nWeights   tensors       weights          bytes   bits/weight\n");
  for (const auto& [name, total] : totals(file))
    fmt::print("  {:<6} {:>9} {:>13} {:>14} {:>13.3f}\n", name, total.tensors, total.weights, total.bytes,
               total.bits_per_weight());
  fmt::print("\nTokenizer\n  {} ({}{}), {} tokens ({} special), {} merges, chat layout {}\n", kind_of(tokenizer),
             name_of(tokenizer.pre_tokenizer), tokenizer.nfc ? ", NFC" : "", tokenizer.tokens.size(),
             std::count(tokenizer.special.begin(), tokenizer.special.end(), true), tokenizer.merges.size(),
             name_of(tokenizer.chat.layout));
  if (!tensors) return;
  fmt::print("\nTensors\n");
  for (const auto& t : file.tensors())
    fmt::print("  {:<24} {:<9} {:<5} {:>16} at {:>12}, {:>11} bytes, xxh3 {:016x}\n", t.name, name_of(t.kind),
               name_of(t.packing), shape_text(t), t.offset, t.bytes(), t.xxh3);
}

Status inspect(const InspectArguments& a) {
  ASSIGN_OR_RETURN(const auto path, model_path(a.file));
  ASSIGN_OR_RETURN(const auto file, H1bFile::open(path));
  ASSIGN_OR_RETURN(const auto tokenizer, file.tokenizer());
  if (a.json)
    fmt::print("{}\n", to_json(file, tokenizer).dump(2));
  else
    print_text(file, tokenizer, a.tensors);
  return {};
}

Status verify(const InspectArguments& a) {
  ASSIGN_OR_RETURN(const auto path, model_path(a.file));
  ASSIGN_OR_RETURN(const auto file, H1bFile::open(path));
  {
    ProgressBar bar;
    RETURN_IF_ERROR(file.verify([&](uint64_t done, uint64_t total) { bar.update(done, total, "verifying"); }));
  }
  if (a.json) {
    fmt::print("{}\n",
               nlohmann::json{
                   {"file", path}, {"sound", true}, {"tensors", file.tensors().size()}, {"bytes", file.file_bytes()}}
                   .dump());
    return {};
  }
  fmt::print("{}: sound: {} tensors, {} bytes, every checksum matches\n", path, file.tensors().size(),
             file.file_bytes());
  return {};
}

}  // namespace

void add_inspect(CLI::App& app, int& exit_code) {
  auto a = std::make_shared<InspectArguments>();
  auto* command = app.add_subcommand("inspect", "What a model file holds");
  command->add_option("file", a->file, "Model file (.h1b); the bundled one where absent")->type_name("FILE");
  command->add_flag("--json", a->json, "One JSON object, tensors included");
  command->add_flag("--tensors", a->tensors, "List the tensors too");
  command->callback([a, &exit_code] {
    if (auto status = inspect(*a); !status) exit_code = report(status.error());
  });
}

void add_verify(CLI::App& app, int& exit_code) {
  auto a = std::make_shared<InspectArguments>();
  auto* command = app.add_subcommand("verify", "Read a model file whole and check every byte");
  command->add_option("file", a->file, "Model file (.h1b); the bundled one where absent")->type_name("FILE");
  command->add_flag("--json", a->json, "One JSON object");
  command->callback([a, &exit_code] {
    if (auto status = verify(*a); !status) exit_code = report(status.error());
  });
}

}  // namespace onebit::halo
