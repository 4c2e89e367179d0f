// A model file of any bytes (see paged_file.h) is opened, verified and run through one forward pass: errors
// or numbers, never a crash. In half of the inputs the checksums are made to fit first, since hardly any
// change would get past them otherwise.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>

#include "base/result.h"
#include "tests/fuzz/paged_file.h"
#include "tests/support/h1b_edit.h"
#include "tests/support/use_model.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace onebit;
  auto file = fuzz::unfold({bytes, size});
  if (size > 0 && (bytes[0] & fuzz::kRepairChecksums) != 0) {
    // Everything before the checksum that a mutation has to guess.
    if (file.size() >= sizeof(h1b::Header)) test::put(file, offsetof(h1b::Header, file_bytes), 8, file.size());
    test::repair_checksums(file);
  }
  const int fd = ::memfd_create("model", MFD_CLOEXEC);
  if (fd < 0 || ::write(fd, file.data(), file.size()) != static_cast<ssize_t>(file.size())) std::abort();
  const auto path = fmt::format("/proc/self/fd/{}", fd);
  const auto use = test::use_model(path);
  ::close(fd);
  for (const auto& error : use.file_errors)
    if (error.message.find(path) != 0 || error.message.find('\n') != std::string::npos || error.message.size() > 400)
      std::abort();
  // What is sound can be used: verify parses the tokenizer, and binding fails on a missing tensor only.
  if (use.verified && use.forward_error && use.forward_error->message.find("finite") == std::string::npos) std::abort();
  return 0;
}
