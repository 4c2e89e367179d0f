// OpenAI's audio routes: what their requests say. Without a network.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "server/api_error.h"

namespace onebit::server {

/// POST /v1/audio/speech.
struct SpeechCall {
  std::string input;
  std::string voice;  // empty: the server's
  double speed = 1;
  bool wav = true;  // false: pcm, 24,000 samples a second, as they are
};
ApiResult<SpeechCall> read_speech(std::string_view body);

/// POST /v1/audio/transcriptions.
struct TranscriptionCall {
  enum class Form { kJson, kText, kVerbose };
  std::string_view wav;  // within the body
  std::string name;      // of the file
  Form form = Form::kJson;
};
ApiResult<TranscriptionCall> read_transcription(std::string_view type, std::string_view body);

struct Transcript {
  struct Segment {
    double begin = 0, end = 0;  // seconds
    std::string text;
  };
  std::vector<Segment> segments;
  double seconds = 0;  // of the whole sound

  std::string text() const;
};
/// The answer's body.
std::string transcript_body(const Transcript& transcript, TranscriptionCall::Form form);

}  // namespace onebit::server
