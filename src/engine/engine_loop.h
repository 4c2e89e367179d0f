// The engine that a server shares between its requests: one thread that steps while there is work.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

#include "engine/scheduler.h"

namespace onebit {

struct EngineLoopOptions {
  SchedulerOptions scheduler{};
  uint32_t most_waiting = 256;  // requests that are not running yet
};

/// Any thread may call it.
class EngineLoop {
 public:
  /// `backend` and `tokenizer` must outlive it, and the backend is used by nobody else.
  EngineLoop(Backend& backend, const Tokenizer& tokenizer, const EngineLoopOptions& options = {});
  EngineLoop(const EngineLoop&) = delete;
  EngineLoop& operator=(const EngineLoop&) = delete;
  /// Ends what is under way as cancelled.
  ~EngineLoop();

  enum class Refusal { kNone, kInvalid, kFull, kDraining };
  struct Ticket {
    Refusal refusal = Refusal::kNone;
    std::string reason;  // of the refusal
    std::shared_ptr<std::atomic<bool>> cancelled;
    /// The request costs nothing from the next step on; its listener hears of the end.
    void cancel() const { cancelled->store(true); }
  };
  /// Whether so many more would be refused now, whatever they ask for.
  Ticket room_for(size_t requests) const;
  /// Several at once are taken all or not at all (choices of one request).
  Ticket submit(std::vector<Request> requests, const std::vector<std::shared_ptr<RequestListener>>& listeners);

  /// Takes nothing new from now on; idle() once what there was has ended.
  void drain();
  bool idle() const;
  /// Ends what is under way as cancelled.
  void cancel_all();

  const SchedulerStats& stats() const { return scheduler_.stats(); }

 private:
  struct Arrival {
    Request request;
    std::shared_ptr<RequestListener> listener;
    std::shared_ptr<const std::atomic<bool>> cancelled;
  };
  void run();
  Ticket room_locked(size_t requests) const;

  const EngineLoopOptions options_;
  Scheduler scheduler_;  // of the thread, but for check() and stats()
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Arrival> arrivals_;
  bool busy_ = false, draining_ = false, cancel_all_ = false, stop_ = false;
  std::thread thread_;
};

}  // namespace onebit
