// A config.json of any bytes: one sentence, or a config whose sizes may be relied on.
#include <cstdlib>

#include "format/import/hf_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace onebit;
  const auto config = parse_hf_config({reinterpret_cast<const char*>(bytes), size}, "config.json");
  if (!config) {
    const auto& message = config.error().message;
    if (message.find("config.json: ") != 0 || message.find('\n') != std::string::npos || message.size() > 400)
      std::abort();
    return 0;
  }
  if (!validate(config->model)) std::abort();
  return 0;
}
