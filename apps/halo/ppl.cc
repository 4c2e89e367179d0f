#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/hash.h"
#include "eval/line_log.h"
#include "eval/perplexity.h"
#include "halo/commands.h"
#include "halo/common.h"
#include "halo/progress.h"

namespace onebit::halo {
namespace {

using json = nlohmann::ordered_json;  // the state begins with what it is
constexpr std::string_view kStateBegins = "{\"halo_ppl\":1,";

std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

struct PplArguments {
  ModelArguments model;
  std::string file, state, share;
  PerplexityOptions options;
  bool no_bos = false;
  bool json = false;
};

/// What a state file must say to belong to this run: all that its numbers depend on, and the engine, so that one
/// engine's numbers never pass for another's.
json identity_of(const PplArguments& a, const Model& model, const PerplexityOptions& options, std::string_view text) {
  return {{"halo_ppl", 1},
          {"model", fmt::format("{:016x}", model.file().identity())},
          {"text", fmt::format("{:016x}", xxh3(std::as_bytes(std::span(text))))},
          {"window", options.window},
          {"stride", options.stride},
          {"bos", options.bos.has_value()},
          {"kv", a.model.kv},
          {"head", a.model.head},
          {"engine", model.engine_name()}};
}

/// Windows that an earlier run left in the file at `path`, whose first line must be `identity`.
Result<PerplexityResult> read_state(const std::string& path, const json& identity) {
  PerplexityResult known;
  std::ifstream file(path);
  bool first = true;
  for (std::string line; std::getline(file, line); first = false) {
    const auto value = json::parse(line, nullptr, false);
    if (first && !(value == identity))
      return fail("{}: holds another run (model, text or options differ): remove it, or name another file", path);
    if (first) continue;
    const auto number = [&](const char* name, json::value_t type) {
      return value.is_object() && value.contains(name) && value[name].type() == type;
    };
    if (!number("tokens", json::value_t::number_unsigned) || !number("nll", json::value_t::number_float))
      return fail("{}: line {} is no window: remove the file", path, known.windows.size() + 2);
    known.windows.push_back({value["tokens"], value["nll"]});
  }
  return known;
}

/// Says each window on standard error: over the last one on a terminal.
class PplProgress {
 public:
  explicit PplProgress(size_t known) : known_(known) {}
  void update(const PerplexityResult& so_far, size_t windows) {
    const size_t done = so_far.windows.size();
    const double elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
    const double left = elapsed / static_cast<double>(done - known_) * static_cast<double>(windows - done);
    line_.show(
        fmt::format("window {} of {}: perplexity {:.4f}, {:.0f} s left", done, windows, so_far.perplexity(), left));
  }

 private:
  size_t known_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  StatusLine line_;
};

json to_json(const PplArguments& a, const json& identity, const PerplexityResult& result, const TextMeasure& text) {
  auto root = identity;
  root.erase("halo_ppl");
  const double nll = result.nll();
  root.update({{"file", a.file},
               {"tokens_scored", result.tokens()},
               {"words", text.words},
               {"bytes", text.bytes},
               {"nll_sum", nll},
               {"token_perplexity", result.perplexity()},
               {"word_perplexity", std::exp(nll / static_cast<double>(text.words))},
               {"bits_per_byte", nll / std::log(2.0) / static_cast<double>(text.bytes)},
               {"windows", json::array()}});
  for (const auto& w : result.windows) root["windows"].push_back({{"tokens", w.tokens}, {"nll", w.nll}});
  return root;
}

/// One text under one model, and what is known of it in files.
class PplRun {
 public:
  PplRun(const PplArguments& a, Model& model, const PerplexityOptions& options, std::span<const TokenId> tokens,
         const json& identity, size_t windows)
      : a_(a), model_(model), options_(options), tokens_(tokens), identity_(identity), windows_(windows) {}

  Result<PerplexityResult> alone() {
    if (a_.state.empty()) return score(Share{}, nullptr, {});
    ASSIGN_OR_RETURN(auto log, LineLog::open(a_.state, kStateBegins));
    return go_on(Share{}, a_.state, log);
  }

  /// With the other processes. The state file is where all they have found ends; whose share is not there has a file
  /// of its own until then.
  Result<PerplexityResult> together(Share own) {
    {
      ASSIGN_OR_RETURN(const auto log, open_state());
      ASSIGN_OR_RETURN(auto known, read_state(a_.state, identity_));
      if (known.windows.size() >= windows_) return first(std::move(known));
    }
    RETURN_IF_ERROR(do_shares(own, [this](Share share) { return do_share(share); }));
    return join(own);
  }

 private:
  PerplexityResult first(PerplexityResult known) const {
    if (known.windows.size() > windows_) known.windows.resize(windows_);  // that run was to score more of the text
    return known;
  }

  /// For this process alone, which others do for a moment only.
  Result<LineLog> open_state() const {
    for (;;) {
      ASSIGN_OR_RETURN(auto log, LineLog::open_if_free(a_.state, kStateBegins));
      if (log) return *std::move(log);
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }

  Result<bool> do_share(Share share) {
    const auto path = share.path(a_.state);
    ASSIGN_OR_RETURN(auto log, LineLog::open_if_free(path, kStateBegins));
    if (!log) return false;
    // Whoever joined the shares has removed their files since, and this is a new one.
    {
      ASSIGN_OR_RETURN(const auto whole, open_state());
      ASSIGN_OR_RETURN(const auto all, read_state(a_.state, identity_));
      if (all.windows.size() >= windows_) return std::filesystem::remove(path);
    }
    RETURN_IF_ERROR(go_on(share, path, *log));
    return true;
  }

  Result<PerplexityResult> join(Share own) {
    ASSIGN_OR_RETURN(auto log, open_state());
    ASSIGN_OR_RETURN(auto known, read_state(a_.state, identity_));
    if (known.windows.size() >= windows_) return first(std::move(known));
    std::vector<PerplexityResult> shares;
    for (Share share{0, own.count}; share.index < own.count; ++share.index) {
      ASSIGN_OR_RETURN(auto part, read_state(share.path(a_.state), identity_of_share(share)));
      part.windows.resize(std::min<size_t>(part.windows.size(), share.of(windows_)));
      shares.push_back(std::move(part));
    }
    auto all = join_shares(shares);
    if (all.windows.size() < windows_) return fail("{}: of a share, windows have gone: start again", a_.state);
    RETURN_IF_ERROR(begin(log, a_.state, identity_));
    for (size_t i = known.windows.size(); i < all.windows.size(); ++i)
      RETURN_IF_ERROR(log.append(dump_window(all.windows[i])));
    RETURN_IF_ERROR(log.sync());
    for (Share share{0, own.count}; share.index < own.count; ++share.index)
      std::filesystem::remove(share.path(a_.state));
    return all;
  }

  json identity_of_share(Share share) const {
    auto identity = identity_;
    if (!share.whole()) identity["share"] = fmt::format("{}/{}", share.index, share.count);
    return identity;
  }
  static std::string dump_window(const PerplexityWindow& w) { return dump({{"tokens", w.tokens}, {"nll", w.nll}}); }
  static Status begin(LineLog& log, const std::string& path, const json& identity) {
    std::ifstream file(path);
    return file.peek() == std::ifstream::traits_type::eof() ? log.append(dump(identity)) : Status();
  }

  /// Scores what the file at `path`, open as `log`, does not have of a share.
  Result<PerplexityResult> go_on(Share share, const std::string& path, LineLog& log) {
    const auto identity = identity_of_share(share);
    ASSIGN_OR_RETURN(auto known, read_state(path, identity));
    const size_t windows = share.of(windows_);
    if (known.windows.size() > windows) known.windows.resize(windows);  // that run was to score more of the text
    RETURN_IF_ERROR(begin(log, path, identity));
    if (!known.windows.empty()) fmt::print(stderr, "{}: {} windows are known\n", path, known.windows.size());
    return score(share, &log, std::move(known));
  }

  Result<PerplexityResult> score(Share share, LineLog* log, PerplexityResult known) {
    PplProgress shown(known.windows.size());
    const auto progress = [&](const PerplexityResult& so_far, size_t windows) -> Status {
      shown.update(so_far, windows);
      if (log != nullptr) RETURN_IF_ERROR(log->append(dump_window(so_far.windows.back())));
      return {};
    };
    auto options = options_;
    options.share = share;
    return perplexity(model_.backend(), tokens_, options, progress, std::move(known));
  }

  const PplArguments& a_;
  Model& model_;
  const PerplexityOptions& options_;
  std::span<const TokenId> tokens_;
  const json& identity_;
  size_t windows_;  // of all shares
};

Result<PerplexityResult> score(const PplArguments& a, Model& model, const PerplexityOptions& options,
                               std::span<const TokenId> tokens, const json& identity, Share share) {
  auto windows = perplexity_windows(tokens.size(), options, model.backend().config());
  if (!windows) return fail_in(a.file, windows.error());
  PplRun run(a, model, options, tokens, identity, *windows);
  auto result = share.whole() ? run.alone() : run.together(share);
  if (!result) return fail_in(a.file, result.error());
  return result;
}

Status ppl(const PplArguments& a) {
  ASSIGN_OR_RETURN(const auto share, share_of(a.share));
  if (!share.whole() && a.state.empty())
    return fail("{} processes share this: name a file for what they find, with --state, in a folder that all see",
                share.count);
  ASSIGN_OR_RETURN(const auto text, read_text_file(a.file, size_t{1} << 30));
  ASSIGN_OR_RETURN(auto model, a.model.open());
  const auto tokens = model.tokenizer().encode(text, SpecialTokens::kAsText);
  auto options = a.options;
  if (!a.no_bos) options.bos = model.tokenizer().bos();
  const auto identity = identity_of(a, model, options, text);
  ASSIGN_OR_RETURN(const auto result, score(a, model, options, tokens, identity, share));
  if (share.index != 0) return {};  // the first says it
  const auto measure = measure_scored(model.tokenizer(), tokens, options, result.windows.size());
  const auto root = to_json(a, identity, result, measure);
  if (a.json) {
    fmt::print("{}\n", dump(root));
    return {};
  }
  fmt::print("perplexity {:.4f} over {} tokens; a word {:.4f}, {:.4f} bits per byte\n", result.perplexity(),
             result.tokens(), root["word_perplexity"].get<double>(), root["bits_per_byte"].get<double>());
  return {};
}

}  // namespace

void add_ppl(CLI::App& app, int& exit_code) {
  auto a = std::make_shared<PplArguments>();
  auto* command = app.add_subcommand("ppl", "Perplexity of a text file under a model");
  command->add_option("file", a->file, "The text, UTF-8")->required()->type_name("FILE");
  a->model.add_to(*command);
  command->add_option("--window", a->options.window, "Tokens a window holds")
      ->capture_default_str()
      ->check(CLI::Range(1u, 1u << 20));
  command
      ->add_option("--stride", a->options.stride,
                   "Tokens by which windows advance; the others of a window are context. 0: the whole window")
      ->capture_default_str();
  command->add_option("--windows", a->options.max_windows, "Score only the first N windows; 0: all")->type_name("N");
  command->add_flag("--no-bos", a->no_bos, "No BOS token before each window (its first token is then not scored)");
  command->add_option("--state", a->state, "Keep each window's result in FILE, and go on there if it has some")
      ->type_name("FILE");
  add_share(*command, a->share);
  command->add_flag("--json", a->json, "Print one JSON object with every window");
  command->footer(
      "Words are runs of bytes that are no white space; perplexity a word and bits per byte can be compared between\n"
      "tokenizers, perplexity a token cannot. Several processes share the windows with --state FILE: mpirun halo ppl "
      "…,\n"
      "or --shard I/N by hand; the same bits as of one. Where one is gone, the others do its share, or the same "
      "command\n"
      "again goes on.");
  command->callback([a, &exit_code] {
    if (auto status = ppl(*a); !status) exit_code = report(status.error());
  });
}

}  // namespace onebit::halo
