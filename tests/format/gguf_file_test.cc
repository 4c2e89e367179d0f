#include "format/import/gguf_file.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <random>

#include "tests/support/expect_error.h"
#include "tests/support/gguf_edit.h"
#include "tests/support/hostile_cases.h"
#include "tests/support/temp_folder.h"

namespace onebit {
namespace {

using namespace test;  // NOLINT(google-build-using-namespace): the builder's many names

GgufParts small_file() {
  GgufParts parts;
  parts.metadata = {{"general.architecture", gguf_value("bitnet")},
                    {"u8", gguf_value(kGU8, uint8_t{200})},
                    {"i8", gguf_value(kGI8, int8_t{-3})},
                    {"u16", gguf_value(kGU16, uint16_t{60000})},
                    {"i16", gguf_value(kGI16, int16_t{-300})},
                    {"u32", gguf_value(kGU32, uint32_t{4000000000})},
                    {"i32", gguf_value(kGI32, int32_t{-70000})},
                    {"f32", gguf_value(kGF32, 0.5f)},
                    {"yes", gguf_value(kGBool, uint8_t{1})},
                    {"u64", gguf_value(kGU64, ~uint64_t{0})},
                    {"i64", gguf_value(kGI64, int64_t{5})},
                    {"f64", gguf_value(kGF64, 0.1)},
                    {"texts", gguf_array({"a", "", "bc"})},
                    {"numbers", gguf_array(kGI32, 2, raw(int32_t{1}) + raw(int32_t{-2}))},
                    {"floats", gguf_array(kGF32, 1, raw(2.5f))},
                    {"none", gguf_array(kGF32, 0, "")}};
  parts.tensors = {{"a", {2, 3}, 0, std::string(24, '\1')},
                   {"b", {3}, 30, std::string(6, '\2')},
                   {"other", {7}, 99, std::string(5, '\3')},
                   {"ternary", {256, 2}, 35, std::string(132, '\4')},
                   {"i2_s", {128, 1, 2}, 36, std::string(96, '\5')}};
  return parts;
}

class GgufFileTest : public ::testing::Test {
 protected:
  std::string path() const { return folder_.path("model.gguf"); }
  Result<GgufFile> open(const std::string& bytes) {
    count_case(bytes);
    write_file(path(), bytes);
    return GgufFile::open(path());
  }
  Result<GgufFile> open(const GgufParts& parts) { return open(gguf_bytes(parts)); }
  void expect_refused(const GgufParts& parts, std::initializer_list<std::string_view> words) {
    const auto result = open(parts);
    expect_error(result, {path()});
    expect_error(result, words);
  }
  /// What was read lies inside the file, and each tensor has the bytes that its shape needs.
  static void expect_inside(const GgufFile& file, size_t file_bytes) {
    size_t total = 0;
    for (const auto& [name, t] : file.tensors()) {
      total += t.bytes.size();
      if (t.info == nullptr) continue;
      EXPECT_EQ(t.bytes.size(), t.rows() * (t.columns() / t.info->block) * t.info->block_bytes + t.info->tail_bytes);
      ASSERT_FALSE(t.bytes.empty());
      EXPECT_EQ(t.row(t.rows() - 1).size(), t.columns() / t.info->block * t.info->block_bytes);
    }
    EXPECT_LE(total, file_bytes);
  }

  TempFolder folder_{true};
};

TEST_F(GgufFileTest, TensorsComeBackAsWritten) {
  for (const uint32_t version : {2u, 3u}) {
    auto parts = small_file();
    parts.version = version;
    const auto file = open(parts);
    ASSERT_TRUE(file) << file.error().message;
    EXPECT_EQ(file->version(), version);
    ASSERT_EQ(file->tensors().size(), 5u);
    const auto* a = file->find("a");
    ASSERT_NE(a, nullptr);
    EXPECT_EQ(a->columns(), 2u);
    EXPECT_EQ(a->rows(), 3u);
    EXPECT_EQ(a->bytes.size(), 24u);
    EXPECT_EQ(a->bytes[23], std::byte{1});
    EXPECT_EQ(file->find("b")->info->type, gguf::Type::kBf16);
    EXPECT_EQ(file->find("b")->bytes[0], std::byte{2});
    EXPECT_EQ(file->find("other")->info, nullptr);
    EXPECT_TRUE(file->find("other")->bytes.empty());
    EXPECT_EQ(file->find("ternary")->row(1).size(), 66u);
    EXPECT_EQ(file->find("i2_s")->bytes.size(), 96u);
    EXPECT_EQ(file->find("i2_s")->rows(), 2u);
    EXPECT_EQ(file->find("missing"), nullptr);
    EXPECT_TRUE(file->check_unchanged());
  }
}

TEST_F(GgufFileTest, MetadataOfEveryTypeIsRead) {
  const auto file = open(small_file());
  ASSERT_TRUE(file) << file.error().message;
  for (const auto& [key, expected] :
       {std::pair{"u8", 200ull}, {"u16", 60000ull}, {"u32", 4000000000ull}, {"i64", 5ull}})
    EXPECT_EQ(file->whole(key).value(), std::optional<uint64_t>(expected)) << key;
  EXPECT_EQ(file->whole("absent").value(), std::nullopt);
  EXPECT_EQ(file->number("i32").value(), -70000.0);
  EXPECT_EQ(file->number("f32").value(), 0.5);
  EXPECT_EQ(file->number("f64").value(), 0.1);
  EXPECT_EQ(file->boolean("yes").value(), true);
  EXPECT_EQ(file->text("general.architecture").value(), "bitnet");
  EXPECT_EQ(file->texts("texts").value(), (std::vector<std::string_view>{"a", "", "bc"}));
  EXPECT_EQ(file->wholes("numbers").value(), (std::vector<int64_t>{1, -2}));
  EXPECT_EQ(file->floats("floats").value(), (std::vector<float>{2.5f}));
  EXPECT_TRUE(file->floats("none").value().empty());
  EXPECT_TRUE(file->texts("absent").value().empty());
}

TEST_F(GgufFileTest, AValueOfAnotherKindIsAnErrorThatNamesItsKey) {
  const auto file = open(small_file());
  ASSERT_TRUE(file);
  hostile("gguf", "types");
  for (const auto& pair : small_file().metadata) {
    const std::string_view key = pair.key;
    count_case(key);
    const auto words = {std::string_view("model.gguf"), key};
    if (key != "general.architecture") expect_error(file->text(key), words);
    if (key != "yes") expect_error(file->boolean(key), words);
    if (key != "texts") expect_error(file->texts(key), words);
    if (key != "numbers") expect_error(file->wholes(key), words);
    if (key != "floats" && key != "none") expect_error(file->floats(key), words);
  }
  for (const auto* key : {"i8", "i16", "i32", "f32", "yes", "u64", "f64", "texts"})
    expect_error(file->whole(key), {key});
  for (const auto* key : {"yes", "texts", "general.architecture"}) expect_error(file->number(key), {key});
}

TEST_F(GgufFileTest, OtherVersionsAndFilesAreRefused) {
  hostile("gguf", "other");
  auto parts = small_file();
  parts.version = 1;
  expect_refused(parts, {"version 1"});
  parts.version = 4;
  expect_refused(parts, {"version 4", "reads 2 and 3"});
  parts.version = 0x03000000;
  expect_refused(parts, {"big-endian"});
  parts.version = 0;
  expect_refused(parts, {"version 0"});
  for (const std::string_view text : {"", "G", "GGU", "H1B", "gguf\3\0\0\0", "{\"a\": 1}"})
    expect_error(open(std::string(text)), {path(), "is no GGUF file"});
  EXPECT_FALSE(GgufFile::is_gguf(path()));
  EXPECT_FALSE(GgufFile::is_gguf(folder_.path("absent")));
  EXPECT_FALSE(GgufFile::is_gguf(folder_.path()));
  write_file(path(), "GGUF");
  EXPECT_TRUE(GgufFile::is_gguf(path()));
  expect_error(GgufFile::open(folder_.path("absent")), {"absent"});
}

TEST_F(GgufFileTest, ACutFileIsRefusedAtEveryLength) {
  hostile("gguf", "cut");
  const auto whole = gguf_bytes(small_file());
  // The last tensor's padding belongs to nothing.
  for (size_t size = 0; size < whole.size() - 32; ++size) expect_error(open(whole.substr(0, size)), {path()});
}

TEST_F(GgufFileTest, AnyChangedBitIsAnErrorOrStaysInsideTheFile) {
  hostile("gguf", "bytes");
  const auto whole = gguf_bytes(small_file());
  for (size_t at = 0; at < gguf_header_bytes(small_file()); ++at)
    for (int bit = 0; bit < 8; ++bit) {
      auto changed = whole;
      changed[at] = static_cast<char>(changed[at] ^ (1 << bit));
      const auto file = open(changed);
      if (file)
        expect_inside(*file, whole.size());
      else
        expect_error(file, {path()});
    }
}

TEST_F(GgufFileTest, AnyNumberAnywhereIsAnErrorOrStaysInsideTheFile) {
  hostile("gguf", "numbers");
  const auto whole = gguf_bytes(small_file());
  std::mt19937_64 random(1);
  const size_t header = gguf_header_bytes(small_file());
  for (size_t at = 4; at + 8 <= header; ++at)
    for (const uint64_t number :
         {uint64_t{0}, uint64_t{1}, ~uint64_t{0}, uint64_t{1} << 63, uint64_t{1} << 32, random()})
      for (const size_t bytes : {size_t{4}, size_t{8}}) {
        auto changed = whole;
        std::memcpy(changed.data() + at, &number, bytes);
        const auto file = open(changed);
        if (file)
          expect_inside(*file, whole.size());
        else
          expect_error(file, {path()});
      }
}

TEST_F(GgufFileTest, ASparseFileOfAnySizeIsRefusedAtOnce) {
  hostile("gguf", "numbers");
  for (const uint64_t count : {uint64_t{1} << 62, uint64_t{1} << 40, uint64_t{1} << 33}) {
    for (const auto& header :
         {"GGUF" + raw(3u) + raw(count) + raw(uint64_t{0}), "GGUF" + raw(3u) + raw(uint64_t{0}) + raw(count),
          "GGUF" + raw(3u) + raw(uint64_t{0}) + raw(uint64_t{1}) + gguf_text("k") + gguf_array(kGString, count, "")}) {
      count_case(header);
      write_file(path(), header);
      std::error_code too_large;
      std::filesystem::resize_file(path(), uint64_t{1} << 36, too_large);  // so that the counts could be true
      expect_error(GgufFile::open(path()), {path()});
    }
  }
}

TEST_F(GgufFileTest, ShapesThatDoNotFitAreRefused) {
  hostile("gguf", "structure");
  const auto with_shape = [](std::vector<uint64_t> shape, uint32_t type) {
    auto parts = small_file();
    parts.tensors[0].shape = std::move(shape);
    parts.tensors[0].type = type;
    return parts;
  };
  expect_refused(with_shape({}, 0), {"tensor a", "0 dimensions"});
  expect_refused(with_shape({1, 1, 1, 1, 1}, 0), {"tensor a", "5 dimensions"});
  expect_refused(with_shape({2, 0}, 0), {"tensor a", "dimension 1 is 0"});
  expect_refused(with_shape({255, 1}, 35), {"tensor a", "255 columns", "multiple of 256 for tq2_0"});
  for (const auto& shape : {std::vector<uint64_t>{uint64_t{1} << 32, uint64_t{1} << 32},
                            {~uint64_t{0}},
                            {2, uint64_t{1} << 63},
                            {1 << 16, 1 << 16, 1 << 16, 1 << 16},
                            {3, 6148914691236517206}})
    expect_refused(with_shape(shape, 0), {"tensor a"});
  expect_refused(with_shape({2, 10000}, 0), {"tensor a", "more bytes than"});
  expect_refused(with_shape({2, 40}, 0), {"a and b overlap"});
  auto overlap = small_file();
  overlap.tensors[0].data.clear();  // the next begins where this does
  expect_refused(overlap, {"a and b overlap"});
  auto twice = small_file();
  twice.tensors[1].name = "a";
  expect_refused(twice, {"tensor a", "stands twice"});
  auto same_key = small_file();
  same_key.metadata[2].key = "u8";
  expect_refused(same_key, {"metadata u8", "stands twice"});
  auto nested = small_file();
  nested.metadata[0].value = gguf_array(kGArray, 1, raw(uint32_t{kGU8}) + raw(uint64_t{0}));
  expect_refused(nested, {"array of arrays"});
  auto unknown = small_file();
  unknown.metadata[0].value = raw(13u);
  expect_refused(unknown, {"value type is 13"});
  for (const uint32_t alignment : {0u, 7u, 12u, 1u << 30}) {
    auto parts = small_file();
    parts.set("general.alignment", gguf_value(kGU32, alignment));
    expect_refused(parts, {"general.alignment", std::to_string(alignment)});
  }
  auto odd = small_file();
  odd.set("general.alignment", gguf_value(kGU32, 64u));  // the tensors keep 32
  expect_refused(odd, {"offset is", "multiple of 64"});
}

TEST_F(GgufFileTest, TensorsMayBeAlignedOtherwise) {
  auto parts = small_file();
  parts.alignment = 128;
  parts.set("general.alignment", gguf_value(kGU32, 128u));
  const auto file = open(parts);
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->find("b")->bytes[0], std::byte{2});
}

TEST_F(GgufFileTest, NamesInMessagesAreShortAndPrintable) {
  hostile("gguf", "text");
  for (const auto& name : {std::string("bad\n\x1b[31m") + std::string(5000, 'x'), std::string("\xff\xfe\0z", 4)}) {
    auto parts = small_file();
    parts.tensors[0].name = name;
    parts.tensors[0].shape = {2, 1u << 30};
    expect_refused(parts, {"tensor "});
    parts = small_file();
    parts.metadata[0].key = name;
    parts.metadata[0].value = raw(99u);
    expect_refused(parts, {"metadata "});
  }
  for (const auto& name : {std::string(), std::string(70000, 'n')}) {
    auto parts = small_file();
    parts.tensors[0].name = name;
    expect_refused(parts, {"name of"});
    parts = small_file();
    parts.metadata[0].key = name;
    expect_refused(parts, {"key of"});
  }
}

TEST_F(GgufFileTest, TheDistanceOfTensorsTellsQ2_0sTwoLayoutsApart) {
  for (const uint64_t block : {64u, 128u}) {
    GgufParts parts;
    const size_t bytes = 1024 / block * (2 + block / 4);
    parts.tensors = {{"first", {1024, 3}, 42, std::string(3 * bytes, '\1')},
                     {"last", {1024, 1}, 42, std::string(bytes, '\1')}};
    auto file = gguf_bytes(parts);
    const auto opened = open(file);
    ASSERT_TRUE(opened) << opened.error().message;
    EXPECT_EQ(opened->find("first")->info->block, block);
    EXPECT_EQ(opened->find("last")->info->block, block);
    EXPECT_EQ(opened->find("first")->bytes.size(), 3 * bytes);
    // The file may end with its last tensor, unpadded.
    file.resize(gguf_header_bytes(parts) + (3 * bytes + 31) / 32 * 32 + bytes);
    const auto unpadded = open(file);
    ASSERT_TRUE(unpadded) << unpadded.error().message;
    EXPECT_EQ(unpadded->find("last")->info->block, block);
  }
}

TEST_F(GgufFileTest, AFileThatChangesIsFound) {
  const auto file = open(small_file());
  ASSERT_TRUE(file);
  ASSERT_TRUE(file->check_unchanged());
  std::filesystem::resize_file(path(), 100);
  expect_error(file->check_unchanged(), {path()});
}

}  // namespace
}  // namespace onebit
