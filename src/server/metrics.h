// What GET /metrics tells Prometheus (docs/server.md names each).
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>

#include "engine/engine_loop.h"

namespace onebit::server {

/// Any thread may call it.
class Metrics {
 public:
  struct Build {
    std::string version, model, isa;
  };
  Metrics();
  ~Metrics();

  /// A model that is or was served, and what computes it.
  void loaded(const Build& build);
  void token();                      // generated, of any request
  void inter_token(double seconds);  // between two tokens of an answer
  void ended(const Outcome& outcome);
  void voice_answer(const char* outcome);  // completed, cancelled or failed
  void voice_first_audio(double seconds);  // from the known end of speech to the answer's first sound
  void refused(int status);                // an HTTP answer from 400 on

  /// Tokens generated in the last ten seconds, a second.
  double tokens_a_second() const;
  /// The page, in Prometheus' text format.
  std::string text(const EngineStats& stats, size_t connections, size_t conversations);

 private:
  struct Registry;  // keeps Prometheus' headers out of here
  std::unique_ptr<Registry> registry_;

  static constexpr size_t kSeconds = 10;
  /// Tokens of each of the last seconds; a cell is [second, tokens] so that old ones are told apart.
  mutable std::mutex recent_mutex_;
  std::array<std::pair<int64_t, uint64_t>, kSeconds + 1> recent_{};
};

}  // namespace onebit::server
