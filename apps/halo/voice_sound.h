// Where a voice's sound comes from and goes to: files, pipes, or the programs that record and play.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "voice/audio.h"

namespace onebit::halo {

/// A command line at its spaces; quotes are not looked at.
std::vector<std::string> words_of(const std::string& command);

/// Gives `sink` raw PCM16 of standard input, or of a program's output, until its end, an interrupt, or false.
Status read_raw(const std::vector<std::string>& program, const std::function<bool(std::span<const int16_t>)>& sink);

/// Plays an answer's samples, on a thread of its own. One of: a WAV file, written by finish(); standard output; a
/// program that reads raw PCM16, one for each answer, and that is ended where the answer is stopped.
class Playback {
 public:
  struct Target {
    std::string file;                  // "-": raw samples to standard output
    std::vector<std::string> program;  // where there is no file; neither: nothing is played
  };
  Playback(Target target, uint32_t rate);
  ~Playback();

  void play(std::span<const int16_t> samples);
  /// No more samples for this answer.
  void end_answer();
  /// What was not played is forgotten.
  void stop();
  /// Waits until all is played; an error of any answer, or of the file.
  Status finish();

 private:
  void run();

  Target target_;
  voice::Audio audio_;  // of a file
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::vector<int16_t>> queue_;  // an empty one: the answer ends
  std::stop_source stopping_;
  bool busy_ = false, quit_ = false;
  std::optional<Error> error_;
  std::thread thread_;
};

}  // namespace onebit::halo
