#include "server/realtime_api.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/utf8.h"
#include "server/base64.h"
#include "server/fields.h"
#include "server/json_body.h"

namespace onebit::server {
namespace {

using nlohmann::json;
using Json = nlohmann::ordered_json;

static_assert(std::endian::native == std::endian::little, "pcm16 is little-endian");

constexpr size_t kLongestId = 64;
constexpr size_t kMostContentParts = 32;

/// Fields of one object of an event; the fault of one is the event's.
class EventObject {
 public:
  EventObject(const json& object, std::string place, ApiError& error, bool& failed)
      : fields_(object), place_(std::move(place)), error_(error), failed_(failed) {}
  ~EventObject() {
    if (fields_.error() != nullptr && !failed_) {
      error_ = *fields_.error();
      error_.param = place_ + error_.param;
      failed_ = true;
    }
  }
  EventObject(const EventObject&) = delete;
  EventObject& operator=(const EventObject&) = delete;

  Fields* operator->() { return &fields_; }
  /// Null where it is absent or no object, which is a fault.
  const json* object(const char* name) {
    const auto* value = fields_.find(name);
    if (value == nullptr || value->is_object()) return value;
    fields_.fault(name, fmt::format("{} must be an object", name));
    return nullptr;
  }

 private:
  Fields fields_;
  std::string place_;
  ApiError& error_;
  bool& failed_;
};

class RealtimeReader {
 public:
  RealtimeReader(const json& root, const RealtimeSettings& now) : root_(root), settings_(now) {}

  ApiResult<RealtimeEvent> read(std::string& id) {
    RealtimeEvent event;
    {
      EventObject all(root_, "", error_, failed_);
      id = all->string("event_id", "").substr(0, kLongestId);
      event = read_type(all, all->string("type", ""));
    }
    if (failed_) return tl::unexpected(error_);
    return event;
  }

 private:
  RealtimeEvent read_type(EventObject& all, const std::string& type) {
    if (type == "session.update") {
      if (const auto* session = all.object("session"))
        read_session(*session, "session.");
      else
        all->fault("session", "session is missing");
      return SessionUpdate{settings_};
    }
    if (type == "input_audio_buffer.append") return AppendAudio{audio(all)};
    if (type == "input_audio_buffer.commit") return CommitAudio{};
    if (type == "input_audio_buffer.clear") return ClearAudio{};
    if (type == "conversation.item.create") {
      if (const auto* item = all.object("item")) return read_item(*item);
      all->fault("item", "item is missing");
      return CreateItem{};
    }
    if (type == "conversation.item.truncate")
      return TruncateItem{all->string("item_id", "").substr(0, kLongestId),
                          static_cast<uint64_t>(all->integer("audio_end_ms", 0, 0, INT64_MAX))};
    if (type == "response.create") {
      if (const auto* response = all.object("response")) read_session(*response, "response.");
      return CreateResponse{settings_};
    }
    if (type == "response.cancel") return CancelResponse{};
    all->fault("type", type.empty() ? "type is missing" : fmt::format("there is no event '{}' here", printable(type)));
    return CancelResponse{};
  }

  std::vector<int16_t> audio(EventObject& all) {
    const auto* text = all->find("audio");
    if (text == nullptr || !text->is_string()) {
      all->fault("audio", "audio must be a string of base64");
      return {};
    }
    const auto bytes = from_base64(text->get_ref<const std::string&>());
    if (!bytes || bytes->size() % sizeof(int16_t) != 0) {
      all->fault("audio", "audio must be whole samples of 16 bits in base64");
      return {};
    }
    std::vector<int16_t> samples(bytes->size() / sizeof(int16_t));
    if (!samples.empty()) std::memcpy(samples.data(), bytes->data(), bytes->size());
    return samples;
  }

  /// Of session.update and response.create, in either form of the protocol.
  void read_session(const json& object, const std::string& place) {
    auto& s = settings_;
    EventObject session(object, place, error_, failed_);
    s.instructions = session->string("instructions", s.instructions);
    s.voice = session->string("voice", s.voice);
    s.speed = session->number("speed", s.speed, 0.25, 4);
    s.temperature = session->number("temperature", s.temperature, 0, 2);
    read_most_tokens(session, "max_response_output_tokens");
    read_most_tokens(session, "max_output_tokens");
    read_modalities(session, "modalities");
    read_modalities(session, "output_modalities");
    read_format(session, "input_audio_format");
    read_format(session, "output_audio_format");
    read_transcription(session, object, "input_audio_transcription");
    read_detection(session, object);
    if (const auto* tools = session->find("tools"); tools != nullptr && !tools->empty())
      session->fault("tools", "tools are not called by voice here");
    if (const auto* audio = session.object("audio")) read_audio(*audio, place + "audio.");
  }

  void read_audio(const json& object, const std::string& place) {
    EventObject audio(object, place, error_, failed_);
    if (const auto* in = audio.object("input")) {
      EventObject input(*in, place + "input.", error_, failed_);
      read_format(input, "format");
      read_transcription(input, *in, "transcription");
      read_detection(input, *in);
    }
    if (const auto* out = audio.object("output")) {
      EventObject output(*out, place + "output.", error_, failed_);
      read_format(output, "format");
      settings_.voice = output->string("voice", settings_.voice);
      settings_.speed = output->number("speed", settings_.speed, 0.25, 4);
    }
  }

  void read_most_tokens(EventObject& session, const char* name) {
    const auto* value = session->find(name);
    if (value != nullptr && value->is_string() && *value == "inf")
      settings_.most_tokens = 0;
    else
      settings_.most_tokens = static_cast<uint32_t>(session->integer(name, settings_.most_tokens, 0, INT32_MAX));
  }

  void read_modalities(EventObject& session, const char* name) {
    const auto* value = session->find(name);
    if (value == nullptr) return;
    const auto all = session->strings(name, 2);
    for (const auto& one : all)
      if (one != "audio" && one != "text") session->fault(name, fmt::format("{} are audio and text", name));
    if (all.empty()) session->fault(name, fmt::format("{} must have one at least", name));
    settings_.audio = std::find(all.begin(), all.end(), "audio") != all.end();
  }

  void read_format(EventObject& session, const char* name) {
    const auto* value = session->find(name);
    if (value == nullptr || (value->is_string() && *value == "pcm16")) return;
    if (value->is_object() && value->value("type", json()) == "audio/pcm" &&
        value->value("rate", json(kRealtimeRate)) == kRealtimeRate)
      return;
    session->fault(name, fmt::format("{} is pcm16 (audio/pcm) of {} samples a second", name, kRealtimeRate));
  }

  void read_transcription(EventObject& session, const json& object, const char* name) {
    if (!object.contains(name)) return;
    settings_.transcription = session.object(name) != nullptr;
  }

  void read_detection(EventObject& session, const json& object) {
    if (!object.contains("turn_detection")) return;
    auto& s = settings_;
    const auto* value = session.object("turn_detection");
    s.turn_detection = value != nullptr;
    if (value == nullptr) return;
    EventObject detection(*value, "turn_detection.", error_, failed_);
    if (detection->string("type", "server_vad") != "server_vad")
      detection->fault("type", "type is server_vad, or turn_detection is null");
    s.threshold = detection->number("threshold", s.threshold, 0, 1);
    s.prefix_padding_ms = static_cast<uint32_t>(detection->integer("prefix_padding_ms", s.prefix_padding_ms, 0, 2000));
    s.silence_duration_ms =
        static_cast<uint32_t>(detection->integer("silence_duration_ms", s.silence_duration_ms, 100, 10000));
    s.create_response = detection->boolean("create_response", s.create_response);
    s.interrupt_response = detection->boolean("interrupt_response", s.interrupt_response);
  }

  CreateItem read_item(const json& object) {
    EventObject item(object, "item.", error_, failed_);
    CreateItem result{item->string("id", ""), item->string("role", "user"), ""};
    if (result.id.size() > kLongestId) item->fault("id", fmt::format("id has more than {} bytes", kLongestId));
    if (item->string("type", "message") != "message") item->fault("type", "type must be message");
    if (result.role != "user" && result.role != "assistant" && result.role != "system")
      item->fault("role", "role is user, assistant or system");
    const auto* content = item->find("content");
    if (content == nullptr || !content->is_array() || content->empty() || content->size() > kMostContentParts) {
      item->fault("content", fmt::format("content must be an array of 1 to {} parts", kMostContentParts));
      return result;
    }
    for (const auto& part : *content) {
      const auto type = part.is_object() ? part.value("type", json()) : json();
      const auto text = part.is_object() ? part.value("text", json()) : json();
      if ((type == "input_text" || type == "text" || type == "output_text") && text.is_string())
        result.text += text.get<std::string>();
      else
        item->fault("content", "its parts are of text: sound comes by input_audio_buffer.append");
    }
    return result;
  }

  const json& root_;
  RealtimeSettings settings_;
  ApiError error_;
  bool failed_ = false;
};

Json detection_json(const RealtimeSettings& s) {
  if (!s.turn_detection) return nullptr;
  return {{"type", "server_vad"},
          {"threshold", s.threshold},
          {"prefix_padding_ms", s.prefix_padding_ms},
          {"silence_duration_ms", s.silence_duration_ms},
          {"create_response", s.create_response},
          {"interrupt_response", s.interrupt_response}};
}

}  // namespace

ApiResult<RealtimeEvent> read_realtime(std::string_view text, const RealtimeSettings& now, std::string& id) {
  id.clear();
  const auto root = parse_body(text);
  if (root) return RealtimeReader(*root, now).read(id);
  auto error = root.error();
  error.message = "an event must be one JSON object: " + error.message;
  return tl::unexpected(std::move(error));
}

Json session_json(const RealtimeSettings& s, RealtimeForm form, const std::string& id, const std::string& model,
                  const std::string& recognizer) {
  const Json most = s.most_tokens == 0 ? Json("inf") : Json(s.most_tokens);
  const Json transcription = s.transcription ? Json{{"model", recognizer}} : Json();
  if (form == RealtimeForm::kBeta)
    return {{"id", id},
            {"object", "realtime.session"},
            {"model", model},
            {"modalities", s.audio ? Json{"audio", "text"} : Json::array({"text"})},
            {"instructions", s.instructions},
            {"voice", s.voice},
            {"speed", s.speed},
            {"input_audio_format", "pcm16"},
            {"output_audio_format", "pcm16"},
            {"input_audio_transcription", transcription},
            {"turn_detection", detection_json(s)},
            {"tools", Json::array()},
            {"tool_choice", "auto"},
            {"temperature", s.temperature},
            {"max_response_output_tokens", most}};
  const Json pcm{{"type", "audio/pcm"}, {"rate", kRealtimeRate}};
  return {{"id", id},
          {"object", "realtime.session"},
          {"type", "realtime"},
          {"model", model},
          {"output_modalities", Json::array({s.audio ? "audio" : "text"})},
          {"instructions", s.instructions},
          {"audio",
           {{"input", {{"format", pcm}, {"transcription", transcription}, {"turn_detection", detection_json(s)}}},
            {"output", {{"format", pcm}, {"voice", s.voice}, {"speed", s.speed}}}}},
          {"tools", Json::array()},
          {"tool_choice", "auto"},
          {"temperature", s.temperature},
          {"max_output_tokens", most}};
}

}  // namespace onebit::server
