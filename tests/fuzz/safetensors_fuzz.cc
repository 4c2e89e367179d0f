// A safetensors file of any bytes. The first byte says whether the header's length is made to fit what
// follows up to the first 0 byte, or is taken from the input.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "format/import/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace onebit;
  if (size == 0) return 0;
  std::string file(reinterpret_cast<const char*>(bytes) + 1, size - 1);
  if ((bytes[0] & 1) != 0) {
    const uint64_t header_bytes = std::min(file.find('\0'), file.size());
    std::string length(sizeof header_bytes, '\0');
    std::memcpy(length.data(), &header_bytes, sizeof header_bytes);
    file.insert(0, length);
  }
  const int fd = ::memfd_create("model", MFD_CLOEXEC);
  if (fd < 0 || ::write(fd, file.data(), file.size()) != static_cast<ssize_t>(file.size())) std::abort();
  const auto path = fmt::format("/proc/self/fd/{}", fd);
  const auto tensors = Safetensors::open_file(path);
  ::close(fd);
  if (!tensors) {
    const auto& message = tensors.error().message;
    if (message.find(path) != 0 || message.find('\n') != std::string::npos || message.size() > 400) std::abort();
    return 0;
  }
  size_t zeros = 0, total = 0;
  for (const auto& [name, tensor] : tensors->tensors()) {
    uint64_t expected = element_bytes(tensor.dtype);
    for (const uint64_t n : tensor.shape) expected *= n;
    if (expected != tensor.bytes.size()) std::abort();
    zeros += static_cast<size_t>(std::count(tensor.bytes.begin(), tensor.bytes.end(), std::byte{0}));
    total += tensor.bytes.size();
  }
  if (zeros > total || total > file.size()) std::abort();  // all bytes can be read, and none stands for two
  return 0;
}
