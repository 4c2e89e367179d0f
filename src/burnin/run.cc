#include "burnin/run.h"

#include <algorithm>
#include <mutex>
#include <optional>
#include <thread>

#include "base/http_client.h"
#include "eval/line_log.h"

namespace onebit::burnin {
namespace {

using Clock = std::chrono::steady_clock;

double now_unix() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

/// One endpoint's answer to a round.
struct Side {
  std::optional<Reply> reply;
  std::string error;
  double ms = 0;
};

Side ask(HttpClient& client, const Prompt& prompt, const std::string& request) {
  Side side;
  const auto begin = Clock::now();
  const auto reply = client.post(prompt.chat ? "/v1/chat/completions" : "/v1/completions", request);
  side.ms = std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
  if (!reply) {
    side.error = reply.error().message;
    return side;
  }
  auto parsed = parse_reply(reply->body);
  if (parsed && reply->status == 200)
    side.reply = *std::move(parsed);
  else
    side.error = fmt::format("HTTP {}: {}", reply->status, parsed ? "" : parsed.error().message);
  return side;
}

class Runner {
 public:
  Runner(const RunOptions& options, const std::atomic<bool>& stop,
         const std::function<void(const Round&, const RunResult&)>& progress, LineLog log, uint64_t first)
      : options_(options), stop_(stop), progress_(progress), log_(std::move(log)), first_(first), next_(first) {
    result_.repaired_bytes = log_.repaired();
  }

  Result<RunResult> run();

 private:
  void work();
  Status rounds(HttpClient& a, HttpClient& b);
  std::optional<uint64_t> begin_round();
  Round ask_both(HttpClient& a, HttpClient& b, uint64_t number);
  void explain(HttpClient& a, HttpClient& b, const Prompt& prompt, uint64_t variant, Round& round);
  void pace(const Round& round, Clock::time_point begin);
  Status keep(const Round& round, Clock::time_point begin);

  const RunOptions& options_;
  const std::atomic<bool>& stop_;
  const std::function<void(const Round&, const RunResult&)>& progress_;
  std::mutex mutex_;  // of all below
  LineLog log_;
  const uint64_t first_;
  uint64_t next_;
  RunResult result_;
  Clock::time_point next_begin_ = Clock::now(), synced_ = Clock::now(), paused_;
  std::chrono::milliseconds pause_{0};  // while an endpoint is unreachable
  Status failed_;                       // what ended it, if anything
};

std::optional<uint64_t> Runner::begin_round() {
  while (!stop_) {
    {
      const std::lock_guard lock(mutex_);
      if (!failed_ || (options_.rounds > 0 && next_ - first_ >= options_.rounds)) return std::nullopt;
      const auto now = Clock::now();
      if (now >= next_begin_) {
        next_begin_ = now + std::max(options_.every, pause_);
        return next_++;
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));  // it may come earlier: an endpoint is back
  }
  return std::nullopt;
}

/// Asks again for log-probabilities, which tell where two answers part.
void Runner::explain(HttpClient& a, HttpClient& b, const Prompt& prompt, uint64_t variant, Round& round) {
  const auto request = render(prompt, variant, {options_.max_tokens, true});
  const auto from_a = ask(a, prompt, request), from_b = ask(b, prompt, request);
  if (from_a.reply && from_b.reply) round.divergence = compare(*from_a.reply, *from_b.reply).divergence;
}

Round Runner::ask_both(HttpClient& a, HttpClient& b, uint64_t number) {
  const auto& prompt = options_.prompts[number % options_.prompts.size()];
  const uint64_t variant = number / options_.prompts.size();
  const auto request = render(prompt, variant, {options_.max_tokens, options_.logprobs});
  Round round;
  round.number = number;
  round.time = now_unix();
  round.prompt = prompt.id;
  Side from_a, from_b;
  if (number % 2 == 0) from_a = ask(a, prompt, request);
  from_b = ask(b, prompt, request);
  if (number % 2 != 0) from_a = ask(a, prompt, request);
  round.a_ms = from_a.ms;
  round.b_ms = from_b.ms;
  if (!from_a.reply || !from_b.reply) {
    round.verdict = from_a.reply ? Verdict::kBUnreachable : Verdict::kAUnreachable;
    round.error = from_a.reply ? from_b.error : from_a.error;
    return round;
  }
  const auto comparison = compare(*from_a.reply, *from_b.reply, options_.logprobs);
  round.verdict = comparison.verdict;
  round.bytes = from_a.reply->text.size();
  round.prefix = comparison.prefix;
  round.divergence = comparison.divergence;
  round.a_text = from_a.reply->text;
  round.b_text = from_b.reply->text;
  if (round.verdict != Verdict::kExact && !round.divergence) explain(a, b, prompt, variant, round);
  return round;
}

/// Rounds come more rarely while an endpoint is away. Those that were under way together count as one failure.
void Runner::pace(const Round& round, Clock::time_point begin) {
  constexpr std::chrono::milliseconds kFirst{1000}, kMost{60000};
  if (round.verdict != Verdict::kAUnreachable && round.verdict != Verdict::kBUnreachable) {
    if (pause_.count() > 0) next_begin_ = Clock::now();
    pause_ = std::chrono::milliseconds(0);
  } else if (pause_.count() == 0 || begin >= paused_) {
    pause_ = std::clamp(2 * pause_, kFirst, kMost);
    paused_ = Clock::now();
    next_begin_ = paused_ + pause_;
  }
}

Status Runner::keep(const Round& round, Clock::time_point begin) {
  const std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(log_.append(to_line(round)));
  if (Clock::now() - synced_ > std::chrono::seconds(5)) {  // a power failure loses so much at most
    RETURN_IF_ERROR(log_.sync());
    synced_ = Clock::now();
  }
  ++result_.rounds;
  result_.exact += round.verdict == Verdict::kExact ? 1u : 0u;
  pace(round, begin);
  if (progress_) progress_(round, result_);
  return {};
}

Status Runner::rounds(HttpClient& a, HttpClient& b) {
  while (const auto number = begin_round()) {
    const auto begin = Clock::now();
    RETURN_IF_ERROR(keep(ask_both(a, b, *number), begin));
  }
  return {};
}

void Runner::work() {
  auto a = HttpClient::open(options_.a, options_.a_key, options_.timeout);
  auto b = HttpClient::open(options_.b, options_.b_key, options_.timeout);
  Status status;
  if (!a || !b)
    status = tl::unexpected(a ? b.error() : a.error());
  else
    status = rounds(*a, *b);
  const std::lock_guard lock(mutex_);
  if (!status && failed_) failed_ = std::move(status);
}

Result<RunResult> Runner::run() {
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < std::max(1u, options_.parallel); ++i) threads.emplace_back([this] { work(); });
  for (auto& thread : threads) thread.join();
  RETURN_IF_ERROR(std::move(failed_));
  RETURN_IF_ERROR(log_.sync());
  return result_;
}

}  // namespace

Result<RunResult> run(const RunOptions& options, const std::atomic<bool>& stop,
                      const std::function<void(const Round&, const RunResult&)>& progress) {
  if (options.prompts.empty()) return fail("there are no prompts");
  RETURN_IF_ERROR(HttpClient::open(options.a, {}, options.timeout));
  RETURN_IF_ERROR(HttpClient::open(options.b, {}, options.timeout));
  ASSIGN_OR_RETURN(auto log, LineLog::open(options.log, kLineBegins));
  ASSIGN_OR_RETURN(const uint64_t first, next_round(options.log));
  return Runner(options, stop, progress, std::move(log), first).run();
}

}  // namespace onebit::burnin
