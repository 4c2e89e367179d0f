// Model files that are damaged or made to do harm: an answer in one sentence, never a crash.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <random>

#include "format/h1b_file.h"
#include "tests/format/hostile_model.h"
#include "tests/support/h1b_edit.h"
#include "tests/support/tiny_model.h"

namespace onebit {
namespace {

using test::expect_error;
using test::Field;
using test::get;
using test::put;

TEST_F(HostileModel, TheUnchangedFileIsSoundAndRepairingItChangesNothing) {
  const auto result = use(sound_);
  EXPECT_TRUE(result.verified && result.bound);
  EXPECT_TRUE(result.file_errors.empty());
  EXPECT_FALSE(result.forward_error.has_value());
  auto repaired = sound_;
  test::repair_checksums(repaired);
  EXPECT_EQ(repaired, sound_);
}

TEST_F(HostileModel, ACutFileIsRefusedAtEveryLength) {
  test::hostile("h1b", "cut");
  std::vector<size_t> sizes{0, 1, 3, 4, 5, 255, 256, 257, 263, 264, 511, 512, 513, 1000, 4095, 4097, sound_.size() - 1};
  for (size_t size = 0; size < sound_.size(); size += 4096) sizes.push_back(size);
  for (const size_t size : sizes) expect_error(open(std::string_view(sound_).substr(0, size)), {path_, "header"});
  expect_error(open(sound_ + '\0'), {path_, "file_bytes"});
}

TEST_F(HostileModel, ACutFileWhoseHeaderWasMadeToFitIsRefused) {
  test::hostile("h1b", "cut");
  for (size_t size = 256; size < sound_.size(); size += 64) {
    auto cut = sound_.substr(0, size);
    put(cut, offsetof(h1b::Header, file_bytes), 8, size);
    test::repair_checksums(cut);
    // The zeros after the last tensor belong to nothing: without them the file is whole.
    const auto last = test::entry_of(sound_, test::entry_count(sound_) - 1);
    if (size < last.offset + last.bytes) {
      expect_error(check(cut), {path_});
    } else {
      EXPECT_TRUE(check(cut)) << size;
    }
  }
}

/// What the message about a flipped byte at `offset` has to name.
std::string part_at(const std::string& file, size_t offset) {
  if (offset < sizeof(h1b::Header)) return "header: ";
  const auto header = test::header_of(file);
  for (const auto& [name, s] : {std::pair{"config", header.config}, std::pair{"directory", header.directory},
                                std::pair{"tokenizer", header.tokenizer}, std::pair{"rope", header.rope},
                                std::pair{"provenance", header.provenance}})
    if (offset >= s.offset && offset < s.offset + s.bytes) return "section " + std::string(name) + ": checksum";
  for (size_t i = 0; i < test::entry_count(file); ++i) {
    const auto e = test::entry_of(file, i);
    if (offset >= e.offset && offset < e.offset + e.bytes)
      return "tensor " + test::name_of_entry(file, i) + ": checksum";
  }
  return "padding: byte " + std::to_string(offset) + " ";
}

/// Flips bits of a file in place, since writing it anew each time would take most of the time.
class Flipper {
 public:
  explicit Flipper(const std::string& path) : path_(path), fd_(::open(path.c_str(), O_RDWR | O_CLOEXEC)) {}
  Flipper(const Flipper&) = delete;
  Flipper& operator=(const Flipper&) = delete;
  ~Flipper() { ::close(fd_); }

  Status check_flipped(size_t offset, uint8_t mask) {
    test::count_case(fmt::format("bits {} of byte {}", mask, offset));
    flip(offset, mask);
    Status status;
    if (const auto file = H1bFile::open(path_)) {
      status = file->verify();
    } else {
      status = tl::unexpected(file.error());
    }
    flip(offset, mask);
    return status;
  }

 private:
  void flip(size_t offset, uint8_t mask) {
    uint8_t byte = 0;
    ASSERT_EQ(::pread(fd_, &byte, 1, static_cast<off_t>(offset)), 1);
    byte ^= mask;
    ASSERT_EQ(::pwrite(fd_, &byte, 1, static_cast<off_t>(offset)), 1);
  }

  std::string path_;
  int fd_;
};

TEST_F(HostileModel, AnyFlippedByteIsFoundAndItsPartNamed) {
  test::hostile("h1b", "bytes");
  write_model(test::least_config());
  Flipper flipper(path_);
  for (size_t offset = 0; offset < sound_.size(); ++offset)
    expect_error(flipper.check_flipped(offset, static_cast<uint8_t>(1 << offset % 8)),
                 {path_, part_at(sound_, offset)});
  EXPECT_EQ(test::read_file(path_), sound_);
}

/// Values that numbers in a file are most dangerous at, and some at random.
std::vector<uint64_t> hostile_values(uint64_t old, size_t bytes, std::mt19937_64& random) {
  const uint64_t most = bytes == 8 ? ~uint64_t{0} : (uint64_t{1} << 8 * bytes) - 1;
  std::vector<uint64_t> values{
      0,       1,        2,        7,          most,       most - 1, most - 63, most / 2,   most / 2 + 1, old + 1,
      old - 1, old + 64, old - 64, old + 4096, old - 4096, 2 * old,  old / 2,   0x7fc00000, 0x7f800000};
  for (int i = 0; i < 6; ++i) values.push_back(random() >> random() % 64);
  for (auto& value : values) value &= most;
  std::erase(values, old);
  return values;
}

struct Counts {
  size_t refused = 0, opened = 0, sound = 0;
};

/// Gives the fields of the structure at `base` each of the hostile values, with and without the checksums
/// repaired.
class FieldChanges {
 public:
  explicit FieldChanges(const std::string& sound) : sound_(sound) {}

  template <class Check>
  void each(size_t base, std::span<const Field> fields, Check check) {
    for (const auto& field : fields) {
      const uint64_t old = get(sound_, base + field.offset, field.bytes);
      for (const uint64_t value : hostile_values(old, field.bytes, random_)) {
        SCOPED_TRACE(fmt::format("{} at {}: {} instead of {}", field.name, base + field.offset, value, old));
        auto changed = sound_;
        put(changed, base + field.offset, field.bytes, value);
        check(field, changed, false);
        test::repair_checksums(changed);
        check(field, changed, true);
      }
    }
  }

 private:
  const std::string& sound_;
  std::mt19937_64 random_{1};
};

TEST_F(HostileModel, AnyChangedHeaderFieldIsRefused) {
  test::hostile("h1b", "numbers");
  FieldChanges(sound_).each(0, test::header_fields(), [&](const Field& field, const std::string& file, bool repaired) {
    if (file == sound_) return;  // a repaired checksum is the old one again
    const auto result = use(file);
    if (!result.verified) return;
    // The zeros after the directory may count as names that nobody uses.
    EXPECT_TRUE(repaired && result.bound && field.name == std::string_view("directory.bytes"));
  });
}

TEST_F(HostileModel, AnyChangedConfigFieldIsRefusedOrHarmless) {
  test::hostile("h1b", "numbers");
  Counts counts;
  FieldChanges(sound_).each(test::header_of(sound_).config.offset, test::config_fields(),
                            [&](const Field& field, const std::string& file, bool repaired) {
                              if (!repaired) return expect_error(check(file), {path_, "section config: checksum"});
                              const auto result = use(file);
                              ++(result.verified ? counts.sound : result.opened ? counts.opened : counts.refused);
                              // What the other parts of the file fix cannot be something else; the rest is only a
                              // number or another function of the same tensors, and those of further layers, and
                              // norms that an architecture has not, may stay unused.
                              constexpr std::array<std::string_view, 7> kFree{
                                  "rms_epsilon",  "rope_theta", "flags",  "layers",
                                  "architecture", "activation", "pooling"};
                              const std::string_view name = field.name;
                              if (std::find(kFree.begin(), kFree.end(), name) != kFree.end()) return;
                              EXPECT_FALSE(result.verified && result.bound) << name;
                            });
  EXPECT_GT(counts.refused, 100u);
  EXPECT_GT(counts.sound, 0u);
}

TEST_F(HostileModel, AnyChangedDirectoryEntryIsRefusedOrHarmless) {
  test::hostile("h1b", "numbers");
  Counts counts;
  for (size_t i = 0; i < test::entry_count(sound_); ++i)
    FieldChanges(sound_).each(test::entry_at(sound_, i), test::entry_fields(),
                              [&](const Field&, const std::string& file, bool repaired) {
                                if (file == sound_) return;
                                if (!repaired) return expect_error(check(file), {path_, "section directory: checksum"});
                                const auto result = use(file);
                                ++(result.verified ? counts.sound : result.opened ? counts.opened : counts.refused);
                                // No entry can change and leave the model what it was, but for its kind of scale.
                                if (!result.file_errors.empty()) return;
                                EXPECT_TRUE(result.bound);
                              });
  EXPECT_GT(counts.refused, 1000u);
}

TEST_F(HostileModel, TheNumberOfEntriesIsChecked) {
  test::hostile("h1b", "numbers");
  const size_t at = test::header_of(sound_).directory.offset;
  FieldChanges(sound_).each(at, std::array{Field{"count", 0, 8}}, [&](const Field&, const std::string& file, bool) {
    const auto result = use(file);
    EXPECT_FALSE(result.bound);
    EXPECT_FALSE(result.file_errors.empty());
  });
}

/// A field of the sound file changed, its checksums repaired, and what the error says.
struct BadField {
  const char* where;  // "header", "config" or a tensor's name
  const char* field;
  uint64_t value;
  const char* message;
};

TEST_F(HostileModel, ABadFieldIsNamedWithWhatWasFoundAndExpected) {
  test::hostile("h1b", "numbers");
  const auto at = [&](const BadField& bad) -> std::pair<size_t, size_t> {
    const auto field = [&](std::span<const Field> fields) {
      for (const auto& f : fields)
        if (std::string_view(f.name) == bad.field) return f;
      ADD_FAILURE() << "no field " << bad.field;
      return Field{};
    };
    const std::string_view where = bad.where;
    if (where == "header") return {field(test::header_fields()).offset, field(test::header_fields()).bytes};
    if (where == "config")
      return {test::header_of(sound_).config.offset + field(test::config_fields()).offset,
              field(test::config_fields()).bytes};
    for (size_t i = 0; i < test::entry_count(sound_); ++i)
      if (test::name_of_entry(sound_, i) == where)
        return {test::entry_at(sound_, i) + field(test::entry_fields()).offset, field(test::entry_fields()).bytes};
    ADD_FAILURE() << "no tensor " << where;
    return {0, 1};
  };
  for (const auto& bad : {
           BadField{"header", "header_bytes", 255, "header_bytes is 255, expected 256"},
           BadField{"header", "reserved0", 1, "header: a reserved field"},
           BadField{"header", "reserved1", 1, "header: a reserved field"},
           BadField{"header", "config.offset", 320, "config: "},
           BadField{"header", "config.bytes", 255, "config.bytes is 255, expected 256"},
           BadField{"header", "directory.offset", 513, "directory.offset is 513, expected a multiple of 64"},
           BadField{"header", "directory.bytes", ~uint64_t{0}, "directory.bytes is 18446744073709551615"},
           BadField{"header", "rope.bytes", 2044, "rope.bytes is 2044, expected 2048"},
           BadField{"header", "provenance.offset", 0, "provenance.offset is 0"},
           BadField{"header", "data_offset", 4, "data_offset is 4, expected a multiple of 4096"},
           BadField{"config", "architecture", 3, "architecture is 3, this version knows 1 (bitnet) and 2"},
           BadField{"config", "activation", 0, "activation is 0, this version knows 1"},
           BadField{"config", "layers", 0, "layers is 0, expected 1 to 1024"},
           BadField{"config", "hidden", 131073, "hidden is 131073, expected 1 to 131072"},
           BadField{"config", "kv_heads", 3, "kv_heads is 3, expected 1 to 2"},
           BadField{"config", "head_dim", 15, "head_dim is 15, expected an even number"},
           BadField{"config", "vocabulary", 301, "301"},
           BadField{"config", "context", 33, "rope.bytes is 2048, expected 2112"},
           BadField{"config", "rms_epsilon", 0x7fc00000, "rms_epsilon is nan"},
           BadField{"config", "rope_theta", 0, "rope_theta is 0"},
           BadField{"config", "flags", 2, "config: a reserved field"},
           BadField{"config", "pooling", 3, "pooling is 3, this version knows 0 to 2"},
           BadField{"config", "reserved", 1, "config: a reserved field"},
           BadField{"blk.0.attn_q", "kind", 5, "tensor blk.0.attn_q: kind is 5"},
           BadField{"blk.0.attn_q", "packing", 8, "tensor blk.0.attn_q: packing is 8"},
           BadField{"blk.0.attn_q", "packing", 3, "padded_columns is 48, expected 128"},
           BadField{"blk.0.attn_q", "tile", 0, "tensor blk.0.attn_q: tile is 0, expected 1 for t2"},
           BadField{"blk.0.attn_q", "granularity", 4, "granularity is 4"},
           BadField{"blk.0.attn_q", "granularity", 0, "granularity is 0, but t2 has scales"},
           BadField{"blk.0.attn_norm", "granularity", 1, "granularity is 1, but f32 has none"},
           BadField{"blk.0.attn_q", "group", 32, "group is 32, expected 0"},
           BadField{"blk.0.attn_q", "reserved0", 1, "tensor blk.0.attn_q: a reserved field"},
           BadField{"blk.0.attn_q", "reserved1", 1, "tensor blk.0.attn_q: a reserved field"},
           BadField{"blk.1.ffn_down", "rows", 0, "tensor blk.1.ffn_down: rows is 0"},
           BadField{"blk.1.ffn_down", "columns", ~uint64_t{0}, "columns is 18446744073709551615"},
           BadField{"head", "padded_rows", 300, "tensor head: padded_rows is 300, expected 304"},
           BadField{"blk.0.ffn_norm", "padded_columns", 49, "padded_columns is 49, expected 48"},
           BadField{"blk.0.ffn_norm", "bytes", 196, "tensor blk.0.ffn_norm: bytes is 196, expected 192"},
           BadField{"blk.0.ffn_norm", "offset", 0, "tensor blk.0.ffn_norm: offset is 0"},
           BadField{"output_norm", "name_bytes", 0, "name at"},
           BadField{"output_norm", "name_offset", 0xffffffff, "name at 4294967295"},
       }) {
    SCOPED_TRACE(fmt::format("{}: {} = {}", bad.where, bad.field, bad.value));
    auto file = sound_;
    const auto [offset, bytes] = at(bad);
    put(file, offset, bytes, bad.value);
    test::repair_checksums(file);
    expect_error(check(file), {path_, bad.message});
  }
}

TEST_F(HostileModel, OtherVersionsAreRefusedWithWhatToDo) {
  test::hostile("h1b", "numbers");
  for (const auto& [version, advice] :
       {std::pair{1u, "version 1 belongs to an earlier program: convert the original"},
        std::pair{2u, "version 2 belongs to an earlier program: convert the original"},
        std::pair{4u, "version is 4, this program reads version 3: use a newer program"},
        std::pair{0u, "version is 0"}}) {
    auto file = sound_;
    put(file, offsetof(h1b::Header, version), 4, version);
    expect_error(check(file), {path_, advice});
    test::repair_checksums(file);
    expect_error(check(file), {path_, advice});
  }
}

TEST_F(HostileModel, OtherFilesAreNoModel) {
  test::hostile("h1b", "other");
  for (const std::string_view text : {"", "H", "H1B", "GGUF", "{\"a\": 1}", "#!/bin/sh\n"})
    expect_error(open(text), {path_, "not an .h1b model file"});
  expect_error(open(std::string("H1B\0\3\0\0\0", 8)), {path_, "8 bytes"});
  expect_error(H1bFile::open(folder_.path()), {folder_.path(), "directory"});
  expect_error(H1bFile::open(folder_.path("absent")), {folder_.path("absent"), "No such file"});
}

}  // namespace
}  // namespace onebit
