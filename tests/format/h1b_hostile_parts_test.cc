// The parts of a model file one by one, each damaged with its checksums made to fit.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>

#include "format/h1b_file.h"
#include "tests/format/hostile_model.h"
#include "tests/fuzz/paged_file.h"
#include "tests/support/h1b_edit.h"
#include "tests/support/test_model.h"

#ifdef ONEBIT_SANITIZED
// No allocation may be large because a file says so.
extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() {
  return "max_allocation_size_mb=64";
}
#endif

namespace onebit {
namespace {

using test::expect_error;
using test::get;
using test::put;

class HostilePart : public HostileModel {
 protected:
  /// `change` gets the file's bytes; their checksums are repaired afterwards.
  Status check_changed(const std::function<void(std::string&)>& change) {
    auto file = sound_;
    change(file);
    test::repair_checksums(file);
    return check(file);
  }

  size_t index_of(std::string_view tensor) const {
    for (size_t i = 0; i < test::entry_count(sound_); ++i)
      if (test::name_of_entry(sound_, i) == tensor) return i;
    ADD_FAILURE() << "no tensor " << tensor;
    return 0;
  }

  h1b::DirectoryEntry entry(std::string_view tensor) const { return test::entry_of(sound_, index_of(tensor)); }

  /// Overwrites bytes of a tensor.
  template <class T>
  Status check_value(std::string_view tensor, uint64_t offset, T value) {
    return check_changed(
        [&](std::string& file) { std::memcpy(file.data() + entry(tensor).offset + offset, &value, sizeof value); });
  }
};

TEST_F(HostilePart, InvalidCodesAndPaddingAreFoundBehindAGoodChecksum) {
  test::hostile("h1b", "values");
  // blk.0.ffn_down is 48 x 80 in t2: 3 groups of 5 blocks, no padding. Byte 5 · 64 is in group 1.
  expect_error(check_value("blk.0.ffn_down", 5 * 64, uint8_t{0x57}), {path_, "tensor blk.0.ffn_down", "block 5"});
  // head is 300 x 48 in q8: rows 300..303 are padding, lane 12 on of the last group of 12 blocks.
  expect_error(check_value("head", (18 * 12 + 3) * 64 + 12 * 4, uint8_t{1}), {path_, "tensor head", "block 219"});
  expect_error(check_value("head", 0, uint8_t{0x80}), {path_, "tensor head", "block 0"});
}

TEST_F(HostilePart, ValuesThatAreNoNumbersAreFoundBehindAGoodChecksum) {
  test::hostile("h1b", "values");
  for (const float bad : {std::nanf(""), INFINITY, -1.0f}) {  // the scale is the last value of a product
    const auto status = check_value("blk.1.attn_k", entry("blk.1.attn_k").bytes - sizeof bad, bad);
    expect_error(status, {path_, "tensor blk.1.attn_k", "scale 0"});
  }
  expect_error(check_value("blk.1.ffn_norm", 8, std::nanf("")), {path_, "tensor blk.1.ffn_norm", "value 2"});
  expect_error(check_value("token_embd", 200, uint16_t{0x7f80}), {path_, "tensor token_embd", "value 100"});
}

TEST_F(HostilePart, NoTensorMayHoldWhatItsPackingCannotMean) {
  test::hostile("h1b", "values");
  for (size_t i = 0; i < test::entry_count(sound_); ++i) {
    const auto tensor = test::entry_of(sound_, i);
    const auto name = test::name_of_entry(sound_, i);
    const auto refuse = [&](uint64_t at, auto value) {
      expect_error(check_value(name, at, value), {path_, "tensor " + name});
    };
    const float kBadScales[] = {std::nanf(""), INFINITY, -INFINITY, -1.0f, -1e-45f};
    const bool bf16 = tensor.packing == static_cast<uint32_t>(Packing::kBf16);
    for (const uint64_t at : {uint64_t{0}, tensor.bytes / 8 * 4, tensor.bytes - 4}) {
      if (bf16) {
        for (const int bad : {0x7f80, 0xff80, 0x7fc0, 0xffff}) refuse(at, static_cast<uint16_t>(bad));
      } else if (tensor.packing == static_cast<uint32_t>(Packing::kF32)) {
        for (const float bad : {std::nanf(""), INFINITY, -INFINITY}) refuse(at, bad);
      }
    }
    if (tensor.granularity == 0) continue;
    for (const float bad : kBadScales) refuse(tensor.bytes - sizeof bad, bad);
    if (tensor.packing != static_cast<uint32_t>(Packing::kT2)) continue;
    for (const int code3 : {0x03, 0x0c, 0x30, 0xc0, 0xff}) refuse(0, static_cast<uint8_t>(code3));
  }
}

TEST_F(HostilePart, RopeValuesBeyondOneAreRefused) {
  test::hostile("h1b", "values");
  for (const float bad : {std::nanf(""), 1.5f, -2.0f, INFINITY})
    expect_error(check_changed([&](std::string& file) {
                   std::memcpy(file.data() + test::header_of(file).rope.offset + 40, &bad, sizeof bad);
                 }),
                 {path_, "rope: value 10"});
}

TEST_F(HostilePart, SectionsAndNamesEndInsideTheFile) {
  test::hostile("h1b", "numbers");
  const auto header = test::header_of(sound_);
  for (const auto& [name, at, offset] :
       {std::tuple{"directory.bytes is", offsetof(h1b::Header, directory), header.directory.offset},
        std::tuple{"tokenizer.bytes is", offsetof(h1b::Header, tokenizer), header.tokenizer.offset},
        std::tuple{"rope.bytes is", offsetof(h1b::Header, rope), header.rope.offset},
        std::tuple{"provenance.bytes is", offsetof(h1b::Header, provenance), header.provenance.offset}}) {
    const size_t field = at + offsetof(h1b::Section, bytes);
    const auto one_more = sound_.size() - offset + 1;
    expect_error(check_changed([&](std::string& file) { put(file, field, 8, one_more); }), {path_, name});
  }
  const size_t last = test::entry_count(sound_) - 1;
  const size_t at = test::entry_at(sound_, last) + offsetof(h1b::DirectoryEntry, name_bytes);
  const auto status = check_changed([&](std::string& file) { put(file, at, 4, get(file, at, 4) + 1); });
  expect_error(status, {path_, "directory: entry 24: name at", "of 5 bytes is not inside"});
}

TEST_F(HostilePart, ATensorWithTheNameOfAnotherIsRefused) {
  test::hostile("h1b", "structure");
  const auto status = check_changed([&](std::string& file) {
    const size_t from = test::entry_at(file, index_of("blk.0.attn_k"));
    const size_t to = test::entry_at(file, index_of("blk.0.attn_v"));
    for (const size_t field : {offsetof(h1b::DirectoryEntry, name_offset), offsetof(h1b::DirectoryEntry, name_bytes)})
      put(file, to + field, 4, get(file, from + field, 4));
  });
  expect_error(status, {path_, "tensor blk.0.attn_k", "twice"});
}

TEST_F(HostilePart, TensorsThatShareBytesAreRefused) {
  test::hostile("h1b", "structure");
  const auto status = check_changed([&](std::string& file) {
    const size_t from = test::entry_at(file, index_of("blk.0.attn_k"));
    const size_t to = test::entry_at(file, index_of("blk.0.attn_v"));
    put(file, to + offsetof(h1b::DirectoryEntry, offset), 8, get(file, from + offsetof(h1b::DirectoryEntry, offset)));
  });
  expect_error(status, {path_, "tensor blk.0.attn_v", "offset"});
}

TEST_F(HostilePart, AnyTwoTensorsThatShareBytesAreRefused) {
  test::hostile("h1b", "structure");
  const auto offset_at = [&](size_t i) { return test::entry_at(sound_, i) + offsetof(h1b::DirectoryEntry, offset); };
  const size_t count = test::entry_count(sound_);
  for (size_t from = 0; from < count; ++from)
    for (size_t to = 0; to < count; ++to) {
      if (from == to) continue;
      const auto status =
          check_changed([&](std::string& file) { put(file, offset_at(to), 8, get(file, offset_at(from))); });
      expect_error(status, {path_, "offset is"});
    }
}

TEST_F(HostilePart, ShapesThatDisagreeWithTheConfigAreRefusedWhenTheModelIsBound) {
  test::hostile("h1b", "structure");
  const size_t count = test::entry_count(sound_);
  const auto same = [&](size_t a, size_t b) {
    const auto one = test::entry_of(sound_, a), other = test::entry_of(sound_, b);
    return one.kind == other.kind && one.rows == other.rows && one.columns == other.columns;
  };
  // Each tensor under the name of each other one.
  for (size_t a = 0; a < count; ++a)
    for (size_t b = a + 1; b < count; ++b) {
      auto file = sound_;
      for (const size_t field : {offsetof(h1b::DirectoryEntry, name_offset), offsetof(h1b::DirectoryEntry, name_bytes)})
        for (const auto& [to, from] : {std::pair{a, b}, std::pair{b, a}})
          put(file, test::entry_at(file, to) + field, 4, get(sound_, test::entry_at(sound_, from) + field, 4));
      test::repair_checksums(file);
      const auto result = use(file);
      EXPECT_TRUE(result.verified);
      EXPECT_EQ(result.file_errors.empty(), same(a, b))
          << test::name_of_entry(sound_, a) << " as " << test::name_of_entry(sound_, b);
    }
}

TEST_F(HostilePart, ASparseFileOfAnySizeIsRefusedAtOnce) {
  test::hostile("h1b", "numbers");
  for (const uint64_t claimed : {~uint64_t{0}, uint64_t{1} << 63, uint64_t{1} << 60, uint64_t{1} << 43}) {
    expect_error(check_changed([&](std::string& file) { put(file, offsetof(h1b::Header, file_bytes), 8, claimed); }),
                 {path_, "file_bytes"});
    const size_t first = test::entry_at(sound_, 0) + offsetof(h1b::DirectoryEntry, offset);
    expect_error(check_changed([&](std::string& file) { put(file, first, 8, claimed / 4096 * 4096); }),
                 {path_, "offset is"});
    // So large in truth, as far as the file system can say so; not counted, since not every one can.
    test::write_file(path_, sound_);
    std::error_code too_large;
    std::filesystem::resize_file(path_, claimed, too_large);
    if (too_large) continue;
    expect_error(H1bFile::open(path_), {path_});
  }
}

TEST_F(HostilePart, NamesThatNoTerminalShouldShowAreRefused) {
  test::hostile("h1b", "text");
  for (int byte = 0; byte < 256; ++byte) {
    if (byte > ' ' && byte <= '~') continue;
    const auto bad = static_cast<char>(byte);
    const auto status = check_changed([&](std::string& file) {
      file[test::entry_at(file, test::entry_count(file))] = bad;  // the first byte of the first name
    });
    expect_error(status, {path_, "directory: entry 0: name"});
  }
}

TEST_F(HostilePart, AMissingTensorIsNamedWhenTheModelIsBound) {
  test::hostile("h1b", "other");
  auto file = sound_;
  const size_t name = test::entry_at(file, test::entry_count(file)) + entry("blk.1.ffn_up").name_offset;
  file[name] = 'x';
  test::repair_checksums(file);
  const auto result = use(file);
  EXPECT_TRUE(result.verified);
  EXPECT_FALSE(result.bound);
  ASSERT_FALSE(result.file_errors.empty());
  test::expect_sentence(result.file_errors[0], {path_, "blk.1.ffn_up", "missing"});
}

TEST_F(HostilePart, AVocabularyOtherThanTheTokenizersIsRefused) {
  test::hostile("h1b", "structure");
  const auto status = check_changed([&](std::string& file) {
    put(file, test::header_of(file).config.offset + offsetof(h1b::Config, vocabulary), 4, 299);
  });
  expect_error(status, {path_, "tokenizer: 300 tokens, expected the config's vocabulary of 299"});
}

TEST_F(HostilePart, EveryNumberOfTheTokenizerIsChecked) {
  test::hostile("h1b", "numbers");
  const auto section = test::header_of(sound_).tokenizer;
  std::mt19937_64 random(2);
  size_t refused = 0;
  for (size_t at = 0; at + 4 <= section.bytes; at += 4)
    for (const uint64_t value : {uint64_t{0}, uint64_t{1}, uint64_t{0x7fffffff}, uint64_t{0xffffffff}, random()}) {
      auto file = sound_;
      put(file, section.offset + at, 4, value & 0xffffffffu);
      if (file == sound_) continue;
      test::repair_checksums(file);
      const auto result = use(file);
      EXPECT_TRUE(result.opened);  // the section is only parsed when it is asked for
      refused += !result.verified;
    }
  EXPECT_GT(refused, section.bytes / 4);
}

TEST_F(HostilePart, ATokenizerThatIsCutIsRefused) {
  test::hostile("h1b", "cut");
  const auto section = test::header_of(sound_).tokenizer;
  for (uint64_t bytes = 0; bytes < section.bytes; ++bytes) {
    auto file = sound_;
    put(file, offsetof(h1b::Header, tokenizer) + offsetof(h1b::Section, bytes), 8, bytes);
    test::repair_checksums(file);
    const auto result = use(file);  // verify may find the bytes that belong to no section first
    EXPECT_FALSE(result.verified);
    ASSERT_FALSE(result.file_errors.empty());
    const auto of_tokenizer = [](const Error& e) { return e.message.find(": tokenizer: ") != std::string::npos; };
    EXPECT_TRUE(std::any_of(result.file_errors.begin(), result.file_errors.end(), of_tokenizer)) << bytes;
  }
}

TEST_F(HostilePart, EveryNumberOfTheProvenanceIsChecked) {
  test::hostile("h1b", "numbers");
  const auto at = test::header_of(sound_).provenance.offset;
  const auto bytes = test::header_of(sound_).provenance.bytes;
  for (const size_t field : {0u, 4u, 8u})  // the count, the first key's length, the first value's
    for (const uint64_t value : {uint64_t{0}, uint64_t{5}, bytes, uint64_t{0x7fffffff}, uint64_t{0xffffffff}})
      expect_error(check_changed([&](std::string& file) { put(file, at + field, 4, value); }), {path_, "provenance: "});
  // name = tiny, licence = CC0-1.0, note = à la carte: lengths one too long, and as long as can be.
  for (const size_t entry : {4u, 4u + 8 + 8, 4u + 8 + 8 + 8 + 14})
    for (const uint64_t value : {bytes - entry - 8 + 1, bytes, uint64_t{0xffffffff}})
      for (const size_t field : {entry, entry + 4})
        expect_error(check_changed([&](std::string& file) { put(file, at + field, 4, value); }),
                     {path_, "provenance: an entry runs past the section's"});
  const size_t last_value = 4u + 8 + 8 + 8 + 14 + 4;
  expect_error(
      check_changed([&](std::string& file) { put(file, at + last_value, 4, get(file, at + last_value, 4) + 1); }),
      {path_, "provenance: an entry runs past the section's"});
  test::hostile("h1b", "text");
  expect_error(check_changed([&](std::string& file) { file[at + 12] = '\xff'; }),
               {path_, "provenance: entry 0", "UTF-8"});
  test::hostile("h1b", "cut");
  for (uint64_t cut = 0; cut < bytes; ++cut)
    expect_error(check_changed([&](std::string& file) {
                   put(file, offsetof(h1b::Header, provenance) + offsetof(h1b::Section, bytes), 8, cut);
                 }),
                 {path_, "provenance: "});
}

TEST_F(HostilePart, UnverifiedDamageIsAnErrorOrANumberInTheForwardPassAndNoCrash) {
  test::hostile("h1b", "bytes");
  std::mt19937_64 random(3);
  const auto first = test::header_of(sound_).data_offset;
  size_t used = 0;
  for (int round = 0; round < 300; ++round) {
    auto file = sound_;
    for (int i = 0; i < 200; ++i) file[first + random() % (file.size() - first)] = static_cast<char>(random());
    const auto result = use(file);
    EXPECT_FALSE(result.verified);
    used += result.opened && result.bound;
  }
  EXPECT_EQ(used, 300u);
}

TEST_F(HostilePart, TheSeedsOfTheFuzzTargetAreSoundModels) {
  size_t seeds = 0;
  for (const auto& seed : std::filesystem::directory_iterator(test::source_path("tests/fuzz/corpus/h1b_fuzz"))) {
    const auto input = test::read_file(seed.path());
    const auto file = fuzz::unfold({reinterpret_cast<const uint8_t*>(input.data()), input.size()});
    EXPECT_TRUE(use(file).verified) << seed.path() << ": make it again with fuzz_make_seeds";
    EXPECT_EQ(fuzz::fold(file, static_cast<uint8_t>(input[0])), input);
    ++seeds;
  }
  EXPECT_GE(seeds, 3u);
}

/// The bundled model is big enough to have what small ones lack; it is checked at coarser steps.
class HostileBundledModel : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(test::bundled_model())) GTEST_SKIP() << "no " << test::bundled_model();
    path_ = folder_.path("model.h1b");
    std::filesystem::copy_file(test::bundled_model(), path_);
    std::filesystem::permissions(path_, std::filesystem::perms::owner_write, std::filesystem::perm_options::add);
  }

  test::TempFolder folder_;
  std::string path_;
};

TEST_F(HostileBundledModel, ItIsSound) {
  const auto result = test::use_model(path_);
  EXPECT_TRUE(result.verified && result.bound && !result.forward_error);
  EXPECT_TRUE(result.file_errors.empty());
}

TEST_F(HostileBundledModel, CutAtAnyPageItIsRefused) {
  test::hostile("h1b", "cut");
  for (uint64_t size = std::filesystem::file_size(path_); size > 0;) {
    size = (size - 1) / 4096 * 4096;
    test::count_case(fmt::format("{} bytes", size));
    std::filesystem::resize_file(path_, size);
    expect_error(H1bFile::open(path_), {path_, "header"});
  }
}

TEST_F(HostileBundledModel, AFlippedByteIsFound) {
  test::hostile("h1b", "bytes");
  const auto bytes = test::read_file(path_);
  std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
  const auto set = [&](size_t offset, char byte) {
    file.seekp(static_cast<std::streamoff>(offset));
    file.put(byte);
    file.flush();
  };
  std::mt19937_64 random(4);
#ifdef ONEBIT_SANITIZED
  constexpr int kRounds = 20;
#else
  constexpr int kRounds = 60;
#endif
  for (int round = 0; round < kRounds; ++round) {
    const size_t offset = random() % bytes.size();
    test::count_case(fmt::format("byte {}", offset));
    set(offset, static_cast<char>(bytes[offset] ^ 0x10));
    const auto opened = H1bFile::open(path_);
    if (opened) {
      expect_error(opened->verify(), {path_});
    } else {
      expect_error(opened, {path_});
    }
    set(offset, bytes[offset]);
  }
}

}  // namespace
}  // namespace onebit
