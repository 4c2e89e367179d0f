#include "engine/engine_loop.h"

#include <utility>

#include "base/spare_memory.h"

namespace onebit {
namespace {

/// Without work for so long, memory that was kept for it goes back to the system.
constexpr std::chrono::seconds kRestAfter{5};

}  // namespace

EngineLoop::EngineLoop(Backend& backend, const Tokenizer& tokenizer, const EngineLoopOptions& options)
    : options_(options), scheduler_(backend, tokenizer, options.scheduler), thread_([this] { run(); }) {}

EngineLoop::~EngineLoop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

EngineLoop::Ticket EngineLoop::room_locked(size_t requests) const {
  if (requests > options_.most_waiting)
    return {Refusal::kInvalid,
            fmt::format("{} answers at once are more than the {} that may wait", requests, options_.most_waiting),
            nullptr};
  if (draining_ || stop_) return {Refusal::kDraining, "the server is shutting down", nullptr};
  const uint64_t waiting = arrivals_.size() + stats().queued;
  if (waiting + requests > options_.most_waiting)
    return {Refusal::kFull, fmt::format("{} requests are waiting already", waiting), nullptr};
  return {};
}

EngineLoop::Ticket EngineLoop::room_for(size_t requests) const {
  const std::lock_guard lock(mutex_);
  return room_locked(requests);
}

EngineLoop::Ticket EngineLoop::submit(std::vector<Request> requests,
                                      const std::vector<std::shared_ptr<RequestListener>>& listeners) {
  for (const auto& request : requests)
    if (auto status = scheduler_.check(request); !status)
      return {Refusal::kInvalid, std::move(status).error().message, nullptr};
  Ticket ticket;
  {
    const std::lock_guard lock(mutex_);
    ticket = room_locked(requests.size());
    if (ticket.refusal != Refusal::kNone) return ticket;
    ticket.cancelled = std::make_shared<std::atomic<bool>>(false);
    for (size_t i = 0; i < requests.size(); ++i)
      arrivals_.push_back({std::move(requests[i]), listeners[i], ticket.cancelled});
  }
  wake_.notify_one();
  return ticket;
}

void EngineLoop::drain() {
  const std::lock_guard lock(mutex_);
  draining_ = true;
}

void EngineLoop::cancel_all() {
  {
    const std::lock_guard lock(mutex_);
    cancel_all_ = true;
  }
  wake_.notify_one();
}

bool EngineLoop::idle() const {
  const std::lock_guard lock(mutex_);
  return !busy_ && arrivals_.empty();
}

void EngineLoop::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    const auto wanted = [&] { return stop_ || cancel_all_ || busy_ || !arrivals_.empty(); };
    if (!wake_.wait_for(lock, kRestAfter, wanted)) {
      lock.unlock();
      scheduler_.rest();
      give_back_spare_memory();
      lock.lock();
      wake_.wait(lock, wanted);
    }
    if (stop_) break;
    for (auto& a : arrivals_) scheduler_.add(std::move(a.request), std::move(a.listener), std::move(a.cancelled));
    arrivals_.clear();
    busy_ = true;
    const bool all = std::exchange(cancel_all_, false);
    lock.unlock();
    if (all) scheduler_.end_all();
    const bool more = scheduler_.step();
    lock.lock();
    busy_ = more;
  }
  for (auto& a : arrivals_) scheduler_.add(std::move(a.request), std::move(a.listener), std::move(a.cancelled));
  lock.unlock();
  scheduler_.end_all();
}

}  // namespace onebit
