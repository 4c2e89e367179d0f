#include <condition_variable>
#include <deque>
#include <filesystem>
#include <mutex>

#include "base/utf8.h"
#include "engine/engine_loop.h"
#include "halo/batch_lines.h"
#include "halo/batch_shares.h"
#include "halo/commands.h"
#include "halo/common.h"
#include "halo/progress.h"
#include "server/api_format.h"

namespace onebit::halo {
namespace {

using Clock = std::chrono::steady_clock;
using server::ApiError;

struct BatchArguments {
  ModelArguments model;
  std::string in, out, model_name, share;
  bool any_model = false;
  uint32_t parallel = 64;
};

/// Wakes the thread that writes.
class Bell {
 public:
  void ring() {
    const std::lock_guard lock(mutex_);
    rung_ = true;
    bell_.notify_one();
  }
  /// Until somebody rang since the last time, or for a moment.
  void wait() {
    std::unique_lock lock(mutex_);
    bell_.wait_for(lock, std::chrono::milliseconds(200), [&] { return rung_; });
    rung_ = false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable bell_;
  bool rung_ = false;
};

/// A request under way: its choices are told by the engine's threads.
class Work {
 public:
  Work(BatchLine line, const Tokenizer& tokenizer, server::ApiHead head, Bell& bell)
      : line_(std::move(line)), format_(line_.protocol->format(*line_.call, tokenizer, std::move(head))), bell_(bell) {
    choices_.resize(line_.call->requests.size());
    outcomes_.resize(choices_.size());
    for (uint32_t i = 0; line_.call->echo && i < choices_.size(); ++i) choices_[i] = format_->echo(i, {});
  }
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;

  const BatchLine& line() const { return line_; }
  bool ended() const {
    const std::lock_guard lock(mutex_);
    return ended_ == choices_.size();
  }
  /// After ended().
  bool failed() const { return error_.has_value(); }
  const std::string& failure() const { return error_->message; }
  std::string text() const {
    return error_ ? error_line(line_, *error_) : answer_line(line_, format_->whole(choices_, outcomes_, usage_));
  }

  void on_prompt(uint32_t choice, std::vector<GeneratedToken> tokens) {
    const std::lock_guard lock(mutex_);
    choices_[choice] = format_->echo(choice, std::move(tokens));
  }
  void on_embedding(uint32_t choice, std::vector<float> embedding) {
    const std::lock_guard lock(mutex_);
    choices_[choice].embedding = std::move(embedding);
  }
  void on_token(uint32_t choice, Answer::Piece piece) {
    const std::lock_guard lock(mutex_);
    choices_[choice].text += piece.text;
    if (line_.call->logprobs) choices_[choice].tokens.push_back(std::move(piece.token));
  }
  void on_end(uint32_t choice, const Outcome& outcome, const std::string& rest) {
    const std::lock_guard lock(mutex_);
    choices_[choice].text += rest;
    if (outcome.error) error_ = server::api_error(500, "engine_error", outcome.error->message);
    outcomes_[choice] = outcome;
    usage_.add(outcome, line_.call->requests[choice].params.sampling.choice == 0);  // a prompt counts once
    if (++ended_ == choices_.size()) bell_.ring();
  }

 private:
  BatchLine line_;
  std::unique_ptr<server::ApiFormat> format_;
  Bell& bell_;
  mutable std::mutex mutex_;
  std::vector<server::ChoiceText> choices_;
  std::vector<Outcome> outcomes_;
  server::ApiUsage usage_;
  std::optional<ApiError> error_;
  size_t ended_ = 0;
};

class ChoiceOfWork final : public RequestListener {
 public:
  ChoiceOfWork(std::shared_ptr<Work> work, uint32_t choice) : work_(std::move(work)), choice_(choice) {}
  void on_prompt(std::vector<GeneratedToken> tokens) override { work_->on_prompt(choice_, std::move(tokens)); }
  void on_embedding(std::vector<float> embedding) override { work_->on_embedding(choice_, std::move(embedding)); }
  void on_token(Answer::Piece piece) override { work_->on_token(choice_, std::move(piece)); }
  void on_end(const Outcome& outcome, std::string rest) override { work_->on_end(choice_, outcome, rest); }

 private:
  std::shared_ptr<Work> work_;
  uint32_t choice_;
};

/// A line of the output in its turn: text, or work that will be one.
struct Turn {
  std::string text;
  std::shared_ptr<Work> work;
};

/// What has become of the lines.
struct Tally {
  uint64_t answered = 0, refused = 0;
  Clock::time_point begin = Clock::now();

  double seconds() const { return std::chrono::duration<double>(Clock::now() - begin).count(); }
};

/// Requests under way and answers in the order of the requests.
class Batch {
 public:
  Batch(Model& model, const server::ApiContext& context, uint32_t parallel)
      : model_(model),
        context_(context),
        most_turns_(4 * parallel),
        engine_(model.backends(), model.tokenizer(), options(model, parallel)) {}

  Status run(BatchReader& reader, BatchWriter& writer) {
    bool more = true;
    while ((more || !turns_.empty()) && !interrupted()) {
      while (more && turns_.size() < most_turns_) {
        ASSIGN_OR_RETURN(auto line, reader.next());
        more = line.has_value();
        if (!more) break;
        ASSIGN_OR_RETURN(auto turn, begin(*std::move(line)));
        turns_.push_back(std::move(turn));
      }
      RETURN_IF_ERROR(write_ended(writer));
      show(writer);
      if (!turns_.empty()) bell_.wait();
    }
    return {};
  }
  const Tally& tally() const { return tally_; }
  uint64_t tokens() const { return engine_.stats().answer_tokens; }

 private:
  static EngineLoopOptions options(Model& model, uint32_t parallel) {
    EngineLoopOptions o;
    o.scheduler.most_running = parallel;
    o.most_waiting = 1u << 30;  // run() sees to it that they are not many
    o.spare = [&model] { return model.fall_back(); };
    o.on_loss = [](const std::string& sentence) { fmt::print(stderr, "halo: {}\n", sentence); };
    return o;
  }

  Result<Turn> begin(BatchLine line) {
    if (!line.call) {
      ++tally_.refused;
      return Turn{error_line(line, line.call.error()), nullptr};
    }
    const auto now =
        std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch());
    server::ApiHead head{line.protocol->id_prefix + line_id(line), now.count(), context_.model_name, converter_name()};
    auto work = std::make_shared<Work>(std::move(line), model_.tokenizer(), std::move(head), bell_);
    std::vector<std::shared_ptr<RequestListener>> listeners;
    for (uint32_t i = 0; i < work->line().call->requests.size(); ++i)
      listeners.push_back(std::make_shared<ChoiceOfWork>(work, i));
    const auto ticket = engine_.submit(work->line().call->requests, listeners);
    if (ticket.refusal == EngineLoop::Refusal::kNone) return Turn{{}, std::move(work)};
    if (ticket.refusal == EngineLoop::Refusal::kLost) return fail("{}", ticket.reason);
    ++tally_.refused;
    return Turn{error_line(work->line(), {.message = ticket.reason, .param = "prompt", .code = "invalid_prompt"}),
                nullptr};
  }

  Status write_ended(BatchWriter& writer) {
    for (; !turns_.empty() && (!turns_.front().work || turns_.front().work->ended()); turns_.pop_front()) {
      const auto& turn = turns_.front();
      // A request that only the machine failed is no answer: the same command can go on with it.
      if (turn.work && turn.work->failed() && !engine_.sound()) return fail("{}", turn.work->failure());
      if (turn.work) ++(turn.work->failed() ? tally_.refused : tally_.answered);
      RETURN_IF_ERROR(writer.write(turn.work ? turn.work->text() : turn.text));
    }
    return writer.flush();
  }

  void show(const BatchWriter& writer) {
    const auto now = Clock::now();
    if (now - shown_ < std::chrono::seconds(1)) return;
    shown_ = now;
    line_.show(fmt::format("{} answers, {} under way, {:.0f} tok/s", writer.found() + tally_.answered + tally_.refused,
                           turns_.size(), static_cast<double>(tokens()) / tally_.seconds()));
  }

  Model& model_;
  const server::ApiContext& context_;
  const size_t most_turns_;
  Bell bell_;
  std::deque<Turn> turns_;
  Tally tally_;
  StatusLine line_;
  Clock::time_point shown_ = Clock::now();
  EngineLoop engine_;  // the first to go: it rings
};

Status batch(const BatchArguments& a) {
  ASSIGN_OR_RETURN(const auto share, share_of(a.share));
  std::error_code code;
  if (std::filesystem::equivalent(a.in, a.out, code)) return fail("{}: is the input, too", a.out);
  ASSIGN_OR_RETURN(auto model, a.model.open());
  const auto own = model.file().provenance("name");
  const auto name = !a.model_name.empty() ? a.model_name : own.empty() ? "1bit" : std::string(own);
  grammar::GrammarCache grammars(model.tokenizer());
  const server::ApiContext context{.tokenizer = model.tokenizer(),
                                   .config = model.file().config(),
                                   .model_name = utf8_replace_invalid(name),
                                   .any_model = a.any_model,
                                   .grammars = &grammars};
  catch_interrupt();
  Batch all(model, context, a.parallel);
  uint64_t found = 0;
  const auto answer = [&](BatchReader& reader, BatchWriter& writer) -> Status {
    found += writer.found();
    RETURN_IF_ERROR(all.run(reader, writer));
    if (interrupted()) return fail("interrupted: the same command goes on where {} ends", a.out);
    return {};
  };
  if (share.whole()) {
    ASSIGN_OR_RETURN(auto reader, BatchReader::open(a.in, context));
    ASSIGN_OR_RETURN(auto writer, BatchWriter::open(a.out, reader, context.model_name));
    RETURN_IF_ERROR(answer(reader, writer));
  } else {
    RETURN_IF_ERROR(batch_together({a.in, a.out, context.model_name, &context}, share, answer));
  }
  const auto& t = all.tally();
  fmt::print(stderr, "{}{} answered, {} refused, {} tokens in {:.1f} s, {:.0f} tok/s\n",
             found > 0 ? fmt::format("{} were there, ", found) : "", t.answered, t.refused, all.tokens(), t.seconds(),
             static_cast<double>(all.tokens()) / t.seconds());
  return {};
}

}  // namespace

void add_batch(CLI::App& app, int& exit_code) {
  auto a = std::make_shared<BatchArguments>();
  auto* command = app.add_subcommand("batch", "Answer the requests of a file in OpenAI's Batch format");
  command->add_option("in", a->in, "Requests, a JSON object a line; -: standard input")
      ->required()
      ->type_name("IN.jsonl");
  command->add_option("-o,--output", a->out, "Where answers go, in the order of the requests")
      ->required()
      ->type_name("OUT.jsonl");
  command
      ->add_option("--model-name", a->model_name,
                   "The model's name in requests and answers; the file's own where absent")
      ->type_name("NAME");
  command->add_flag("--any-model", a->any_model, "Requests may name any model: they were written for another service");
  command->add_option("--parallel", a->parallel, "Requests that share steps")
      ->capture_default_str()
      ->check(CLI::Range(1u, 1024u));
  add_share(*command, a->share);
  a->model.add_to(*command);
  command->footer(
      "A request is {\"custom_id\": …, \"method\": \"POST\", \"url\": …, \"body\": …}; its url is "
      "/v1/chat/completions,\n"
      "/v1/completions, /v1/responses or /v1/embeddings. Its answer has the same custom_id, and response or error: a\n"
      "request that is refused has its line, too. Where OUT.jsonl has answers already, they are kept and the rest\n"
      "follows: after an interruption, the same command goes on. Several processes share the lines: mpirun halo batch "
      "…,\n"
      "or --shard I/N by hand; where one is gone, the others do its share.");
  command->callback([a, &exit_code] {
    if (auto status = batch(*a); !status) exit_code = report(status.error());
  });
}

}  // namespace onebit::halo
