#include "voice/recognizer.h"

#include "voice/engines.h"

namespace onebit::voice {

#ifndef ONEBIT_POCKETSPHINX
bool have_pocketsphinx() {
  return false;
}
Result<std::unique_ptr<Recognizer>> make_pocketsphinx(const RecognizerOptions&) {
  return fail(
      "this program was built without pocketsphinx: install Debian's libpocketsphinx-dev and pocketsphinx-en-us and "
      "build it again, or name a server that recognises speech");
}
#endif

Result<std::unique_ptr<Recognizer>> make_recognizer(const RecognizerOptions& options) {
  if (options.engine == "pocketsphinx") return make_pocketsphinx(options);
  if (options.engine == "whisper" || options.engine == "openai") return make_http_recognizer(options);
  return fail("there is no recogniser '{}': there are pocketsphinx, whisper and openai", options.engine);
}

}  // namespace onebit::voice
