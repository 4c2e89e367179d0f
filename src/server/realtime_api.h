// OpenAI's realtime protocol: what its client says. Without a network.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "server/api_error.h"

namespace onebit::server {

/// Samples a second of the protocol's pcm16, either way.
inline constexpr uint32_t kRealtimeRate = 24000;

/// What session.update sets, in the names of the protocol.
struct RealtimeSettings {
  std::string instructions{};
  std::string voice{};         // as the client named it; empty: the server's
  double speed = 1;            // of speech
  double temperature = 0.7;    // of words; elsewhere 0 is usual
  uint32_t most_tokens = 300;  // of an answer; 0: what the context holds
  bool audio = true;           // answers are spoken, with their transcript; false: text only
  bool transcription = true;   // what is understood is told
  bool turn_detection = true;  // server_vad; false: a turn is what comes until a commit
  double threshold = 0.5;      // of the detector: 0 hears everything, 1 only what is loud
  uint32_t prefix_padding_ms = 300;
  uint32_t silence_duration_ms = 600;
  bool create_response = true;     // turns are answered by themselves
  bool interrupt_response = true;  // speech stops the answer; false: while one is told nothing is heard

  bool operator==(const RealtimeSettings&) const = default;
};

struct SessionUpdate {
  RealtimeSettings settings;  // all, the changed ones with them
};
struct AppendAudio {
  std::vector<int16_t> samples;
};
struct CommitAudio {};
struct ClearAudio {};
/// A message of text.
struct CreateItem {
  std::string id;    // empty: the server's to choose
  std::string role;  // user, assistant, system
  std::string text;
};
/// How much of an answer was played. The server keeps a clock of its own, and only says yes.
struct TruncateItem {
  std::string id;
  uint64_t audio_end_ms = 0;
};
struct CreateResponse {
  RealtimeSettings settings;  // for this answer
};
struct CancelResponse {};
using RealtimeEvent = std::variant<SessionUpdate, AppendAudio, CommitAudio, ClearAudio, CreateItem, TruncateItem,
                                   CreateResponse, CancelResponse>;

/// Reads a client's event against the session's settings. `id`: of the event, where it has one, also where there is an
/// error.
ApiResult<RealtimeEvent> read_realtime(std::string_view text, const RealtimeSettings& now, std::string& id);

/// The protocol has two forms: that of 2024 ("beta", which clients ask for) and that of 2025.
enum class RealtimeForm { kBeta, kGeneral };

/// A session as session.created and session.updated tell it. `recognizer`: its name.
nlohmann::ordered_json session_json(const RealtimeSettings& settings, RealtimeForm form, const std::string& id,
                                    const std::string& model, const std::string& recognizer);

}  // namespace onebit::server
