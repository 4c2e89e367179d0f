// A GGUF file of any bytes: opened, each tensor decoded, and imported as far as it goes.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "format/import/gguf_blocks.h"
#include "format/import/gguf_import.h"
#include "format/import/gguf_tokenizer.h"
#include "format/import/gguf_weights.h"

namespace {

using namespace onebit;

std::string path;

/// A sentence that begins with the file.
void check_sentence(const Error& error) {
  const auto& message = error.message;
  if (message.find(path) != 0 || message.find('\n') != std::string::npos || message.size() > 600) std::abort();
}

/// Every row as numbers and as trits. Returns the bytes of the tensor.
size_t decode_all(const GgufTensor& t) {
  if (t.info == nullptr) return 0;
  const uint64_t block = ternary_block(*t.info);
  std::vector<float> values(t.columns()), scales((t.columns() + block - 1) / block);
  std::vector<int8_t> trits(t.columns());
  for (uint64_t row = 0; row < t.rows(); ++row) {
    if (is_wide(*t.info)) decode_wide_row(t, row, values);
    if (!is_ternary(*t.info) || !decode_ternary_row(t, row, trits, scales)) continue;
    if (std::any_of(trits.begin(), trits.end(), [](int8_t w) { return w < -1 || w > 1; })) std::abort();
    if (std::any_of(scales.begin(), scales.end(), [](float s) { return !(s >= 0); })) std::abort();
  }
  return t.bytes.size();
}

void import(const GgufFile& file) {
  const auto config = read_gguf_config(file);
  if (!config) return check_sentence(config.error());
  auto weights = GgufWeights::open(file, *config->architecture, config->model);
  if (!weights) return check_sentence(weights.error());
  std::vector<std::string> notes;
  const auto tokenizer = import_gguf_tokenizer(file, config->model.vocabulary, std::nullopt, notes);
  if (!tokenizer) return check_sentence(tokenizer.error());
  for (const auto linear : kLinears) {
    const auto shape = shape_of(config->model, linear);
    std::vector<int8_t> row(shape.inputs);
    const auto status = weights->ternary_rows(0, linear, shape.outputs - 1, 1, row);
    if (!status) return check_sentence(status.error());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const int fd = ::memfd_create("model", MFD_CLOEXEC);
  if (fd < 0 || ::write(fd, bytes, size) != static_cast<ssize_t>(size)) std::abort();
  path = fmt::format("/proc/self/fd/{}", fd);
  const auto file = GgufFile::open(path);
  ::close(fd);
  if (!file) {
    check_sentence(file.error());
    return 0;
  }
  size_t total = 0;
  for (const auto& [name, tensor] : file->tensors()) total += decode_all(tensor);
  if (total > size) std::abort();  // no byte stands for two
  for (const auto& [key, value] : file->metadata()) {
    if (const auto text = file->texts(key); text && text->size() > size) std::abort();
    static_cast<void>(file->wholes(key).has_value());
    static_cast<void>(file->floats(key).has_value());
    static_cast<void>(file->number(key).has_value());
  }
  import(*file);
  return 0;
}
