// What the routes of sound read: base64, forms, OpenAI's realtime events and speech requests. Without a network.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "server/base64.h"
#include "server/form.h"
#include "server/realtime.h"
#include "server/realtime_api.h"
#include "server/realtime_teller.h"
#include "server/speech_api.h"

namespace onebit::server {
namespace {

using nlohmann::json;

TEST(Base64Test, GivesBackWhatWasWritten) {
  std::string bytes;
  for (int i = 0; i < 300; ++i) {
    const auto text = base64(std::as_bytes(std::span(bytes)));
    EXPECT_EQ(from_base64(text), bytes);
    EXPECT_EQ(from_base64(text.substr(0, text.find('='))), bytes) << "without padding";
    bytes += static_cast<char>(i * 37);
  }
}

TEST(Base64Test, RefusesWhatIsNone) {
  for (const char* text : {"A", "AAAAA", "====", "AA=A", "AA-_", "AA A", "AAA\n", "AA==AAAA", "\x80"})
    EXPECT_FALSE(from_base64(text)) << text;
  EXPECT_EQ(from_base64(""), "");
}

constexpr const char* kType = "multipart/form-data; boundary=\"a b\"";

TEST(FormTest, GivesEachPart) {
  const std::string body =
      "before\r\n--a b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x \\\"y\\\".wav\"\r\nContent-Type: "
      "audio/wav\r\n\r\n\r\n--a\r\n\r\n--a b \r\ncontent-disposition: form-data; name=model\r\n\r\nm\r\n--a "
      "b--\r\nafter";
  const auto form = read_form(kType, body);
  ASSERT_TRUE(form) << form.error().message;
  ASSERT_EQ(form->size(), 2u);
  EXPECT_EQ(part_of(*form, "file")->data, "\r\n--a\r\n");
  EXPECT_EQ(part_of(*form, "file")->filename, "x \"y\".wav");
  EXPECT_EQ(part_of(*form, "model")->data, "m");
  EXPECT_EQ(part_of(*form, "none"), nullptr);
}

TEST(FormTest, RefusesWhatIsNone) {
  const std::string part = "--b\r\nContent-Disposition: form-data; name=\"n\"\r\n\r\nv\r\n";
  const char* type = "multipart/form-data; boundary=b";
  EXPECT_TRUE(read_form(type, part + "--b--"));
  EXPECT_FALSE(read_form(type, part)) << "cut short";
  EXPECT_FALSE(read_form(type, part + "--b"));
  EXPECT_FALSE(read_form(type, "--b\r\nContent-Type: text/plain\r\n\r\nv\r\n--b--")) << "without a name";
  EXPECT_FALSE(read_form(type, ""));
  EXPECT_FALSE(read_form("application/json", part + "--b--"));
  EXPECT_FALSE(read_form("multipart/form-data", part + "--b--"));
  EXPECT_FALSE(read_form("multipart/form-data; boundary=" + std::string(71, 'b'), part + "--b--"));
  std::string many;
  for (size_t i = 0; i <= kMostFormParts; ++i) many += part;
  EXPECT_FALSE(read_form(type, many + "--b--"));
}

ApiResult<RealtimeEvent> read(const json& event) {
  std::string id;
  return read_realtime(event.dump(), {}, id);
}

TEST(RealtimeApiTest, BothFormsSetTheSame) {
  const json detection{{"type", "server_vad"}, {"silence_duration_ms", 350}, {"threshold", 0.25}};
  const json beta{{"type", "session.update"},
                  {"session",
                   {{"voice", "awb"},
                    {"speed", 1.5},
                    {"instructions", "Be brief."},
                    {"modalities", {"text"}},
                    {"input_audio_format", "pcm16"},
                    {"input_audio_transcription", nullptr},
                    {"max_response_output_tokens", "inf"},
                    {"turn_detection", detection}}}};
  const json general{{"type", "session.update"},
                     {"session",
                      {{"type", "realtime"},
                       {"instructions", "Be brief."},
                       {"output_modalities", {"text"}},
                       {"max_output_tokens", "inf"},
                       {"audio",
                        {{"input",
                          {{"format", {{"type", "audio/pcm"}, {"rate", 24000}}},
                           {"transcription", nullptr},
                           {"turn_detection", detection}}},
                         {"output", {{"voice", "awb"}, {"speed", 1.5}}}}}}}};
  const auto one = read(beta), other = read(general);
  ASSERT_TRUE(one && other);
  const auto& s = std::get<SessionUpdate>(*one).settings;
  EXPECT_EQ(s, std::get<SessionUpdate>(*other).settings);
  EXPECT_EQ(s.voice, "awb");
  EXPECT_EQ(s.silence_duration_ms, 350u);
  EXPECT_EQ(s.most_tokens, 0u);
  EXPECT_FALSE(s.audio || s.transcription);
  EXPECT_TRUE(s.turn_detection);
  const auto off = read({{"type", "session.update"}, {"session", {{"turn_detection", nullptr}}}});
  EXPECT_FALSE(std::get<SessionUpdate>(*off).settings.turn_detection);
}

TEST(RealtimeApiTest, TheFieldAtFaultIsNamed) {
  const auto update = [](json session) { return json{{"type", "session.update"}, {"session", std::move(session)}}; };
  const std::vector<std::pair<json, const char*>> wrong{
      {json::object(), "type"},
      {{{"type", "none"}}, "type"},
      {{{"type", "session.update"}}, "session"},
      {update({{"voice", 1}}), "session.voice"},
      {update({{"speed", 9}}), "session.speed"},
      {update({{"temperature", -1}}), "session.temperature"},
      {update({{"modalities", {"video"}}}), "session.modalities"},
      {update({{"input_audio_format", "g711_ulaw"}}), "session.input_audio_format"},
      {update({{"tools", {{{"type", "function"}}}}}), "session.tools"},
      {update({{"turn_detection", {{"type", "semantic_vad"}}}}), "turn_detection.type"},
      {update({{"turn_detection", {{"silence_duration_ms", 1}}}}), "turn_detection.silence_duration_ms"},
      {update({{"audio", {{"output", {{"speed", "x"}}}}}}), "session.audio.output.speed"},
      {{{"type", "input_audio_buffer.append"}}, "audio"},
      {{{"type", "input_audio_buffer.append"}, {"audio", "AA=="}}, "audio"},
      {{{"type", "input_audio_buffer.append"}, {"audio", "????"}}, "audio"},
      {{{"type", "conversation.item.create"}}, "item"},
      {{{"type", "conversation.item.create"}, {"item", {{"role", "tool"}}}}, "item.role"},
      {{{"type", "conversation.item.create"}, {"item", {{"content", {{{"type", "input_audio"}, {"audio", ""}}}}}}},
       "item.content"},
      {{{"type", "response.create"}, {"response", {{"max_output_tokens", -1}}}}, "response.max_output_tokens"},
  };
  for (const auto& [event, param] : wrong) {
    const auto result = read(event);
    ASSERT_FALSE(result) << event;
    EXPECT_EQ(result.error().param, param) << event;
    EXPECT_FALSE(result.error().message.empty());
  }
  std::string id;
  EXPECT_FALSE(read_realtime("[]", {}, id));
  EXPECT_FALSE(read_realtime(R"({"event_id": "mine", "type": "none"})", {}, id));
  EXPECT_EQ(id, "mine");
}

TEST(RealtimeApiTest, TheKeyIsAmongTheSubprotocols) {
  auto offer = read_offer("realtime, openai-insecure-api-key.a-key , openai-beta.realtime-v1");
  EXPECT_EQ(offer.chosen, "realtime");
  EXPECT_EQ(offer.key, "a-key");
  EXPECT_TRUE(offer.beta);
  offer = read_offer("other");
  EXPECT_TRUE(offer.chosen.empty() && offer.key.empty() && !offer.beta);
  EXPECT_TRUE(read_offer(",,").key.empty());
}

/// The types of what a teller says of these events.
class TellerTest : public ::testing::Test {
 protected:
  using Kind = voice::Event::Kind;
  void hear(Kind kind, uint64_t turn, const std::string& text = {}, uint64_t sample = 0) {
    voice::Event event{.kind = kind, .turn = turn, .sample = sample, .text = text};
    const std::vector<int16_t> sound(kind == Kind::kAudio ? 2400 : 0);
    event.audio = sound;
    RealtimeTeller::Events out;
    teller_.hear(event, settings_, true, out);
    for (const auto& one : out) told_.push_back(json::parse(one));
  }
  json last(const std::string& type) const {
    for (auto it = told_.rbegin(); it != told_.rend(); ++it)
      if (it->at("type") == type) return *it;
    return nullptr;
  }
  size_t count(const std::string& type) const {
    return static_cast<size_t>(
        std::count_if(told_.begin(), told_.end(), [&](const json& event) { return event.at("type") == type; }));
  }

  RealtimeSettings settings_;
  RealtimeTeller teller_{RealtimeForm::kBeta, "sess_1", "tiny", "pocketsphinx"};
  std::vector<json> told_;
};

TEST_F(TellerTest, AnAnswerThatIsInterruptedHasWhatWasHeard) {
  hear(Kind::kSpeechStarted, 1, {}, 1600);
  EXPECT_EQ(last("input_audio_buffer.speech_started").at("audio_start_ms"), 100);
  hear(Kind::kPartial, 1, "what is");
  hear(Kind::kPartial, 1, "what is this");
  EXPECT_EQ(last("conversation.item.input_audio_transcription.delta").at("delta"), " this");
  hear(Kind::kPartial, 1, "who is this");
  EXPECT_EQ(last("conversation.item.input_audio_transcription.delta").at("delta"), "");
  EXPECT_EQ(last("conversation.item.input_audio_transcription.delta").at("transcript"), "who is this");
  hear(Kind::kSpeechStopped, 1, {}, 16000);
  EXPECT_EQ(last("conversation.item.created").at("item").at("role"), "user");
  hear(Kind::kFinal, 1, "who is this");
  EXPECT_TRUE(teller_.answering());
  hear(Kind::kText, 1, "It is I. And you?");
  hear(Kind::kAudio, 1);
  hear(Kind::kSpeechStarted, 2);
  hear(Kind::kInterrupted, 1, "It is I.");
  EXPECT_FALSE(teller_.answering());
  const auto done = last("response.done").at("response");
  EXPECT_EQ(done.at("status"), "cancelled");
  EXPECT_EQ(done.at("status_details").at("reason"), "turn_detected");
  EXPECT_EQ(done.at("output")[0].at("content")[0].at("transcript"), "It is I.");
}

TEST_F(TellerTest, WhatWasAllToldAndNotAllPlayedIsTruncated) {
  hear(Kind::kSpeechStarted, 1);
  hear(Kind::kSpeechStopped, 1);
  hear(Kind::kFinal, 1, "hello");
  hear(Kind::kText, 1, "Good day.");
  for (int i = 0; i < 10; ++i) hear(Kind::kAudio, 1);  // a second
  hear(Kind::kDone, 1);
  EXPECT_EQ(last("response.done").at("response").at("status"), "completed");
  hear(Kind::kSpeechStarted, 2);
  hear(Kind::kInterrupted, 1, "Good");
  EXPECT_EQ(last("conversation.item.truncated").at("transcript"), "Good");
  EXPECT_EQ(last("conversation.item.truncated").at("audio_end_ms"), 444);
  EXPECT_EQ(count("response.done"), 1u);
}

TEST_F(TellerTest, EveryFaultEndsItsTurn) {
  hear(Kind::kSpeechStarted, 1);
  hear(Kind::kError, 1, "it died");
  EXPECT_EQ(count("conversation.item.input_audio_transcription.failed"), 1u);
  EXPECT_FALSE(teller_.busy());
  hear(Kind::kFinal, 2, "a written question");
  EXPECT_EQ(count("conversation.item.input_audio_transcription.completed"), 0u);
  hear(Kind::kText, 2, "An");
  hear(Kind::kError, 2, "it hangs");
  EXPECT_EQ(last("response.done").at("response").at("status"), "failed");
  EXPECT_EQ(last("error").at("error").at("message"), "it hangs");
  EXPECT_FALSE(teller_.busy());
  hear(Kind::kText, 2, "late");
  hear(Kind::kAudio, 2);
  EXPECT_EQ(count("response.audio.delta"), 0u);
}

TEST(SpeechApiTest, RequestsAreReadLikeOpenAis) {
  const auto call = read_speech(R"({"model": "tts-1", "input": "Hello.", "voice": "alloy", "response_format": "pcm"})");
  ASSERT_TRUE(call);
  EXPECT_FALSE(call->wav);
  EXPECT_TRUE(read_speech(json{{"input", std::string(4096, 'x')}}.dump()));
  for (const auto& body :
       {json::object(), json{{"input", std::string(4097, 'x')}}, json{{"input", 1}},
        json{{"input", "x"}, {"response_format", "mp3"}}, json{{"input", "x"}, {"speed", 0.1}},
        json{{"input", "x"}, {"stream_format", "sse"}}, json{{"input", "x"}, {"voice", {{"id", 1}}}}})
    EXPECT_FALSE(read_speech(body.dump())) << body;
}

TEST(SpeechApiTest, ATranscriptHasEachForm) {
  const Transcript transcript{{{0.5, 1, "one"}, {2, 3, "two"}}, 4};
  EXPECT_EQ(transcript_body(transcript, TranscriptionCall::Form::kText), "one two\n");
  EXPECT_EQ(json::parse(transcript_body(transcript, TranscriptionCall::Form::kJson)), (json{{"text", "one two"}}));
  const auto verbose = json::parse(transcript_body(transcript, TranscriptionCall::Form::kVerbose));
  EXPECT_EQ(verbose.at("duration"), 4);
  EXPECT_EQ(verbose.at("segments")[1].at("start"), 2);
}

}  // namespace
}  // namespace onebit::server
