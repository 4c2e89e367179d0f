// Conversations in files: the same bits afterwards, and nothing but a sentence from files that are not what they say.
#include "engine/kv_file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <random>

#include "backend/cpu_backend.h"
#include "base/hash.h"
#include "format/synth.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"

namespace onebit {
namespace {

namespace fs = std::filesystem;

class KvFileTest : public ::testing::Test {
 protected:
  KvFileTest() {
    auto config = test::tiny_config();
    config.context = 400;
    EXPECT_TRUE(write_synthetic_model(folder_.path("model.h1b"), test::tiny_parts(config), {}, 1));
    file_ = std::make_unique<H1bFile>(*H1bFile::open(folder_.path("model.h1b")));
    std::mt19937 random(3);
    for (int i = 0; i < 192; ++i) tokens_.push_back(static_cast<TokenId>(random() % 256));
  }

  std::unique_ptr<Backend> backend(KvType type = KvType::kF16, const cpu::Kernels* kernels = nullptr) const {
    return make_cpu_backend(*bind_weights(*file_, HeadChoice::kStored),
                            {.kv_type = type, .threads = 1, .kernels = kernels});
  }
  /// Logits after `more`, which follows what `kv` holds.
  static std::vector<float> after(Backend& backend, KvCache& kv, std::span<const TokenId> more) {
    Logits logits;
    const BatchItem item{&kv, more, LogitRows::kAll};
    const auto status = backend.forward({&item, 1}, logits);
    EXPECT_TRUE(status) << status.error().message;
    return logits.values;
  }
  std::unique_ptr<KvCache> computed(Backend& backend) const {
    auto kv = backend.new_kv_cache();
    after(backend, *kv, tokens_);
    return kv;
  }
  std::string saved() const {
    const auto b = backend();
    const auto kv = computed(*b);
    const auto bytes = write_kv_file(path_, 77, *b, tokens_, *kv);
    EXPECT_TRUE(bytes) << bytes.error().message;
    auto text = test::read_file(path_);
    EXPECT_EQ(text.size(), *bytes);
    return text;
  }
  void put(const std::string& bytes) const { test::write_file(path_, bytes); }
  /// The sentence; empty where the file was taken.
  std::string error(Backend& b, uint64_t model = 77, uint64_t most_pages = 100) const {
    const auto before = b.kv_usage().pages;
    std::string message;
    {
      const auto file = read_kv_file(path_, model, b, most_pages);
      if (!file) message = file.error().message;
    }
    EXPECT_EQ(b.kv_usage().pages, before);
    EXPECT_TRUE(message.empty() || message.starts_with(path_)) << message;
    return message;
  }

  test::TempFolder folder_;
  std::string path_ = folder_.path("a.kv");
  std::unique_ptr<H1bFile> file_;
  std::vector<TokenId> tokens_;
  const std::vector<TokenId> more_{1, 2, 3, 4, 5};
};

TEST_F(KvFileTest, WhatWasSavedGoesOnWithTheSameBits) {
  for (const auto type : {KvType::kF16, KvType::kF32, KvType::kQ8}) {
    const auto one = backend(type);
    const auto kv = computed(*one);
    ASSERT_TRUE(write_kv_file(path_, 77, *one, tokens_, *kv));
    const auto expected = after(*one, *kv, more_);
    for (const auto* kernels : cpu::usable_kernels()) {  // whichever instruction set reads it
      const auto other = backend(type, kernels);
      auto file = read_kv_file(path_, 77, *other, 100);
      ASSERT_TRUE(file) << file.error().message;
      EXPECT_EQ(file->tokens, tokens_);
      EXPECT_EQ(file->kv->length(), tokens_.size());
      const auto got = after(*other, *file->kv, more_);
      EXPECT_EQ(0, std::memcmp(got.data(), expected.data(), expected.size() * sizeof(float))) << kernels->name;
    }
  }
}

TEST_F(KvFileTest, AnyByteThatIsAnotherIsFound) {
  const auto good = saved();
  const auto b = backend();
  EXPECT_EQ(error(*b), "");
  for (size_t at = 0; at < good.size(); at += at < 1000 ? 1 : 97) {
    auto bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x10);
    put(bad);
    EXPECT_NE(error(*b), "") << at;
  }
}

TEST_F(KvFileTest, AnyLengthThatIsAnotherIsFound) {
  const auto good = saved();
  const auto b = backend();
  for (size_t length = 0; length < good.size(); length += length < 200 ? 1 : 501) {
    put(good.substr(0, length));
    EXPECT_NE(error(*b), "") << length;
  }
  put(good + "x");
  EXPECT_NE(error(*b), "");
}

TEST_F(KvFileTest, NumbersThatCannotBeAreFoundWithRepairedChecksums) {
  const auto good = saved();
  const auto b = backend();
  const auto with = [&](size_t at, auto value) {
    auto bad = good;
    std::memcpy(bad.data() + at, &value, sizeof(value));
    const auto hash = xxh3(std::as_bytes(std::span(bad)).first(56));
    std::memcpy(bad.data() + 56, &hash, sizeof(hash));
    put(bad);
    return error(*b);
  };
  EXPECT_EQ(with(12, uint32_t{0}), "") << "the checksum is repaired";
  for (const uint32_t tokens : {0u, 1u, 63u, 64u, 128u, 256u, 384u, 448u, 1u << 31, ~0u})
    EXPECT_NE(with(32, tokens), "") << tokens;
  for (const uint32_t positions : {0u, 1u, 32u, ~0u}) EXPECT_NE(with(36, positions), "") << positions;
  for (const uint64_t bytes : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 63, ~uint64_t{0}})
    EXPECT_NE(with(40, bytes), "") << bytes;
  EXPECT_NE(with(8, uint32_t{2}).find("version"), std::string::npos);
  EXPECT_NE(with(16, uint64_t{78}).find("another model"), std::string::npos);
  EXPECT_NE(with(24, uint64_t{1}).find("another way"), std::string::npos);
  auto bad = good;  // a token outside the vocabulary, its checksum repaired
  const TokenId token = 300;
  std::memcpy(bad.data() + 64, &token, sizeof(token));
  const auto hash = xxh3(std::as_bytes(std::span(bad)).subspan(64, tokens_.size() * sizeof(TokenId)));
  std::memcpy(bad.data() + 48, &hash, sizeof(hash));
  const auto header = xxh3(std::as_bytes(std::span(bad)).first(56));
  std::memcpy(bad.data() + 56, &header, sizeof(header));
  put(bad);
  EXPECT_NE(error(*b).find("vocabulary"), std::string::npos);
}

TEST_F(KvFileTest, AnotherModelAnotherKindAndTooLittleRoomAreSaid) {
  saved();
  EXPECT_NE(error(*backend(), 78).find("another model"), std::string::npos);
  EXPECT_NE(error(*backend(KvType::kQ8)).find("another way"), std::string::npos);
  EXPECT_NE(error(*backend(), 77, 2).find("room for 2"), std::string::npos);
  fs::remove(path_);
  EXPECT_NE(error(*backend()), "");
}

TEST_F(KvFileTest, ADiskThatIsFullLeavesTheOldFile) {
  const auto good = saved();
  const auto b = backend();
  const auto kv = computed(*b);
  rlimit old{};
  ::getrlimit(RLIMIT_FSIZE, &old);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  for (const rlim_t size : {rlim_t{10}, rlim_t{100}, rlim_t{good.size() - 1}}) {
    const rlimit little{size, old.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &little);
    const auto written = write_kv_file(path_, 99, *b, tokens_, *kv);
    ::setrlimit(RLIMIT_FSIZE, &old);
    ASSERT_FALSE(written);
    EXPECT_NE(written.error().message.find(path_), std::string::npos);
    EXPECT_EQ(error(*b), "") << "the old one is there, whole";
    EXPECT_EQ(folder_.names(), (std::vector<std::string>{"a.kv", "model.h1b"})) << "and no other";
  }
  std::signal(SIGXFSZ, handler);
}

}  // namespace
}  // namespace onebit
