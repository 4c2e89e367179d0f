// What clients of the routes of sound say, of any bytes: a sentence, or what the server takes. The first byte says
// which reader has the rest.
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "server/base64.h"
#include "server/form.h"
#include "server/realtime_api.h"
#include "server/speech_api.h"

namespace onebit::server {
namespace {

void check(bool holds) {
  if (!holds) std::abort();
}

void check_event(std::string_view text) {
  RealtimeSettings settings;
  std::string id;
  const auto event = read_realtime(text, settings, id);
  check(id.size() <= 64);
  if (!event) return check(!event.error().message.empty());
  if (const auto* update = std::get_if<SessionUpdate>(&*event)) {
    const auto& s = update->settings;
    check(s.speed >= 0.25 && s.speed <= 4 && s.temperature >= 0 && s.temperature <= 2);
    check(s.silence_duration_ms >= 100 && s.silence_duration_ms <= 10000 && s.prefix_padding_ms <= 2000);
    check(s.threshold >= 0 && s.threshold <= 1);
    for (const auto form : {RealtimeForm::kBeta, RealtimeForm::kGeneral})
      check(session_json(s, form, "sess_1", "tiny", "pocketsphinx").is_object());
  }
  if (const auto* sound = std::get_if<AppendAudio>(&*event)) check(sound->samples.size() * 2 <= text.size());
}

void check_form(std::string_view input) {
  const auto type = input.substr(0, input.find('\n'));
  input.remove_prefix(std::min(input.size(), type.size() + 1));
  const auto form = read_form(type, input);
  if (form) {
    check(form->size() <= kMostFormParts);
    for (const auto& part : *form)
      check(part.data.data() >= input.data() && part.data.data() + part.data.size() <= input.data() + input.size());
  }
  const auto call = read_transcription(type, input);
  check(call || !call.error().message.empty());
}

}  // namespace
}  // namespace onebit::server

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace onebit::server;
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(bytes) + 1, size - 1);
  switch (bytes[0] % 4) {
    case 0:
      check_event(rest);
      break;
    case 1:
      check_form(rest);
      break;
    case 2:
      if (const auto call = read_speech(rest)) check(!call->input.empty());
      break;
    default:
      if (const auto plain = from_base64(rest)) check(from_base64(base64(std::as_bytes(std::span(*plain)))) == plain);
  }
  return 0;
}
