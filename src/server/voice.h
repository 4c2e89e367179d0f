// What the server hears and speaks with, shared by the routes of sound.
#pragma once

#include <atomic>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "server/api_error.h"
#include "voice/recognizer.h"
#include "voice/speaker.h"

namespace onebit::server {

namespace asio = boost::asio;

struct VoiceOptions {
  voice::RecognizerOptions recognizer{};
  voice::SpeakerOptions speaker{};     // `voice`: where a client names none
  uint32_t most = 4;                   // conversations, transcriptions and speeches at once; 0: none are served
  std::chrono::seconds session{3600};  // for a conversation
};

class RealtimeSession;

/// Of the network's thread, unless said otherwise.
class Voice {
 public:
  explicit Voice(const VoiceOptions& options);
  Voice(const Voice&) = delete;
  Voice& operator=(const Voice&) = delete;
  /// end() must have been called.
  ~Voice();

  /// Why there is none, as 501; nothing where there is one.
  std::optional<ApiError> no_recognizer() const;
  std::optional<ApiError> no_speaker() const;
  std::string recognizer_name() const { return options_.recognizer.engine; }
  const VoiceOptions& options() const { return options_; }

  /// One of those that may be under way at once, as long as it lives.
  class Slot {
   public:
    Slot(Slot&& other) noexcept : voice_(std::exchange(other.voice_, nullptr)) {}
    Slot& operator=(Slot&&) = delete;
    ~Slot() {
      if (voice_ != nullptr) --voice_->used_;
    }

   private:
    friend class Voice;
    explicit Slot(Voice* voice) : voice_(voice) { ++voice->used_; }
    Voice* voice_;
  };
  /// Errors: 429, all are taken.
  ApiResult<Slot> enter();

  /// By any thread; loading one may take a second. Those given back are taken again.
  Result<std::shared_ptr<voice::Recognizer>> take_recognizer();
  void give_back(std::shared_ptr<voice::Recognizer> recognizer);
  /// By any thread. `name`: a voice of the speaker's, one of OpenAI's names, for which it has one of its own, or empty.
  /// Errors: 400, there is no such voice; 500.
  ApiResult<std::shared_ptr<voice::Speaker>> make_speaker(const std::string& name, double speed, uint32_t rate) const;
  /// The speaker's own voice for a name; the error is 400.
  ApiResult<std::string> voice_named(const std::string& name) const;
  /// GET /v1/audio/voices.
  std::string voices_json() const;

  /// For what takes milliseconds, and for what may take a recogniser's or a speaker's time.
  asio::thread_pool& short_work();
  asio::thread_pool& long_work();

  // Conversations.
  void add(RealtimeSession* session) { sessions_.insert(session); }
  void remove(RealtimeSession* session) { sessions_.erase(session); }
  size_t sessions() const { return sessions_.size(); }
  /// They end once what is said now has been answered; cancel_all(): now.
  void drain();
  bool draining() const { return draining_; }
  void cancel_all();
  /// By any thread: what works long is to stop.
  bool ending() const { return ending_; }
  /// Ends what is left of them, and the threads; nothing calls an engine after it. After the network's thread has
  /// ended.
  void end();

 private:
  const VoiceOptions options_;
  uint32_t used_ = 0;
  bool draining_ = false;
  std::atomic<bool> ending_{false};
  std::set<RealtimeSession*> sessions_;
  std::mutex mutex_;
  std::vector<std::shared_ptr<voice::Recognizer>> idle_;
  std::optional<asio::thread_pool> short_, long_;  // once there is something to do
};

}  // namespace onebit::server
