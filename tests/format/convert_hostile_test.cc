// Folders that cannot be converted: one sentence, and the target is as it was before.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <limits>

#include "format/h1b_file.h"
#include "format/import/convert.h"
#include "tests/support/expect_error.h"
#include "tests/support/hf_folder.h"
#include "tests/support/hostile_cases.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"

namespace onebit {
namespace {

namespace fs = std::filesystem;
using test::expect_error;
using test::make_hf_model;
using test::tiny_config;

class HostileFolder : public ::testing::Test {
 protected:
  static ConvertOptions options(const std::string& folder, const std::string& output) {
    ConvertOptions options;
    options.folder = folder;
    options.output = output;
    return options;
  }

  /// Converts the source onto an absent file and onto an old one: an error with `parts` each time, and
  /// nothing new in the target's folder.
  void expect_not_converted(std::initializer_list<std::string_view> parts) {
    test::count_folder(source_.path());
    const auto path = target_.path("model.h1b");
    fs::remove(path);
    expect_error(convert_hf_folder(options(source_.path(), path)), {source_.path()});
    EXPECT_TRUE(target_.names().empty());
    test::write_file(path, "old");
    expect_error(convert_hf_folder(options(source_.path(), path)), parts);
    EXPECT_EQ(test::read_file(path), "old");
    EXPECT_EQ(target_.names(), std::vector<std::string>{"model.h1b"});
  }

  /// A good folder after `change`.
  template <class Change>
  void expect_refused(TernaryStorage storage, Change change, std::initializer_list<std::string_view> parts) {
    auto model = make_hf_model(tiny_config(), storage);
    change(model.folder);
    test::write_hf_folder(source_.path(), model.folder);
    expect_not_converted(parts);
  }

  /// Spoils one tensor of a good packed folder.
  template <class Change>
  void expect_tensor_refused(const std::string& name, Change change, std::initializer_list<std::string_view> parts) {
    SCOPED_TRACE(name);
    expect_refused(TernaryStorage::kPackedMultiply, [&](test::HfFolder& f) { change(f.tensors.at(name)); }, parts);
  }

  test::TempFolder source_, target_;
};

const auto kQuery = test::hf_name(0, Linear::kQuery);
const auto kLastDown = test::hf_name(1, Linear::kDown);

TEST_F(HostileFolder, AnyMissingTensorIsNamed) {
  test::hostile("safetensors", "other");
  const auto names = make_hf_model(tiny_config(), TernaryStorage::kPackedMultiply).folder.tensors;
  EXPECT_EQ(names.size(), 2u + 2 * (4 + 2 * 7));
  for (const auto& [name, tensor] : names)
    expect_refused(TernaryStorage::kPackedMultiply, [&](test::HfFolder& f) { f.tensors.erase(name); },
                   {name, "is missing"});
}

TEST_F(HostileFolder, AnyWrongShapeIsNamed) {
  test::hostile("safetensors", "structure");
  const auto tensors = make_hf_model(tiny_config(), TernaryStorage::kPackedMultiply).folder.tensors;
  for (const auto& [name, tensor] : tensors)
    expect_tensor_refused(name, [](test::StTensor& t) { t.shape.push_back(1); }, {name, "shape is [", "expected ["});
  expect_tensor_refused(kQuery + ".weight", [](test::StTensor& t) { std::swap(t.shape[0], t.shape[1]); },
                        {kQuery, "shape is [48, 8], expected [8, 48]"});
}

TEST_F(HostileFolder, TypesThatCannotBeReadAreNamed) {
  test::hostile("safetensors", "other");
  expect_tensor_refused(kQuery + ".weight", [](test::StTensor& t) { t.dtype = "I8"; }, {kQuery, "I8"});
  expect_tensor_refused("model.norm.weight", [](test::StTensor& t) { t.dtype = "I16"; }, {"model.norm.weight", "I16"});
  expect_tensor_refused(kQuery + ".weight",
                        [](test::StTensor& t) { t = test::bf16_tensor({8, 48}, std::vector<float>(384)); },
                        {kQuery, "type is BF16, expected U8"});
  expect_tensor_refused("model.norm.weight", [](test::StTensor& t) { t = {"U8", {48}, std::string(48, '\1')}; },
                        {"model.norm.weight", "type is U8"});
}

TEST_F(HostileFolder, AVocabularyWithoutAnEmbeddingOfItsSizeTakesNoMemory) {
  test::hostile("config.json", "structure");
  expect_refused(TernaryStorage::kPackedMultiply, [](test::HfFolder& f) { f.config["vocab_size"] = 4194304; },
                 {"model.embed_tokens.weight", "shape is [300, 48], expected [4194304, 48]"});
}

TEST_F(HostileFolder, Code3IsNoWeight) {
  test::hostile("safetensors", "values");
  expect_tensor_refused(kLastDown + ".weight", [](test::StTensor& t) { t.bytes[5 * 80 + 7] = '\x0c'; },
                        {kLastDown, "row 17, column 7: code 3"});
}

TEST_F(HostileFolder, ScalesMustBeFiniteAndAboveZero) {
  test::hostile("safetensors", "values");
  for (const float bad : {0.0f, -0.0f, -1.0f, std::nanf(""), INFINITY, -INFINITY})
    expect_tensor_refused(kQuery + ".weight_scale", [&](test::StTensor& t) { t = test::bf16_tensor({1}, {bad}); },
                          {kQuery + ".weight_scale is", "above 0"});
  const auto tiny = [](test::HfFolder& f) {
    f.tensors.at(kQuery + ".weight_scale") = test::f32_tensor({1}, {std::numeric_limits<float>::denorm_min()});
  };
  expect_refused(TernaryStorage::kPackedDivide, tiny, {kQuery + ".weight_scale is", "reciprocal"});
}

TEST_F(HostileFolder, ValuesMustBeFinite) {
  test::hostile("safetensors", "values");
  for (const char* name : {"model.embed_tokens.weight", "model.norm.weight"})
    for (const auto* bits : {"\xc0\x7f", "\x80\x7f", "\x80\xff"})
      expect_tensor_refused(name, [&](test::StTensor& t) { t.bytes.replace(t.bytes.size() - 2, 2, bits); },
                            {name, "finite"});
  const auto master = [](float value) {
    return [value](test::HfFolder& f) {
      std::vector<float> values(32 * 48, 0.1f);
      values[1000] = value;
      f.tensors.at(kQuery + ".weight") = test::f32_tensor({32, 48}, values);
    };
  };
  for (const float bad : {std::nanf(""), INFINITY})
    expect_refused(TernaryStorage::kMaster, master(bad), {kQuery, "finite"});
}

TEST_F(HostileFolder, AHeadThatTheChosenPackingCannotHoldIsRefused) {
  test::hostile("safetensors", "values");
  auto config = tiny_config();
  config.tied_head = false;
  auto model = make_hf_model(config, TernaryStorage::kPackedMultiply);
  std::vector<float> values(300 * 48, std::numeric_limits<float>::max());  // bf16 rounds it to infinity
  model.folder.tensors.at("lm_head.weight") = test::f32_tensor({300, 48}, values);
  test::write_hf_folder(source_.path(), model.folder);
  test::count_folder(source_.path());
  auto to_bf16 = options(source_.path(), target_.path("model.h1b"));
  to_bf16.packings.head = Packing::kBf16;
  expect_error(convert_hf_folder(to_bf16), {"head", "bf16"});
  EXPECT_TRUE(target_.names().empty());
}

TEST_F(HostileFolder, RowsThatAreNoMultipleOfFourCannotBePacked) {
  test::hostile("config.json", "structure");
  expect_refused(TernaryStorage::kPackedMultiply, [](test::HfFolder& f) { f.config["intermediate_size"] = 82; },
                 {"82"});
}

TEST_F(HostileFolder, MissingAndDamagedFilesAreNamed) {
  const auto model = make_hf_model(tiny_config(), TernaryStorage::kPackedMultiply);
  for (const std::string name : {"config.json", "tokenizer.json", "model.safetensors"}) {
    test::hostile(name == "model.safetensors" ? "safetensors" : name, "other");
    test::write_hf_folder(source_.path(), model.folder);
    fs::remove(source_.path(name));
    expect_not_converted({name});
    fs::create_directory(source_.path(name));
    expect_not_converted({name});
    fs::remove(source_.path(name));
    test::write_file(source_.path(name), "");
    expect_not_converted({name});
  }
  test::hostile("tokenizer.json", "other");
  for (const char* name : {"tokenizer_config.json", "generation_config.json"}) {
    test::write_hf_folder(source_.path(), model.folder);
    test::write_file(source_.path(name), "[");
    expect_not_converted({name});
    fs::remove(source_.path(name));
  }
}

TEST_F(HostileFolder, ACutModelFileIsRefusedAtEveryStep) {
  test::hostile("safetensors", "cut");
  const auto model = make_hf_model(tiny_config(), TernaryStorage::kPackedMultiply);
  test::write_hf_folder(source_.path(), model.folder);
  const auto whole = test::read_file(source_.path("model.safetensors"));
  for (size_t size = 0; size < whole.size(); size += 509) {
    test::write_file(source_.path("model.safetensors"), std::string_view(whole).substr(0, size));
    expect_not_converted({source_.path("model.safetensors")});
  }
}

TEST_F(HostileFolder, TheFolderMustBeOne) {
  const auto path = target_.path("model.h1b");
  expect_error(convert_hf_folder(options(source_.path("absent"), path)), {source_.path("absent"), "folder"});
  test::write_file(source_.path("file"), "");
  expect_error(convert_hf_folder(options(source_.path("file"), path)), {source_.path("file"), "folder"});
  EXPECT_TRUE(target_.names().empty());
}

class ConvertTarget : public HostileFolder {
 protected:
  void SetUp() override {
    test::write_hf_folder(source_.path(), make_hf_model(tiny_config(), TernaryStorage::kPackedMultiply).folder);
  }
};

TEST_F(ConvertTarget, AnOldFileIsReplacedWhole) {
  const auto path = target_.path("model.h1b");
  test::write_file(path, std::string(10 << 20, 'x'));
  ASSERT_TRUE(convert_hf_folder(options(source_.path(), path)));
  const auto file = H1bFile::open(path);
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_TRUE(file->verify());
  EXPECT_EQ(target_.names(), std::vector<std::string>{"model.h1b"});
}

TEST_F(ConvertTarget, AnOpenOldFileKeepsItsBytes) {
  const auto path = target_.path("model.h1b");
  ASSERT_TRUE(convert_hf_folder(options(source_.path(), path)));
  const auto old = H1bFile::open(path);
  ASSERT_TRUE(old);
  auto changed = make_hf_model(tiny_config(), TernaryStorage::kPackedMultiply, 2);
  test::write_hf_folder(source_.path(), changed.folder);
  ASSERT_TRUE(convert_hf_folder(options(source_.path(), path)));
  EXPECT_TRUE(old->verify());  // a server goes on with the mapped file
}

TEST_F(ConvertTarget, AMissingFolderIsNamed) {
  const auto path = target_.path("absent/model.h1b");
  expect_error(convert_hf_folder(options(source_.path(), path)), {path, "No such file"});
  EXPECT_TRUE(target_.names().empty());
}

TEST_F(ConvertTarget, AFolderIsNotReplaced) {
  const auto path = target_.path("model.h1b");
  fs::create_directory(path);
  expect_error(convert_hf_folder(options(source_.path(), path)), {path, "not a regular file"});
  EXPECT_TRUE(fs::is_directory(path));
  EXPECT_EQ(target_.names(), std::vector<std::string>{"model.h1b"});
}

TEST_F(ConvertTarget, AFileUnderAFileIsRefused) {
  test::write_file(target_.path("file"), "old");
  const auto path = target_.path("file/model.h1b");
  expect_error(convert_hf_folder(options(source_.path(), path)), {path, "Not a directory"});
  EXPECT_EQ(test::read_file(target_.path("file")), "old");
}

TEST_F(ConvertTarget, AFileSystemWithoutNewFilesIsRefused) {
  expect_error(convert_hf_folder(options(source_.path(), "/proc/model.h1b")), {"/proc/model.h1b", "cannot create"});
}

TEST_F(ConvertTarget, AReadOnlyFolderIsRefusedAndItsFileKept) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may write into read-only folders";
  const auto path = target_.path("model.h1b");
  test::write_file(path, "old");
  fs::permissions(target_.path(), fs::perms::owner_read | fs::perms::owner_exec);
  expect_error(convert_hf_folder(options(source_.path(), path)), {path, "Permission denied"});
  fs::permissions(target_.path(), fs::perms::owner_all);
  EXPECT_EQ(test::read_file(path), "old");
  EXPECT_EQ(target_.names(), std::vector<std::string>{"model.h1b"});
}

}  // namespace
}  // namespace onebit
