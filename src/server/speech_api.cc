#include "server/speech_api.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/utf8.h"
#include "server/fields.h"
#include "server/form.h"
#include "server/json_body.h"

namespace onebit::server {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMostCharacters = 4096;  // of a text to be spoken, as OpenAI has it

size_t count_characters(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

}  // namespace

ApiResult<SpeechCall> read_speech(std::string_view body) {
  const auto root = parse_body(body);
  if (!root) return tl::unexpected(root.error());
  Fields fields(*root);
  SpeechCall call;
  call.input = fields.string("input", "");
  call.voice = fields.string("voice", "");
  call.speed = fields.number("speed", 1, 0.25, 4);
  const auto format = fields.string("response_format", "wav");
  call.wav = format == "wav";
  fields.string("model", "");
  fields.string("instructions", "");
  if (call.input.empty()) fields.fault("input", "input is missing: the text to be spoken");
  if (count_characters(call.input) > kMostCharacters)
    fields.fault("input", fmt::format("input has more than {} characters", kMostCharacters));
  if (format != "wav" && format != "pcm") fields.fault("response_format", "response_format is wav or pcm");
  if (fields.string("stream_format", "audio") != "audio") fields.fault("stream_format", "stream_format is audio");
  if (fields.error() != nullptr) return tl::unexpected(*fields.error());
  return call;
}

ApiResult<TranscriptionCall> read_transcription(std::string_view type, std::string_view body) {
  const auto form = read_form(type, body);
  if (!form) return tl::unexpected(form.error());
  const auto fault = [](const char* field, std::string message) {
    return tl::unexpected(ApiError{.message = std::move(message), .param = field});
  };
  TranscriptionCall call;
  const auto* file = part_of(*form, "file");
  if (file == nullptr) return fault("file", "file is missing: a recording, WAV");
  call.wav = file->data;
  call.name = file->filename.empty() ? "file" : printable(file->filename);
  if (const auto* format = part_of(*form, "response_format")) {
    if (format->data == "text")
      call.form = TranscriptionCall::Form::kText;
    else if (format->data == "verbose_json")
      call.form = TranscriptionCall::Form::kVerbose;
    else if (format->data != "json")
      return fault("response_format", "response_format is json, text or verbose_json");
  }
  if (const auto* stream = part_of(*form, "stream"); stream != nullptr && stream->data == "true")
    return fault("stream", "a transcription comes in one piece: stream must be false");
  return call;
}

std::string Transcript::text() const {
  std::string all;
  for (const auto& segment : segments) all += (all.empty() ? "" : " ") + segment.text;
  return all;
}

std::string transcript_body(const Transcript& transcript, TranscriptionCall::Form form) {
  const auto text = transcript.text();
  if (form == TranscriptionCall::Form::kText) return text + "\n";
  Json body{{"text", text}};
  if (form == TranscriptionCall::Form::kVerbose) {
    Json segments = Json::array();
    for (const auto& s : transcript.segments)
      segments.push_back({{"id", segments.size()}, {"start", s.begin}, {"end", s.end}, {"text", s.text}});
    body = {{"task", "transcribe"}, {"duration", transcript.seconds}, {"text", text}, {"segments", segments}};
  }
  return dump(body);
}

}  // namespace onebit::server
