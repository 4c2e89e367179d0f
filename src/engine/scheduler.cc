#include "engine/scheduler.h"

#include <algorithm>

namespace onebit {
namespace {

/// Logits of all tokens are wanted for at most so many in a step: 64 rows of 128,256 are 33 MB.
constexpr uint32_t kLogprobRows = 64;
/// Every so many prompt steps the oldest prompt goes first, else the shortest.
constexpr uint64_t kOldestEvery = 4;

uint64_t pages_for(uint64_t positions, const KvUsage& usage) {
  return (positions + usage.page_positions - 1) / usage.page_positions;
}

double seconds_between(std::chrono::steady_clock::time_point a, std::chrono::steady_clock::time_point b) {
  return std::chrono::duration<double>(b - a).count();
}

}  // namespace

Scheduler::Scheduler(Backend& backend, const Tokenizer& tokenizer, const SchedulerOptions& options)
    : backend_(backend),
      tokenizer_(tokenizer),
      options_(options),
      cache_(backend.kv_usage().page_positions),
      pace_(options.step_seconds) {
  const auto usage = backend.kv_usage();
  const uint64_t four = 4 * pages_for(backend.config().context, usage);
  most_pages_ = options.kv_bytes > 0   ? std::max<uint64_t>(1, options.kv_bytes / usage.page_bytes)
                : usage.most_pages > 0 ? usage.most_pages  // the backend's own choice
                                       : four;
  if (usage.most_pages > 0) most_pages_ = std::min(most_pages_, usage.most_pages);
  stats_.most_kv_pages = most_pages_;
}

Status Scheduler::check(const Request& request) const {
  RETURN_IF_ERROR(check_request(request.prompt, request.params, backend_.config()));
  if (request.pooling != Pooling::kNone && !backend_.gives_states())
    return fail("this device gives no embeddings yet: serve them with --device cpu");
  const bool answers = !request.prompt_only && request.pooling == Pooling::kNone;
  const uint64_t positions = most_pages_ * backend_.kv_usage().page_positions;
  if (request.prompt.size() + (answers ? 1 : 0) > positions)
    return fail("the prompt has {} tokens, and this server's memory for keys and values (--kv-memory) holds {}{}",
                request.prompt.size(), positions, answers ? " with the answer" : "");
  return {};
}

/// An answer ends where memory does, as it does where the context ends.
GenerateParams Scheduler::fitting(const Request& request) const {
  auto params = request.params;
  const uint64_t positions = most_pages_ * backend_.kv_usage().page_positions;
  const uint64_t room = positions - std::min<uint64_t>(positions, request.prompt.size());
  if (room < backend_.config().context - request.prompt.size())
    params.max_tokens =
        static_cast<uint32_t>(params.max_tokens == 0 ? room : std::min<uint64_t>(params.max_tokens, room));
  return params;
}

void Scheduler::add(Request request, std::shared_ptr<RequestListener> listener,
                    std::shared_ptr<const std::atomic<bool>> cancelled) {
  auto job = std::make_unique<Job>();
  job->tokens = request.prompt;
  job->answer = std::make_unique<Answer>(tokenizer_, backend_.config(), fitting(request), request.prompt);
  job->outcome.prompt_tokens = static_cast<uint32_t>(request.prompt.size());
  job->pool = Pool(request.pooling);
  job->request = std::move(request);
  job->listener = std::move(listener);
  job->cancelled = std::move(cancelled);
  static std::atomic<uint64_t> added{0};
  job->number = added++;
  job->added = Clock::now();
  queue_.push_back(std::move(job));
  stats_.queued = queue_.size();
}

void Scheduler::end(Job& job, FinishReason reason, std::optional<Error> error) {
  if (options_.prefix_cache && job.kv != nullptr) cache_.insert(job.tokens, *job.kv, job.request.tenant);
  job.kv.reset();
  tell_end(job, reason, std::move(error));
}

void Scheduler::end_with(Job& job, const Error& error) {
  tell_end(job, FinishReason::kStop, error);
}

void Scheduler::tell_end(Job& job, FinishReason reason, std::optional<Error> error) {
  job.ended = true;
  const auto now = Clock::now();
  auto& o = job.outcome;
  o.reason = reason;
  o.error = std::move(error);
  o.answer_tokens = job.answer->tokens();
  o.stop_string = job.answer->stop_string();
  const bool spoke = job.answer->tokens() > 0;
  o.queued_seconds = seconds_between(job.added, job.begun ? job.started : now);
  o.prompt_seconds = job.begun ? seconds_between(job.started, spoke ? job.first_token : now) : 0.0;
  o.answer_seconds = spoke ? seconds_between(job.first_token, now) : 0.0;
  job.listener->on_end(o, reason == FinishReason::kCancelled || o.error ? std::string() : job.answer->rest());
}

void Scheduler::rest() {
  logits_ = {};
  backend_.rest();
}

void Scheduler::end_all() {
  for (auto& job : queue_) end(*job, FinishReason::kCancelled);
  for (auto& job : running_) end(*job, FinishReason::kCancelled);
  queue_.clear();
  running_.clear();
  publish();
}

Scheduler::Jobs Scheduler::release() {
  Jobs jobs;
  for (auto& job : running_) jobs.push_back(std::move(job));
  for (auto& job : queue_) jobs.push_back(std::move(job));
  running_.clear();
  queue_.clear();
  std::erase_if(jobs, [](const auto& job) { return job->ended; });
  for (auto& job : jobs) forget_computed(*job);
  std::sort(jobs.begin(), jobs.end(), [](const auto& a, const auto& b) { return a->number < b->number; });
  while (cache_.evict()) {
  }
  publish();
  return jobs;
}

void Scheduler::adopt(std::unique_ptr<Job> job) {
  const auto later =
      std::find_if(queue_.begin(), queue_.end(), [&](const auto& other) { return other->number > job->number; });
  queue_.insert(later, std::move(job));
  stats_.queued = queue_.size();
}

/// Ends what was cancelled, wherever it is, and forgets what has ended.
void Scheduler::drop_ended() {
  const auto ended = [&](const std::unique_ptr<Job>& job) {
    if (!job->ended && job->cancelled->load(std::memory_order_relaxed)) end(*job, FinishReason::kCancelled);
    return job->ended;
  };
  std::erase_if(queue_, ended);
  std::erase_if(running_, ended);
}

/// A prompt that is being computed begins with pages that this one could share soon.
bool Scheduler::shares_with_a_prompt_under_way(const Job& job) const {
  const uint32_t page = backend_.kv_usage().page_positions;
  const uint32_t known = cache_.known(job.tokens, job.request.tenant);
  return std::any_of(running_.begin(), running_.end(), [&](const auto& other) {
    if (other->waiting() <= 1 || other->request.tenant != job.request.tenant) return false;
    const auto same = std::mismatch(job.tokens.begin(), job.tokens.end(), other->tokens.begin(), other->tokens.end());
    return static_cast<uint32_t>(same.first - job.tokens.begin()) >= known + page;
  });
}

/// Room for all that it has to compute beside what the running ones hold, and for the page that make_room() wants to be
/// free for each. What they share counts for each of them.
bool Scheduler::fits(const Job& job) const {
  const auto usage = backend_.kv_usage();
  uint64_t pages = pages_for(job.tokens.size() + 1, usage) + 1;
  for (const auto& other : running_)
    pages += pages_for(std::max<uint64_t>(other->tokens.size(), other->kv->length()) + 1, usage) + 1;
  return running_.empty() || pages <= most_pages_;
}

void Scheduler::admit() {
  for (auto it = queue_.begin(); it != queue_.end() && running_.size() < options_.most_running;) {
    auto& job = **it;
    if (options_.prefix_cache && shares_with_a_prompt_under_way(job)) {
      ++it;
      continue;
    }
    if (!fits(job)) return;  // nobody overtakes it: it would never find room
    // The last token is computed again even if it is known, since its logits are wanted; for log-probabilities all are.
    const auto wanted = std::span(job.tokens).first(job.wants_all_tokens() ? 0 : job.tokens.size() - 1);
    if (options_.prefix_cache) job.kv = cache_.find(wanted, job.request.tenant);
    if (job.kv == nullptr) job.kv = backend_.new_kv_cache();
    if (!job.begun) job.outcome.cached_tokens = job.kv->length();
    stats_.cached_tokens += job.kv->length();
    running_.push_back(std::move(*it));
    it = queue_.erase(it);
  }
}

/// Tokens of prompts that a step may take.
uint32_t Scheduler::prompt_budget(bool answers_under_way) const {
  const uint32_t most = backend_.prefill_chunk();
  return answers_under_way ? pace_.tokens(most) : most;
}

void Scheduler::plan_prompts(std::vector<Part>& parts, bool answers_under_way) {
  std::vector<Job*> prompts;
  for (auto& job : running_)
    if (job->waiting() > 1 || job->answer->tokens() == 0) prompts.push_back(job.get());
  if (prompts.empty()) return;
  const bool oldest_first = prompt_steps_++ % kOldestEvery == 0;
  std::sort(prompts.begin(), prompts.end(), [&](const Job* a, const Job* b) {
    if (!oldest_first && a->waiting() != b->waiting()) return a->waiting() < b->waiting();
    return a->number < b->number;
  });
  uint32_t budget = prompt_budget(answers_under_way), logit_rows = kLogprobRows;
  for (Job* job : prompts) {
    uint32_t tokens = std::min(budget, job->waiting());
    if (job->wants_prompt_logprobs()) {
      tokens = std::min(tokens, logit_rows);
      logit_rows -= tokens;
    }
    if (tokens == 0) continue;
    parts.push_back({job, tokens});
    budget -= tokens;
  }
}

std::vector<Scheduler::Part> Scheduler::plan() {
  std::vector<Part> parts;
  for (auto& job : running_)
    if (job->waiting() == 1 && job->answer->tokens() > 0) parts.push_back({job.get(), 1});
  plan_prompts(parts, !parts.empty());
  return parts;
}

/// Memory for what a step adds, taken from remembered prefixes and then from whoever came last; false where a request
/// was put back and the step has to be planned anew.
bool Scheduler::make_room(const std::vector<Part>& parts) {
  uint64_t needed = 0;
  for (const auto& part : parts) {
    const auto usage = backend_.kv_usage();
    const uint32_t held = part.job->kv->length();
    // One more than new positions ask for where a page that is begun may be shared and has to be copied.
    needed += pages_for(held + part.tokens, usage) - held / usage.page_positions;
  }
  while (backend_.kv_usage().pages + needed > most_pages_) {
    if (cache_.evict()) continue;
    if (running_.size() == 1) return true;  // check() saw that it fits
    const auto last = std::max_element(running_.begin(), running_.end(),
                                       [](const auto& a, const auto& b) { return a->number < b->number; });
    preempt(**last);
    queue_.push_front(std::move(*last));
    running_.erase(last);
    return false;
  }
  return true;
}

void Scheduler::preempt(Job& job) {
  forget_computed(job);
  ++stats_.preemptions;
}

/// Its pages are free; what it said so far becomes part of its prompt.
void Scheduler::forget_computed(Job& job) {
  job.kv.reset();
  job.prompt_logprobs.clear();  // if they were not told yet, they are computed again
  job.pool.clear();
}

bool Scheduler::step() {
  drop_ended();
  if (loss_) return false;
  std::vector<Part> parts;
  do {
    if (parts.empty()) admit();  // not again what was just put back
    parts = plan();
  } while (!parts.empty() && !make_room(parts));
  if (!parts.empty()) forward(parts);
  drop_ended();
  publish();
  return !queue_.empty() || !running_.empty();
}

void Scheduler::forward(std::span<const Part> parts) {
  const auto begin = Clock::now();
  std::vector<BatchItem> batch;
  for (const auto& [job, tokens] : parts) {
    const auto from = std::span<const TokenId>(job->tokens).subspan(job->kv->length(), tokens);
    const auto last = tokens == job->waiting() ? LogitRows::kLast : LogitRows::kNone;
    const auto rows = job->embeds() ? LogitRows::kNone : job->wants_prompt_logprobs() ? LogitRows::kAll : last;
    const auto states = !job->embeds()                           ? LogitRows::kNone
                        : job->request.pooling == Pooling::kMean ? LogitRows::kAll
                                                                 : last;
    batch.push_back({job->kv.get(), from, rows, rows == LogitRows::kLast ? job->answer->candidates() : 0, states});
    if (!job->begun) job->started = begin;
    job->begun = true;
  }
  if (auto status = backend_.forward(batch, logits_); !status) {
    if (lost(status)) return;
    if (parts.size() == 1) return end(*parts[0].job, FinishReason::kStop, std::move(status).error());
    for (const auto& part : parts)
      if (!loss_) forward({&part, 1});  // it may be the fault of one
    return;
  }
  measure(parts, seconds_between(begin, Clock::now()));
  for (size_t i = 0; i < parts.size(); ++i) take(*parts[i].job, parts[i].tokens, i);
}

/// Whether a step failed for everybody: nothing that it was to do is done.
bool Scheduler::lost(const Status& status) {
  if (!loss_ && backend_.lost()) loss_ = status.error();
  return loss_.has_value();
}

void Scheduler::measure(std::span<const Part> parts, double seconds) {
  uint32_t rows = 0, of_prompts = 0;
  for (const auto& part : parts) {
    rows += part.tokens;
    if (part.job->answer->tokens() == 0 || part.tokens > 1) of_prompts += part.tokens;
  }
  ++stats_.steps;
  stats_.batch_rows = rows;
  stats_.all_rows += rows;
  pace_.saw(of_prompts, of_prompts < rows, seconds);
}

void Scheduler::take_prompt_logprobs(Job& job, uint32_t tokens, size_t item) {
  const uint32_t end = job.kv->length();
  for (uint32_t i = 0; i < tokens && job.wants_prompt_logprobs(); ++i)
    job.prompt_logprobs.push_back(
        with_logprobs(job.tokens[end - tokens + i + 1], logits_.row(item, i), job.request.params.top_logprobs));
}

/// What a step gave a request for an embedding, which ends with the last of them.
void Scheduler::take_states(Job& job, size_t item) {
  const uint32_t rows = logits_.first_state[item + 1] - logits_.first_state[item];
  for (uint32_t i = 0; i < rows; ++i) job.pool.add(logits_.state(item, i));
  if (job.waiting() > 0) return;
  job.listener->on_embedding(job.pool.embedding());
  end(job, FinishReason::kStop);
}

/// The last token again.
Status Scheduler::compute_logits(const Job& job) {
  job.kv->truncate(static_cast<uint32_t>(job.tokens.size()) - 1);
  const BatchItem item{job.kv.get(), std::span(job.tokens).last(1), LogitRows::kLast};
  return backend_.forward({&item, 1}, all_logits_);
}

/// What a step gave a request.
void Scheduler::take(Job& job, uint32_t tokens, size_t item) {
  if (job.answer->tokens() == 0) stats_.prompt_tokens += tokens;
  if (job.embeds()) return take_states(job, item);
  const bool all_rows = job.wants_prompt_logprobs();
  if (all_rows) take_prompt_logprobs(job, tokens, item);
  if (job.waiting() > 0) return;
  const auto best = logits_.best_of(item);
  std::span<const float> row;  // where the best do not decide
  if (best.empty()) {
    row = logits_.row(item, all_rows ? tokens - 1 : 0);
  } else if (!job.answer->decided_by(best)) {
    if (auto status = compute_logits(job); !status) {
      if (!lost(status)) end(job, FinishReason::kStop, std::move(status).error());
      return;
    }
    row = all_logits_.row(0);
  }
  if (job.answer->tokens() == 0) {
    job.first_token = Clock::now();
    if (options_.prefix_cache) cache_.insert(job.tokens, *job.kv, job.request.tenant);
    if (job.request.prompt_logprobs) job.listener->on_prompt(std::move(job.prompt_logprobs));
    job.prompt_told = true;
    if (job.request.prompt_only) return end(job, FinishReason::kLength);
  }
  if (auto status = job.answer->prepare(); !status) {
    job.outcome.unfit_grammar = true;
    return end(job, FinishReason::kStop, std::move(status).error());
  }
  const auto position = static_cast<uint32_t>(job.tokens.size());
  auto piece = row.empty() ? job.answer->take(best, position) : job.answer->take(row, position);
  ++stats_.answer_tokens;
  job.tokens.push_back(piece.token.id);
  job.listener->on_token(std::move(piece));
  if (job.answer->ended()) end(job, job.answer->finish_reason());
}

std::vector<SlotInfo> Scheduler::slots() const {
  std::vector<SlotInfo> all;
  const auto now = Clock::now();
  const auto tell = [&](const Job& job, bool running) {
    all.push_back({.number = job.number,
                   .running = running,
                   .prompt_tokens = job.outcome.prompt_tokens,
                   .cached_tokens = job.outcome.cached_tokens,
                   .computed_tokens = job.kv != nullptr ? job.kv->length() : 0,
                   .answer_tokens = job.answer->tokens(),
                   .most_answer_tokens = job.request.params.max_tokens,
                   .seconds = seconds_between(job.added, now)});
  };
  for (const auto& job : running_) tell(*job, true);
  for (const auto& job : queue_) tell(*job, false);
  std::sort(all.begin(), all.end(), [](const SlotInfo& a, const SlotInfo& b) {
    return a.running != b.running ? a.running : a.number < b.number;
  });
  return all;
}

SchedulerStats& SchedulerStats::operator+=(const SchedulerStats& other) {
  constexpr SharedCount SchedulerStats::* kAll[] = {
      &SchedulerStats::steps,         &SchedulerStats::prompt_tokens, &SchedulerStats::cached_tokens,
      &SchedulerStats::answer_tokens, &SchedulerStats::preemptions,   &SchedulerStats::queued,
      &SchedulerStats::running,       &SchedulerStats::batch_rows,    &SchedulerStats::all_rows,
      &SchedulerStats::kv_pages,      &SchedulerStats::cached_pages,  &SchedulerStats::most_kv_pages};
  for (const auto count : kAll) this->*count += other.*count;
  return *this;
}

void Scheduler::publish() {
  stats_.queued = queue_.size();
  stats_.running = running_.size();
  stats_.kv_pages = backend_.kv_usage().pages;
  stats_.cached_pages = cache_.pages();
}

}  // namespace onebit
