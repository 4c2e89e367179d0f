#include "server/realtime_teller.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <random>

#include "server/base64.h"
#include "server/json_body.h"
#include "voice/recognizer.h"

namespace onebit::server {
namespace {

using Json = nlohmann::ordered_json;

}  // namespace

RealtimeTeller::RealtimeTeller(RealtimeForm form, std::string session_id, std::string model, std::string recognizer)
    : form_(form),
      session_id_(std::move(session_id)),
      model_(std::move(model)),
      recognizer_(std::move(recognizer)),
      salt_(fmt::format("{:08x}", std::random_device()())) {}

std::string RealtimeTeller::new_id(const char* prefix) {
  return fmt::format("{}_{}{:06}", prefix, salt_, ++ids_);
}

void RealtimeTeller::add(Events& out, const char* type, Json fields) {
  Json event{{"type", type}, {"event_id", new_id("event")}};
  event.update(fields);
  out.push_back(dump(event));
}

const char* RealtimeTeller::name(const char* beta, const char* general) const {
  return form_ == RealtimeForm::kBeta ? beta : general;
}

void RealtimeTeller::session(const char* type, const RealtimeSettings& settings, Events& out) {
  add(out, type, {{"session", session_json(settings, form_, session_id_, model_, recognizer_)}});
}

void RealtimeTeller::error(const ApiError& error, const std::string& event_id, Events& out) {
  const auto or_null = [](const std::string& text) { return text.empty() ? Json() : Json(text); };
  add(out, "error",
      {{"error",
        {{"type", error.type()},
         {"code", or_null(error.code)},
         {"message", error.message},
         {"param", or_null(error.param)},
         {"event_id", or_null(event_id)}}}});
}

void RealtimeTeller::cleared(Events& out) {
  add(out, "input_audio_buffer.cleared", Json::object());
}

/// Tells of an item that stands behind the last one; `complete`: nothing more comes of it.
void RealtimeTeller::add_item(Events& out, const Json& item, bool complete) {
  const Json fields{{"previous_item_id", last_item_.empty() ? Json() : Json(last_item_)}, {"item", item}};
  add(out, name("conversation.item.created", "conversation.item.added"), fields);
  if (complete && form_ == RealtimeForm::kGeneral) add(out, "conversation.item.done", fields);
  last_item_ = item.at("id").get<std::string>();
}

void RealtimeTeller::item(const CreateItem& item, Events& out) {
  const char* type = item.role == "assistant" ? name("text", "output_text") : "input_text";
  add_item(out,
           {{"id", item.id.empty() ? new_id("item") : item.id},
            {"object", "realtime.item"},
            {"type", "message"},
            {"status", "completed"},
            {"role", item.role},
            {"content", Json::array({{{"type", type}, {"text", item.text}}})}},
           true);
}

void RealtimeTeller::truncated(const TruncateItem& item, Events& out) {
  add(out, "conversation.item.truncated",
      {{"item_id", item.id}, {"content_index", 0}, {"audio_end_ms", item.audio_end_ms}});
}

uint64_t RealtimeTeller::milliseconds(uint64_t sample) const {
  return offset_ + sample * 1000 / voice::Recognizer::kRate;
}

RealtimeTeller::Turn& RealtimeTeller::turn_of(uint64_t turn) {
  const auto [it, fresh] = turns_.try_emplace(turn);
  if (fresh) it->second.item = new_id("item");
  return it->second;
}

void RealtimeTeller::commit(Turn& turn, Events& out) {
  if (turn.committed) return;
  turn.committed = true;
  add(out, "input_audio_buffer.committed",
      {{"previous_item_id", last_item_.empty() ? Json() : Json(last_item_)}, {"item_id", turn.item}});
  add_item(out,
           {{"id", turn.item},
            {"object", "realtime.item"},
            {"type", "message"},
            {"status", "completed"},
            {"role", "user"},
            {"content", Json::array({{{"type", "input_audio"}, {"transcript", nullptr}}})}},
           true);
}

/// What is understood so far. Earlier words may become others, which the protocol's deltas cannot say: `transcript`, a
/// field of this server's, is always the whole.
void RealtimeTeller::partial(Turn& turn, const std::string& text, Events& out) {
  const bool grows = text.starts_with(turn.partial);
  add(out, "conversation.item.input_audio_transcription.delta",
      {{"item_id", turn.item},
       {"content_index", 0},
       {"delta", grows ? text.substr(turn.partial.size()) : std::string()},
       {"transcript", text}});
  if (grows) turn.partial = text;
}

void RealtimeTeller::hear(const voice::Event& event, const RealtimeSettings& settings, bool answers, Events& out) {
  using Kind = voice::Event::Kind;
  switch (event.kind) {
    case Kind::kSpeechStarted: {
      auto& turn = turn_of(event.turn);
      turn.begin = milliseconds(event.sample);
      heard_ = std::max(heard_, turn.begin);
      add(out, "input_audio_buffer.speech_started", {{"audio_start_ms", turn.begin}, {"item_id", turn.item}});
      break;
    }
    case Kind::kSpeechStopped: {
      auto& turn = turn_of(event.turn);
      const auto end = milliseconds(event.sample);
      heard_ = std::max(heard_, end);
      if (settings.turn_detection)
        add(out, "input_audio_buffer.speech_stopped", {{"audio_end_ms", end}, {"item_id", turn.item}});
      commit(turn, out);
      break;
    }
    case Kind::kPartial:
      if (settings.transcription) partial(turn_of(event.turn), event.text, out);
      break;
    case Kind::kFinal: {
      const auto turn = turns_.find(event.turn);
      const bool spoken = turn != turns_.end();  // or a turn of text
      if (spoken && settings.transcription)
        add(out, "conversation.item.input_audio_transcription.completed",
            {{"item_id", turn->second.item},
             {"content_index", 0},
             {"transcript", event.text},
             {"usage",
              {{"type", "duration"},
               {"seconds", static_cast<double>(heard_ - std::min(heard_, turn->second.begin)) / 1000}}}});
      if (spoken) turns_.erase(turn);
      if (!event.text.empty() && (answers || !spoken)) begin_response(event.turn, settings, out);
      break;
    }
    case Kind::kText:
      if (!response_ || response_->turn != event.turn) break;
      begin_item(out);
      response_->text += event.text;
      {
        auto fields = where(*response_);
        fields["delta"] = event.text;
        add(out,
            response_->audio ? name("response.audio_transcript.delta", "response.output_audio_transcript.delta")
                             : name("response.text.delta", "response.output_text.delta"),
            std::move(fields));
      }
      break;
    case Kind::kSentence:
      break;
    case Kind::kAudio:
      if (!response_ || response_->turn != event.turn) break;
      begin_item(out);
      response_->samples += event.audio.size();
      {
        auto fields = where(*response_);
        fields["delta"] = base64(std::as_bytes(event.audio));
        add(out, name("response.audio.delta", "response.output_audio.delta"), std::move(fields));
      }
      break;
    case Kind::kDone:
      if (response_ && response_->turn == event.turn) end_response("completed", nullptr, out);
      turns_.erase(event.turn);
      break;
    case Kind::kInterrupted:
      interrupted(event, out);
      break;
    case Kind::kError:
      failed(event, out);
      break;
  }
}

void RealtimeTeller::interrupted(const voice::Event& event, Events& out) {
  const char* reason = cancelling_ ? "client_cancelled" : "turn_detected";
  if (response_ && response_->turn == event.turn) {
    cancelling_ = false;
    response_->text = event.text;  // as far as it was heard
    end_response("cancelled", {{"type", "cancelled"}, {"reason", reason}}, out);
  } else if (last_ && last_->turn == event.turn) {  // it was all told, and not all played
    cancelling_ = false;
    const auto& text = last_->text;
    const auto share = text.empty() ? 0.0 : static_cast<double>(event.text.size()) / static_cast<double>(text.size());
    const auto end = static_cast<uint64_t>(static_cast<double>(last_->samples) * 1000 / kRealtimeRate * share);
    add(out, "conversation.item.truncated",
        {{"item_id", last_->item}, {"content_index", 0}, {"audio_end_ms", end}, {"transcript", event.text}});
    last_.reset();
  }
  turns_.erase(event.turn);
}

void RealtimeTeller::failed(const voice::Event& event, Events& out) {
  const auto fault = api_error(500, "voice_failed", event.text);
  const Json error{{"type", fault.type()}, {"code", fault.code}, {"message", fault.message}};
  if (const auto turn = turns_.find(event.turn); turn != turns_.end()) {
    commit(turn->second, out);
    auto with_param = error;
    with_param["param"] = nullptr;
    add(out, "conversation.item.input_audio_transcription.failed",
        {{"item_id", turn->second.item}, {"content_index", 0}, {"error", with_param}});
    turns_.erase(turn);
  }
  this->error(fault, "", out);
  if (response_ && response_->turn == event.turn) end_response("failed", {{"type", "failed"}, {"error", error}}, out);
}

Json RealtimeTeller::where(const Response& response) const {
  return {{"response_id", response.id}, {"item_id", response.item}, {"output_index", 0}, {"content_index", 0}};
}

Json RealtimeTeller::part_json(const Response& response, const char* text_of) const {
  if (response.audio) return {{"type", name("audio", "output_audio")}, {"transcript", text_of}};
  return {{"type", name("text", "output_text")}, {"text", text_of}};
}

Json RealtimeTeller::item_json(const Response& response, const char* status) const {
  Json content = Json::array();
  if (!response.text.empty()) content.push_back(part_json(response, response.text.c_str()));
  return {{"id", response.item}, {"object", "realtime.item"}, {"type", "message"},
          {"status", status},    {"role", "assistant"},       {"content", std::move(content)}};
}

Json RealtimeTeller::response_json(const Response& response, const char* status, const Json& details) const {
  const bool over = std::string_view(status) != "in_progress";
  const char* item_status = std::string_view(status) == "completed" ? "completed" : "incomplete";
  Json output = Json::array();
  if (over && response.begun) output.push_back(item_json(response, item_status));
  const Json modalities = response.audio && form_ == RealtimeForm::kBeta
                              ? Json::array({"audio", "text"})
                              : Json::array({response.audio ? "audio" : "text"});
  return {{"id", response.id},
          {"object", "realtime.response"},
          {"status", status},
          {"status_details", details},
          {name("modalities", "output_modalities"), modalities},
          {"output", std::move(output)},
          {"usage", nullptr}};
}

void RealtimeTeller::begin_response(uint64_t turn, const RealtimeSettings& settings, Events& out) {
  if (response_) end_response("cancelled", {{"type", "cancelled"}, {"reason", "turn_detected"}}, out);
  response_ = Response{.id = new_id("resp"), .item = new_id("item"), .turn = turn, .audio = settings.audio};
  last_.reset();
  cancelling_ = false;
  add(out, "response.created", {{"response", response_json(*response_, "in_progress", nullptr)}});
}

void RealtimeTeller::begin_item(Events& out) {
  if (response_->begun) return;
  response_->begun = true;
  const auto item = item_json(*response_, "in_progress");
  add(out, "response.output_item.added", {{"response_id", response_->id}, {"output_index", 0}, {"item", item}});
  add_item(out, item, false);
  auto fields = where(*response_);
  fields["part"] = part_json(*response_, "");
  add(out, "response.content_part.added", std::move(fields));
}

void RealtimeTeller::end_response(const char* status, const Json& details, Events& out) {
  const auto response = *std::exchange(response_, std::nullopt);
  if (response.begun) {
    const auto done = [&](const char* type, Json more) {
      auto fields = where(response);
      fields.update(more);
      add(out, type, std::move(fields));
    };
    if (response.audio) {
      done(name("response.audio.done", "response.output_audio.done"), Json::object());
      done(name("response.audio_transcript.done", "response.output_audio_transcript.done"),
           {{"transcript", response.text}});
    } else {
      done(name("response.text.done", "response.output_text.done"), {{"text", response.text}});
    }
    done("response.content_part.done", {{"part", part_json(response, response.text.c_str())}});
    const auto item = item_json(response, std::string_view(status) == "completed" ? "completed" : "incomplete");
    add(out, "response.output_item.done", {{"response_id", response.id}, {"output_index", 0}, {"item", item}});
    if (form_ == RealtimeForm::kGeneral)
      add(out, "conversation.item.done", {{"previous_item_id", nullptr}, {"item", item}});
  }
  add(out, "response.done", {{"response", response_json(response, status, details)}});
  if (std::string_view(status) == "completed") last_ = response;
}

void RealtimeTeller::loop_ended(Events& out) {
  if (response_) end_response("cancelled", {{"type", "cancelled"}, {"reason", "client_cancelled"}}, out);
  turns_.clear();
  last_.reset();
  cancelling_ = false;
  offset_ = heard_;
}

}  // namespace onebit::server
