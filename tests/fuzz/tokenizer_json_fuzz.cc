// tokenizer.json and its companions: any texts are an error or valid data. The input is tokenizer.json,
// tokenizer_config.json, generation_config.json and config.json with a zero byte between one and the next, then
// tokenizer.model, which is read where the first is empty.
#include <cstdlib>

#include "format/import/hf_tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace onebit;
  std::string_view rest(reinterpret_cast<const char*>(bytes), size);
  const auto next = [&] {
    const std::string_view text = rest.substr(0, rest.find('\0'));
    rest.remove_prefix(text.size() < rest.size() ? text.size() + 1 : text.size());
    return std::string(text);
  };
  HfTokenizerFiles files;
  files.tokenizer_json = next();
  files.tokenizer_config_json = next();
  files.generation_config_json = next();
  files.config_json = next();
  files.tokenizer_model = rest;
  const auto data = import_hf_tokenizer(files, 512);
  if (!data) return 0;
  const std::string section = serialize(*data);
  if (!parse_tokenizer_data(std::as_bytes(std::span(section)))) std::abort();
  return 0;
}
