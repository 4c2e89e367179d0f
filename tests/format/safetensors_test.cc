#include "format/import/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>

#include "tests/support/expect_error.h"
#include "tests/support/hf_folder.h"
#include "tests/support/hostile_cases.h"
#include "tests/support/temp_folder.h"

namespace onebit {
namespace {

using test::expect_error;
using test::safetensors_file;

class SafetensorsTest : public ::testing::Test {
 protected:
  std::string path() const { return folder_.path("model.safetensors"); }

  Result<Safetensors> open(const std::string& bytes) {
    test::count_case(bytes);
    test::write_file(path(), bytes);
    return Safetensors::open_file(path());
  }
  /// A header in JSON with single quotes, and so many bytes of data.
  Result<Safetensors> open_header(std::string header, size_t data_bytes = 16) {
    std::replace(header.begin(), header.end(), '\'', '"');
    return open(safetensors_file(header, std::string(data_bytes, '\1')));
  }
  /// Every message names the file and what is wrong in it.
  void expect_refused(const std::string& header, std::initializer_list<std::string_view> parts) {
    SCOPED_TRACE(header.substr(0, 200));
    const auto result = open_header(header);
    expect_error(result, {path()});
    expect_error(result, parts);
  }

  test::TempFolder folder_;
};

TEST_F(SafetensorsTest, TensorsComeBackAsWritten) {
  const auto file = open(safetensors_file({{"a", test::f32_tensor({2, 3}, {1, 2, 3, 4, 5, 6})},
                                           {"b", test::bf16_tensor({2}, {0.5f, -2})},
                                           {"c", test::f16_tensor({1, 1, 2}, {0.5f, -2})},
                                           {"d", {"U8", {3}, "xyz"}},
                                           {"empty", {"F32", {0, 7}, ""}},
                                           {"scalar", test::f32_tensor({}, {9})}}));
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->tensors().size(), 6u);
  const auto* a = file->find("a");
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(a->dtype, DType::kF32);
  EXPECT_EQ(a->shape, (std::vector<uint64_t>{2, 3}));
  float last = 0;
  ASSERT_EQ(a->bytes.size(), 24u);
  std::memcpy(&last, a->bytes.data() + 20, sizeof last);
  EXPECT_EQ(last, 6.0f);
  EXPECT_EQ(file->find("b")->dtype, DType::kBf16);
  EXPECT_EQ(file->find("c")->dtype, DType::kF16);
  EXPECT_EQ(file->find("d")->dtype, DType::kU8);
  EXPECT_EQ(static_cast<char>(file->find("d")->bytes[2]), 'z');
  EXPECT_TRUE(file->find("empty")->bytes.empty());
  EXPECT_EQ(file->find("scalar")->bytes.size(), 4u);
  EXPECT_EQ(file->find("e"), nullptr);
}

TEST_F(SafetensorsTest, TypesThatAreNotImportedAreNotListed) {
  const auto file = open(safetensors_file({{"ids", {"I64", {1}, "12345678"}}, {"w", {"U8", {1}, "x"}}}));
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->find("ids"), nullptr);
  EXPECT_NE(file->find("w"), nullptr);
}

TEST_F(SafetensorsTest, AHeaderLengthBeyondTheFileIsRefused) {
  test::hostile("safetensors", "numbers");
  for (const uint64_t length : {uint64_t{1} << 60, ~uint64_t{0}, uint64_t{1} << 32, uint64_t{3}}) {
    std::string file(8, '\0');
    std::memcpy(file.data(), &length, sizeof length);
    expect_error(open(file + "{}"), {path(), "header length is " + std::to_string(length) + ","});
  }
  test::hostile("safetensors", "cut");
  for (size_t size = 0; size < 8; ++size) expect_error(open(std::string(size, '\0')), {path(), "too short"});
}

TEST_F(SafetensorsTest, ASparseFileOfAnySizeIsRefusedAtOnce) {
  test::hostile("safetensors", "numbers");
  for (const uint64_t claimed : {~uint64_t{0}, uint64_t{1} << 63, uint64_t{1} << 60, uint64_t{1} << 43}) {
    expect_refused(fmt::format("{{'w': {{'dtype': 'U8', 'shape': [{0}], 'data_offsets': [0, {0}]}}}}", claimed),
                   {"tensor w", "data_offsets"});
    // So large in truth, as far as the file system can say so; not counted, since not every one can.
    const uint64_t header_bytes = claimed - sizeof claimed;
    std::string file(sizeof header_bytes, '\0');
    std::memcpy(file.data(), &header_bytes, sizeof header_bytes);
    test::write_file(path(), file);
    std::error_code too_large;
    std::filesystem::resize_file(path(), claimed, too_large);
    if (too_large) continue;
    expect_error(Safetensors::open_file(path()), {path()});
  }
}

TEST_F(SafetensorsTest, AnyChangedByteIsAnErrorOrStaysInsideTheFile) {
  test::hostile("safetensors", "bytes");
  const auto whole = safetensors_file({{"a", test::f32_tensor({2, 3}, {1, 2, 3, 4, 5, 6})}, {"b", {"U8", {3}, "xyz"}}});
  for (size_t at = 0; at < whole.size(); ++at)
    for (int bit = 0; bit < 8; ++bit) {
      auto changed = whole;
      changed[at] = static_cast<char>(changed[at] ^ (1 << bit));
      const auto file = open(changed);
      if (!file) {
        expect_error(file, {path()});
        continue;
      }
      for (const auto& [name, tensor] : file->tensors()) {
        uint64_t expected = element_bytes(tensor.dtype);
        for (const uint64_t n : tensor.shape) expected *= n;
        EXPECT_EQ(tensor.bytes.size(), expected);
        EXPECT_LE(tensor.bytes.size(), 27u) << name;
      }
    }
}

TEST_F(SafetensorsTest, ACutFileIsRefusedAtEveryLength) {
  test::hostile("safetensors", "cut");
  const auto whole = safetensors_file({{"a", test::f32_tensor({2, 3}, {1, 2, 3, 4, 5, 6})}, {"b", {"U8", {3}, "xyz"}}});
  for (size_t size = 0; size < whole.size(); ++size) expect_error(open(whole.substr(0, size)), {path()});
}

TEST_F(SafetensorsTest, HeadersThatAreNoJsonObjectAreRefused) {
  test::hostile("safetensors", "other");
  for (const char* header : {"", "x", "[]", "1", "null", "{", "{'a':}", "{} x", "\xff"}) expect_refused(header, {});
  expect_refused(std::string("{\n'a': \x01}"), {"not valid JSON"});
  // A message of bearable length, whatever stands in the file.
  expect_refused("{'" + std::string(100000, 'a') + "': 1} junk", {});
  expect_refused("{'a': junk" + std::string(100000, 'j'), {"not valid JSON"});
}

TEST_F(SafetensorsTest, DeepNestingIsRefusedAndUsesNoStack) {
  test::hostile("safetensors", "nesting");
  for (const auto& [open_bracket, close_bracket] : {std::pair{"[", "]"}, std::pair{"{'a':", "}"}}) {
    std::string deep = "{'a': ";
    for (int i = 0; i < 100000; ++i) deep += open_bracket;
    expect_refused(deep, {"nested deeper"});
    deep += '1';
    for (int i = 0; i < 100000; ++i) deep += close_bracket;
    expect_refused(deep + "}", {"nested deeper"});
  }
}

TEST_F(SafetensorsTest, EntriesThatMakeNoSenseAreRefused) {
  const auto entry = [](const char* dtype, const char* shape, const char* offsets) {
    return fmt::format("{{'w': {{'dtype': {}, 'shape': {}, 'data_offsets': {}}}}}", dtype, shape, offsets);
  };
  ASSERT_TRUE(open_header(entry("'U8'", "[4, 4]", "[0, 16]")));
  test::hostile("safetensors", "other");
  expect_refused("{'w': {}}", {"tensor w", "dtype"});
  expect_refused("{'w': {'dtype': 'U8', 'data_offsets': [0, 1]}}", {"tensor w", "shape is missing"});
  expect_refused("{'w': {'dtype': 'U8', 'shape': [1]}}", {"tensor w", "data_offsets is missing"});
  test::hostile("safetensors", "types");
  expect_refused("{'w': 1}", {"tensor w", "no object"});
  expect_refused(entry("7", "[16]", "[0, 16]"), {"tensor w", "dtype"});
  expect_refused(entry("'U8'", "16", "[0, 16]"), {"tensor w", "shape"});
  expect_refused(entry("'U8'", "[-16]", "[0, 16]"), {"tensor w", "shape holds -16"});
  expect_refused(entry("'U8'", "[16.0]", "[0, 16]"), {"tensor w", "shape holds 16.0"});
  expect_refused(entry("'U8'", "['16']", "[0, 16]"), {"tensor w", "shape holds"});
  test::hostile("safetensors", "numbers");
  expect_refused(entry("'U8'", "[1e400]", "[0, 16]"), {"not valid JSON"});
  expect_refused(entry("'U8'", "[99999999999999999999]", "[0, 16]"), {"tensor w", "shape holds"});
  expect_refused(entry("'U8'", "[1,1,1,1,1,1,1,1,16]", "[0, 16]"), {"tensor w", "9 dimensions"});
  expect_refused(entry("'U8'", "[16]", "[0]"), {"tensor w", "data_offsets has 1"});
  expect_refused(entry("'U8'", "[16]", "[0, 8, 16]"), {"tensor w", "data_offsets has 3"});
  expect_refused(entry("'U8'", "[16]", "[-1, 15]"), {"tensor w", "data_offsets holds -1"});
  expect_refused(entry("'U8'", "[17]", "[0, 17]"), {"tensor w", "[0, 17]", "16 bytes"});
  expect_refused(entry("'U8'", "[1]", "[16, 17]"), {"tensor w", "[16, 17]"});
  expect_refused(entry("'U8'", "[1]", "[2, 1]"), {"tensor w", "[2, 1]"});
  expect_refused(entry("'U8'", "[1]", "[18446744073709551615, 0]"), {"tensor w", "data_offsets"});
  expect_refused(entry("'U8'", "[15]", "[0, 16]"), {"tensor w", "16 bytes, expected 15"});
  expect_refused(entry("'F32'", "[16]", "[0, 16]"), {"tensor w", "shape needs more"});
}

TEST_F(SafetensorsTest, ProductsOfShapesDoNotOverflow) {
  test::hostile("safetensors", "numbers");
  for (const char* shape : {"[4294967296, 4294967296]", "[4294967296, 4294967297]", "[9223372036854775808, 2]",
                            "[18446744073709551615]", "[65536, 65536, 65536, 65536]", "[3, 6148914691236517206]"})
    expect_refused(fmt::format("{{'w': {{'dtype': 'U8', 'shape': {}, 'data_offsets': [0, 0]}}}}", shape),
                   {"tensor w", "shape needs more"});
}

TEST_F(SafetensorsTest, OverlappingTensorsAreRefused) {
  const auto two = [](const char* a, const char* b) {
    return fmt::format(
        "{{'a': {{'dtype': 'U8', 'shape': [8], 'data_offsets': {}}}, "
        "'b': {{'dtype': 'U8', 'shape': [8], 'data_offsets': {}}}}}",
        a, b);
  };
  EXPECT_TRUE(open_header(two("[8, 16]", "[0, 8]")));
  test::hostile("safetensors", "structure");
  expect_refused(two("[0, 8]", "[7, 15]"), {"a and b overlap"});
  expect_refused(two("[8, 16]", "[1, 9]"), {"b and a overlap"});
  expect_refused(two("[0, 8]", "[0, 8]"), {"overlap"});
}

TEST_F(SafetensorsTest, AKeyGivenTwiceIsRefused) {
  test::hostile("safetensors", "structure");
  expect_refused(
      "{'w': {'dtype': 'U8', 'shape': [1], 'data_offsets': [0, 1]}, "
      "'w': {'dtype': 'U8', 'shape': [1], 'data_offsets': [1, 2]}}",
      {"key 'w'", "twice"});
  expect_refused("{'w': {'dtype': 'U8', 'dtype': 'F32', 'shape': [1], 'data_offsets': [0, 1]}}", {"key 'dtype'"});
}

TEST_F(SafetensorsTest, NamesInMessagesAreShortAndPrintable) {
  test::hostile("safetensors", "text");
  const std::string name = "bad\\n\\u001b[31m" + std::string(5000, 'x');
  expect_refused("{'" + name + "': 1}", {"bad", "no object"});
  expect_refused("{'" + name + "': 1, '" + name + "': 2}", {"bad", "twice"});
}

class SafetensorsFolderTest : public SafetensorsTest {
 protected:
  void write_index(const nlohmann::json& index) {
    test::write_file(folder_.path("model.safetensors.index.json"), index.dump());
  }
  void expect_folder_refused(std::initializer_list<std::string_view> parts) {
    test::count_folder(folder_.path());
    expect_error(Safetensors::open_folder(folder_.path()), parts);
  }
};

TEST_F(SafetensorsFolderTest, ShardsAreOneModel) {
  test::write_file(folder_.path("1.safetensors"),
                   safetensors_file({{"a", {"U8", {1}, "a"}}, {"n", {"I32", {1}, "nnnn"}}}));
  test::write_file(folder_.path("2.safetensors"), safetensors_file({{"b", {"U8", {1}, "b"}}}));
  write_index({{"weight_map", {{"a", "1.safetensors"}, {"n", "1.safetensors"}, {"b", "2.safetensors"}}}});
  const auto model = Safetensors::open_folder(folder_.path());
  ASSERT_TRUE(model) << model.error().message;
  ASSERT_NE(model->find("a"), nullptr);
  ASSERT_NE(model->find("b"), nullptr);
  EXPECT_EQ(model->find("n"), nullptr);  // its type is not imported
  EXPECT_EQ(static_cast<char>(model->find("b")->bytes[0]), 'b');
}

TEST_F(SafetensorsFolderTest, AFolderWithoutTensorsIsRefused) {
  test::hostile("safetensors", "other");
  expect_folder_refused({folder_.path(), "no model.safetensors"});
}

TEST_F(SafetensorsFolderTest, AnIndexCannotReachOutOfItsFolder) {
  test::hostile("safetensors", "text");
  const std::string long_name(256, 'x');
  for (const auto& name :
       {std::string("../x"), std::string("/etc/passwd"), std::string(".."), std::string("."), std::string(),
        std::string("a/b"), std::string("./a"), std::string("a\nb"), std::string("a\0b", 3), long_name}) {
    write_index({{"weight_map", {{"w", name}}}});
    expect_folder_refused({folder_.path("model.safetensors.index.json"), "weight_map: w names '"});
  }
}

TEST_F(SafetensorsFolderTest, AnIndexThatIsNoneIsRefused) {
  test::hostile("safetensors", "other");
  const auto path = folder_.path("model.safetensors.index.json");
  for (const auto& index : {nlohmann::json::object(), nlohmann::json{{"weight_map", 1}}}) {
    write_index(index);
    expect_folder_refused({path, "weight_map is missing"});
  }
  test::hostile("safetensors", "types");
  write_index({{"weight_map", {{"w", 1}}}});
  expect_folder_refused({path, "weight_map: w is no file name"});
  test::hostile("safetensors", "text");
  write_index({{"weight_map", {{"w\n" + std::string(1000, 'x'), std::string(1000, '\n')}}}});
  expect_folder_refused({folder_.path()});
  test::hostile("safetensors", "other");
  test::write_file(path, "[]");
  expect_folder_refused({path, "expected a JSON object"});
}

TEST_F(SafetensorsFolderTest, ShardsThatDoNotFitTheIndexAreRefused) {
  test::hostile("safetensors", "structure");
  const auto index = folder_.path("model.safetensors.index.json");
  write_index({{"weight_map", {{"a", "1.safetensors"}}}});
  expect_folder_refused({folder_.path("1.safetensors"), "No such file"});
  test::write_file(folder_.path("1.safetensors"), safetensors_file({{"b", {"U8", {1}, "b"}}}));
  expect_folder_refused({index, "tensor a is not in 1.safetensors"});
  test::write_file(folder_.path("1.safetensors"), safetensors_file({{"a", {"U8", {1}, "a"}}, {"b", {"U8", {1}, "b"}}}));
  test::write_file(folder_.path("2.safetensors"), safetensors_file({{"a", {"U8", {1}, "a"}}}));
  write_index({{"weight_map", {{"a", "1.safetensors"}, {"b", "2.safetensors"}}}});
  expect_folder_refused({folder_.path("2.safetensors"), "tensor a", "stands in two files"});
}

}  // namespace
}  // namespace onebit
