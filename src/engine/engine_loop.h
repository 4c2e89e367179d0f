// The engine that a server shares between its requests: for each device a thread that steps while there is work, and
// requests that go where they are done soonest.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "engine/scheduler.h"

namespace onebit {

struct EngineLoopOptions {
  SchedulerOptions scheduler{};  // of each device
  uint32_t most_waiting = 256;   // requests that are not running yet, on all devices
  /// Gives what computes in place of the last device, which was lost; without it, or where it fails, requests fail.
  std::function<Result<Backend*>()> spare{};
  /// Hears in a sentence of each device that was lost and of what becomes of its requests. Called by the engine's
  /// threads: must not block, and must not call the engine.
  std::function<void(const std::string& sentence)> on_loss{};
};

/// Of all devices together.
struct EngineStats : SchedulerStats {
  uint64_t devices = 0;  // that compute
  uint64_t lost = 0;     // that failed for good
};

/// Any thread may call it.
class EngineLoop {
 public:
  /// `backends` (at least one) and `tokenizer` must outlive it, and the backends are used by nobody else.
  EngineLoop(const std::vector<Backend*>& backends, const Tokenizer& tokenizer, EngineLoopOptions options = {});
  EngineLoop(Backend& backend, const Tokenizer& tokenizer, EngineLoopOptions options = {})
      : EngineLoop(std::vector{&backend}, tokenizer, std::move(options)) {}
  EngineLoop(const EngineLoop&) = delete;
  EngineLoop& operator=(const EngineLoop&) = delete;
  /// Ends what is under way as cancelled.
  ~EngineLoop();
  /// Ends all requests and the threads: no listener is called after it, and nothing else may be.
  void end();

  enum class Refusal { kNone, kInvalid, kFull, kDraining, kLost };
  struct Ticket {
    Refusal refusal = Refusal::kNone;
    std::string reason;  // of the refusal
    std::shared_ptr<std::atomic<bool>> cancelled;
    /// The request costs nothing from the next step on; its listener hears of the end.
    void cancel() const { cancelled->store(true); }
  };
  /// Whether so many more would be refused now, whatever they ask for.
  Ticket room_for(size_t requests) const;
  /// Several at once are taken all or not at all (choices of one request); those of one prompt share a device.
  Ticket submit(std::vector<Request> requests, const std::vector<std::shared_ptr<RequestListener>>& listeners);

  using Task = std::function<void(Scheduler&)>;
  /// Calls `task` between two steps of each device that computes, on its thread; returns how many will. It must not
  /// block, and must not call the engine. Destroyed without a call where the device is lost or the engine ends before.
  size_t ask_each(const Task& task);
  /// The same, of the device that remembers most of a tenant's `tokens`; false where there is none.
  bool ask_nearest(std::span<const TokenId> tokens, uint32_t tenant, Task task);

  /// Takes nothing new from now on; idle() once what there was has ended.
  void drain();
  bool idle() const;
  /// Ends what is under way as cancelled.
  void cancel_all();
  /// False once all devices are lost, and nothing came in their place.
  bool sound() const;

  EngineStats stats() const;

 private:
  struct Arrival {
    Request request;
    std::shared_ptr<RequestListener> listener;
    std::shared_ptr<const std::atomic<bool>> cancelled;
  };
  /// A device, or the CPU.
  struct Worker {
    Worker(Backend& backend, const Tokenizer& tokenizer, const SchedulerOptions& options)
        : scheduler(backend, tokenizer, options) {}
    bool wanted() const { return cancel_all || busy || !arrivals.empty() || !moved.empty() || !tasks.empty(); }
    uint64_t waiting() const { return arrivals.size() + moved.size() + scheduler.stats().queued; }

    Scheduler scheduler;  // of the thread, but for check(), known() and stats()
    std::vector<Arrival> arrivals;
    Scheduler::Jobs moved;  // from devices that were lost
    std::vector<Task> tasks;
    bool busy = false, cancel_all = false, lost = false;
    std::condition_variable wake;
    std::thread thread;
  };

  void start(Backend& backend);
  void run(Worker& worker);
  void take_arrivals(Worker& worker);
  void lose(Worker& worker, const Error& loss);
  bool sound_locked() const;
  Ticket room_locked(size_t requests) const;
  Result<Worker*> place(const Request& request, std::span<const TokenId> tokens) const;

  const Tokenizer& tokenizer_;
  const EngineLoopOptions options_;
  mutable std::mutex mutex_;
  bool draining_ = false, stop_ = false;
  std::vector<std::unique_ptr<Worker>> workers_;  // those that were lost, too
};

}  // namespace onebit
