// A model file of any bytes (see paged_file.h) is opened, verified and run through one forward pass: errors
// or numbers, never a crash. In half of the inputs the checksums are made to fit first, since hardly any
// change would get past them otherwise. Half of the mutations set one field of a structure to a telling value.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <random>

#include "base/result.h"
#include "tests/fuzz/paged_file.h"
#include "tests/support/h1b_edit.h"
#include "tests/support/use_model.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace onebit::fuzz {
namespace {

using Random = std::minstd_rand;

/// A value near which programs go wrong, or near the one that is there.
uint64_t telling_value(uint64_t old, Random& random) {
  constexpr std::array<uint64_t, 14> values{
      0,        1,          2,          15,         16,         4096,       1u << 22,
      1u << 31, UINT32_MAX, UINT64_MAX, 1ull << 62, 1ull << 63, 0x7f800000, 0x7ff0000000000000};
  switch (random() % 4) {
    case 0:
      return old + 1;
    case 1:
      return old - 1;
    case 2:
      return old ^ (uint64_t{1} << random() % 64);
    default:
      return values[random() % values.size()];
  }
}

/// Sets one field of the header, the config, a directory entry or the tokenizer's head.
void mutate_field(std::string& file, Random& random) {
  const auto header = test::header_of(file);
  const auto set = [&](uint64_t at, size_t bytes) {
    if (at > file.size() || bytes > file.size() - at) return;
    test::put(file, at, bytes, telling_value(test::get(file, at, bytes), random));
  };
  const auto one_of = [&](auto fields, uint64_t at) {
    const auto& field = fields[random() % fields.size()];
    set(at + field.offset, field.bytes);
  };
  switch (random() % 4) {
    case 0:
      return one_of(test::header_fields(), 0);
    case 1:
      return one_of(test::config_fields(), header.config.offset);
    case 2: {
      if (header.directory.offset > file.size() || file.size() - header.directory.offset < sizeof(uint64_t)) return;
      const auto count = std::clamp<uint64_t>(test::entry_count(file), 1, 1000);
      return one_of(test::entry_fields(), test::entry_at(file, random() % count));
    }
    default: {
      constexpr size_t kHeadWords = 16;
      return set(header.tokenizer.offset + sizeof(uint32_t) * (random() % kHeadWords), sizeof(uint32_t));
    }
  }
}

}  // namespace
}  // namespace onebit::fuzz

/// The checksums are repaired by the target itself, which the flag in the input asks it to do.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  using namespace onebit;
  fuzz::Random random(seed);
  auto file = fuzz::unfold({data, size});
  if (random() % 2 == 0 || file.size() < sizeof(h1b::Header)) return LLVMFuzzerMutate(data, size, max_size);
  fuzz::mutate_field(file, random);
  file.resize((file.size() + fuzz::kPage - 1) / fuzz::kPage * fuzz::kPage);
  const auto folded = fuzz::fold(file, static_cast<uint8_t>(data[0] | fuzz::kRepairChecksums));
  if (folded.size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
  std::copy(folded.begin(), folded.end(), data);
  return folded.size();
}

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
