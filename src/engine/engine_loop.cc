#include "engine/engine_loop.h"

#include <algorithm>
#include <utility>

#include "base/spare_memory.h"

namespace onebit {
namespace {

/// Without work for so long, memory that was kept for it goes back to the system.
constexpr std::chrono::seconds kRestAfter{5};
/// What a request that is there already weighs against computing tokens of a prompt which another device remembers:
/// a long beginning is worth a wait, a few words that all prompts share are not.
constexpr uint64_t kTokensOfARequest = 128;

}  // namespace

EngineLoop::EngineLoop(const std::vector<Backend*>& backends, const Tokenizer& tokenizer, EngineLoopOptions options)
    : tokenizer_(tokenizer), options_(std::move(options)) {
  const std::lock_guard lock(mutex_);
  for (Backend* backend : backends) start(*backend);
}

EngineLoop::~EngineLoop() {
  end();
}

void EngineLoop::end() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;  // from now on there are no new workers
  }
  for (auto& worker : workers_) {
    worker->wake.notify_one();
    if (worker->thread.joinable()) worker->thread.join();
  }
}

/// With the lock held.
void EngineLoop::start(Backend& backend) {
  auto& worker = *workers_.emplace_back(std::make_unique<Worker>(backend, tokenizer_, options_.scheduler));
  worker.thread = std::thread([this, &worker] { run(worker); });
}

bool EngineLoop::sound_locked() const {
  return std::any_of(workers_.begin(), workers_.end(), [](const auto& worker) { return !worker->lost; });
}

bool EngineLoop::sound() const {
  const std::lock_guard lock(mutex_);
  return sound_locked();
}

EngineLoop::Ticket EngineLoop::room_locked(size_t requests) const {
  if (requests > options_.most_waiting)
    return {Refusal::kInvalid,
            fmt::format("{} answers at once are more than the {} that may wait", requests, options_.most_waiting),
            nullptr};
  if (draining_ || stop_) return {Refusal::kDraining, "the server is shutting down", nullptr};
  if (!sound_locked()) return {Refusal::kLost, "the device that computes was lost", nullptr};
  uint64_t waiting = 0;
  for (const auto& worker : workers_) waiting += worker->waiting();
  if (waiting + requests > options_.most_waiting)
    return {Refusal::kFull, fmt::format("{} requests are waiting already", waiting), nullptr};
  return {};
}

EngineLoop::Ticket EngineLoop::room_for(size_t requests) const {
  const std::lock_guard lock(mutex_);
  return room_locked(requests);
}

/// Where `tokens`, the prompt or more, have the least before them: what is not known there of them, and who is there.
/// Errors: no sound device can take the request.
Result<EngineLoop::Worker*> EngineLoop::place(const Request& request, std::span<const TokenId> tokens) const {
  std::optional<Error> why;
  Worker* best = nullptr;
  std::pair<uint64_t, uint64_t> least;  // work; where that is the same, pages that are in use already
  for (const auto& worker : workers_) {
    if (worker->lost) continue;
    if (auto status = worker->scheduler.check(request); !status) {
      why = std::move(status).error();
      continue;
    }
    const uint64_t there = worker->waiting() + worker->scheduler.stats().running;
    const uint64_t unknown = workers_.size() == 1 ? 0 : tokens.size() - worker->scheduler.known(tokens, request.tenant);
    const std::pair work{unknown + kTokensOfARequest * there, uint64_t{worker->scheduler.stats().kv_pages}};
    if (best != nullptr && work >= least) continue;
    best = worker.get();
    least = work;
  }
  if (best != nullptr) return best;
  return tl::unexpected<Error>(why.value_or(Error{"the device that computes was lost"}));
}

EngineLoop::Ticket EngineLoop::submit(std::vector<Request> requests,
                                      const std::vector<std::shared_ptr<RequestListener>>& listeners) {
  const std::lock_guard lock(mutex_);
  auto ticket = room_locked(requests.size());
  if (ticket.refusal != Refusal::kNone && ticket.refusal != Refusal::kFull) return ticket;
  // What cannot be run at all is told first: waiting would not help.
  for (const auto& request : requests)
    if (const auto somewhere = place(request, {}); !somewhere)
      return {Refusal::kInvalid, somewhere.error().message, nullptr};
  if (ticket.refusal != Refusal::kNone) return ticket;
  ticket.cancelled = std::make_shared<std::atomic<bool>>(false);
  Worker* worker = nullptr;
  std::vector<TokenId> prompt;  // the last that was placed
  for (size_t i = 0; i < requests.size(); ++i) {
    if (worker == nullptr || requests[i].prompt != prompt) {
      worker = *place(requests[i], requests[i].prompt);
      prompt = requests[i].prompt;
    }
    worker->arrivals.push_back({std::move(requests[i]), listeners[i], ticket.cancelled});
    worker->wake.notify_one();
  }
  return ticket;
}

size_t EngineLoop::ask_each(const Task& task) {
  const std::lock_guard lock(mutex_);
  size_t asked = 0;
  for (auto& worker : workers_) {
    if (worker->lost || stop_) continue;
    worker->tasks.push_back(task);
    worker->wake.notify_one();
    ++asked;
  }
  return asked;
}

bool EngineLoop::ask_nearest(std::span<const TokenId> tokens, uint32_t tenant, Task task) {
  const std::lock_guard lock(mutex_);
  Worker* nearest = nullptr;
  for (auto& worker : workers_) {
    if (worker->lost || stop_) continue;
    if (nearest == nullptr || worker->scheduler.known(tokens, tenant) > nearest->scheduler.known(tokens, tenant))
      nearest = worker.get();
  }
  if (nearest == nullptr) return false;
  nearest->tasks.push_back(std::move(task));
  nearest->wake.notify_one();
  return true;
}

void EngineLoop::drain() {
  const std::lock_guard lock(mutex_);
  draining_ = true;
}

void EngineLoop::cancel_all() {
  const std::lock_guard lock(mutex_);
  for (auto& worker : workers_) {
    worker->cancel_all = true;
    worker->wake.notify_one();
  }
}

bool EngineLoop::idle() const {
  const std::lock_guard lock(mutex_);
  return std::none_of(workers_.begin(), workers_.end(), [](const auto& worker) {
    return !worker->lost && (worker->busy || !worker->arrivals.empty() || !worker->moved.empty());
  });
}

EngineStats EngineLoop::stats() const {
  const std::lock_guard lock(mutex_);
  EngineStats sum;
  for (const auto& worker : workers_) {
    sum += worker->scheduler.stats();
    ++(worker->lost ? sum.lost : sum.devices);
  }
  return sum;
}

void EngineLoop::take_arrivals(Worker& worker) {
  for (auto& job : worker.moved) worker.scheduler.adopt(std::move(job));
  worker.moved.clear();
  for (auto& a : worker.arrivals)
    worker.scheduler.add(std::move(a.request), std::move(a.listener), std::move(a.cancelled));
  worker.arrivals.clear();
}

void EngineLoop::run(Worker& worker) {
  std::unique_lock lock(mutex_);
  const auto wanted = [&] { return stop_ || worker.wanted(); };
  while (true) {
    if (!worker.wake.wait_for(lock, kRestAfter, wanted)) {
      lock.unlock();
      worker.scheduler.rest();
      give_back_spare_memory();
      lock.lock();
      worker.wake.wait(lock, wanted);
    }
    if (stop_) break;
    take_arrivals(worker);
    worker.busy = true;
    const bool all = std::exchange(worker.cancel_all, false);
    auto tasks = std::exchange(worker.tasks, {});
    lock.unlock();
    if (all) worker.scheduler.end_all();
    for (const auto& task : tasks) task(worker.scheduler);
    tasks.clear();  // with what they hold, before the lock is taken again
    const bool more = worker.scheduler.step();
    lock.lock();
    worker.busy = more;
    const auto& loss = worker.scheduler.loss();
    if (loss && !stop_) return lose(worker, *loss);
  }
  take_arrivals(worker);
  lock.unlock();
  worker.scheduler.end_all();
}

/// Its requests go to the other devices, or to what comes in their place, or end with the error that ended it. With the
/// lock held.
void EngineLoop::lose(Worker& worker, const Error& loss) {
  worker.lost = true;
  worker.busy = false;
  worker.tasks.clear();
  take_arrivals(worker);
  auto jobs = worker.scheduler.release();
  std::string where = "go on with the other devices";
  if (!sound_locked()) {
    const Result<Backend*> spare = options_.spare ? options_.spare() : fail("nothing is to take its place");
    if (spare) start(**spare);
    where = spare ? "go on with the CPU" : fmt::format("fail: {}", spare.error().message);
  }
  if (options_.on_loss) options_.on_loss(fmt::format("{}; its {} requests {}", loss.message, jobs.size(), where));
  for (auto& job : jobs) {
    if (const auto other = place(job->request, job->tokens)) {
      (*other)->moved.push_back(std::move(job));
      (*other)->wake.notify_one();
    } else {
      Scheduler::end_with(*job, sound_locked() ? other.error() : loss);
    }
  }
}

}  // namespace onebit
