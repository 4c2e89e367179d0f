#include "voice/speaker.h"

#include "voice/engines.h"

namespace onebit::voice {

#ifndef ONEBIT_FLITE
bool have_flite() {
  return false;
}
Result<std::unique_ptr<Speaker>> make_flite(const SpeakerOptions&) {
  return fail(
      "this program was built without flite: install Debian's flite1-dev and build it again, or use espeak-ng or a "
      "server that speaks");
}
#endif

std::vector<std::string> voices_of(const std::string& engine) {
  if (engine == "flite") return {"slt", "rms", "awb", "kal"};
  return {};
}

Result<std::unique_ptr<Speaker>> make_speaker(const SpeakerOptions& options) {
  if (options.rate < 8000 || options.rate > 48000)
    return fail("{} Hz is no rate for speech: expected 8000 to 48000", options.rate);
  if (!(options.speed >= 0.25 && options.speed <= 4))
    return fail("{} is no speed for speech: expected 0.25 to 4", options.speed);
  if (options.engine == "flite") return make_flite(options);
  if (options.engine == "espeak-ng") return make_process_speaker(options);
  if (options.engine == "openai") return make_http_speaker(options);
  return fail("there is no speaker '{}': there are flite, espeak-ng and openai", options.engine);
}

}  // namespace onebit::voice
