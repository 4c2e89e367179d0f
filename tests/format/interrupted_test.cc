// Work on model files that is interrupted: by files that change under it, a full disk, too little memory. The
// target is as it was, no other file is left, and the error says which file.
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <new>

#include "backend/reference_backend.h"
#include "format/import/convert.h"
#include "format/synth.h"
#include "tests/support/expect_error.h"
#include "tests/support/hf_folder.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"

namespace onebit::test {
namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;

constexpr const char* kOld = "the old file";

/// A folder with a model folder "hf" in it and a target "out/model.h1b", there already or not.
class InterruptedTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::create_directory(folder_.path("hf"));
    fs::create_directory(folder_.path("out"));
    write_source(1);
  }

  void write_source(uint32_t shards) {
    if (model_.folder.tensors.empty()) model_ = make_hf_model(tiny_config(), TernaryStorage::kPackedMultiply);
    model_.folder.shards = shards;
    write_hf_folder(folder_.path("hf"), model_.folder);
  }

  std::string target() const { return folder_.path("out/model.h1b"); }
  void set_target(bool old) const {
    fs::remove(target());
    if (old) write_file(target(), kOld);
  }
  void expect_target_untouched(bool old, const std::string& when = {}) const {
    Names names;
    for (const auto& entry : fs::directory_iterator(folder_.path("out"))) names.push_back(entry.path().filename());
    EXPECT_EQ(names, old ? Names{"model.h1b"} : Names{}) << when;
    if (old) {
      EXPECT_EQ(read_file(target()), kOld) << when;
    }
  }

  Result<ConvertSummary> convert(const WriteProgress& progress = {}) const {
    ConvertOptions options;
    options.folder = folder_.path("hf");
    options.output = target();
    return convert_hf_folder(options, progress);
  }
  Status synthesise() const { return write_synthetic_model(target(), tiny_parts(tiny_config()), {}, 1); }

  /// How many tensors a conversion writes.
  int tensors() const {
    int n = 0;
    EXPECT_TRUE(convert([&](uint64_t, uint64_t, std::string_view tensor) { n += !tensor.empty(); }));
    return n;
  }
  /// Converts; `interfere` is called when the tensor of this number is about to be made.
  template <class Interfere>
  Result<ConvertSummary> convert_with(int at, Interfere interfere) const {
    int n = 0;
    return convert([&](uint64_t, uint64_t, std::string_view) {
      if (n++ == at) interfere();
    });
  }

  TempFolder folder_;
  HfModel model_;
};

/// How a child process ended that did `work`, which returns its exit code; signals count from 128.
template <class Work>
int exit_of(Work work) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(work());
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

TEST_F(InterruptedTest, ASourceCutAtAnyTensorIsAnErrorThatNamesIt) {
  const auto source = folder_.path("hf/model.safetensors");
  const auto bytes = read_file(source);
  const int count = tensors();
  ASSERT_GT(count, 20);
  for (int at = 0; at < count; ++at)
    for (const size_t left : {size_t{0}, bytes.size() / 2, bytes.size() - 1}) {
      write_file(source, bytes);
      set_target(at % 2 == 0);
      const auto converted = convert_with(at, [&] { fs::resize_file(source, left); });
      expect_error(converted, {source, "was cut short"});
      expect_target_untouched(at % 2 == 0, fmt::format("cut to {} at tensor {}", left, at));
    }
}

TEST_F(InterruptedTest, ASourceWrittenToAtAnyTensorIsAnErrorThatNamesIt) {
  const auto source = folder_.path("hf/model.safetensors");
  const auto bytes = read_file(source);
  const auto header_end =
      8 + static_cast<size_t>(static_cast<unsigned char>(bytes[0]) + 256 * static_cast<unsigned char>(bytes[1]));
  const int count = tensors();
  for (int at = 0; at < count; at += 5)
    for (const char with : {'\xff', '\0'}) {  // codes that are none; nothing wrong but other weights
      write_file(source, bytes);
      set_target(at % 2 == 0);
      ::usleep(20'000);  // more than the file system's clock is coarse
      const auto converted = convert_with(
          at, [&] { write_file(source, bytes.substr(0, header_end) + std::string(bytes.size() - header_end, with)); });
      expect_error(converted, {source, "was changed"});
      expect_target_untouched(at % 2 == 0);
    }
}

TEST_F(InterruptedTest, TheErrorNamesTheShardThatWasCut) {
  fs::remove(folder_.path("hf/model.safetensors"));
  write_source(3);
  expect_error(convert_with(2, [&] { fs::resize_file(folder_.path("hf/model-1.safetensors"), 100); }),
               {folder_.path("hf/model-1.safetensors"), "was cut short"});
  expect_target_untouched(false);
}

/// A new file under the source's name is not what is read.
TEST_F(InterruptedTest, ASourceReplacedByAnotherFileIsReadToItsEnd) {
  ASSERT_TRUE(convert());
  const auto expected = read_file(target());
  const auto source = folder_.path("hf/model.safetensors");
  ASSERT_TRUE(convert_with(3, [&] {
    write_file(source + ".new", "other");
    fs::rename(source + ".new", source);
  }));
  EXPECT_EQ(read_file(target()), expected);
}

TEST_F(InterruptedTest, AModelCutWhileItIsInUseFailsTheStepAndLeavesTheKvCache) {
  const std::vector<TokenId> prompt{1, 2, 3};
  const TokenId next = 4;
  for (const std::string place : {"embedding", "blk.0.attention", "blk.1.ffn", "output_norm"})
    for (const auto type : {KvType::kF32, KvType::kQ8}) {
      ASSERT_TRUE(synthesise());
      const auto file = H1bFile::open(target());
      ASSERT_TRUE(file);
      auto weights = bind_weights(*file, HeadChoice::kStored);
      ASSERT_TRUE(weights);
      bool cut = false;
      const auto backend = make_reference_backend(*std::move(weights), type, [&](std::string_view at, auto) {
        if (cut && at == place) fs::resize_file(target(), 5000);
      });
      const auto kv = backend->new_kv_cache();
      const BatchItem first{kv.get(), prompt, LogitRows::kLast}, second{kv.get(), {&next, 1}, LogitRows::kLast};
      Logits logits;
      ASSERT_TRUE(backend->forward({&first, 1}, logits));
      for (int step = 0; step < 2; ++step) {  // and it stays so
        cut = true;
        expect_error(backend->forward({&second, 1}, logits), {target(), "was cut short"});
        EXPECT_EQ(kv->length(), prompt.size()) << place;
      }
    }
}

TEST_F(InterruptedTest, AModelCutWhileItIsOpenIsAnErrorOfWhateverReadsIt) {
  ASSERT_TRUE(synthesise());
  const auto file = H1bFile::open(target());
  ASSERT_TRUE(file);
  fs::resize_file(target(), 5000);
  expect_error(file->check_readable(), {target(), "was cut short"});
  expect_error(file->tokenizer(), {target(), "was cut short"});
  expect_error(file->verify(), {target(), "was cut short"});
}

TEST_F(InterruptedTest, AModelThatAnotherReplacesGoesOn) {
  ASSERT_TRUE(synthesise());
  const auto file = H1bFile::open(target());
  ASSERT_TRUE(file);
  ASSERT_TRUE(write_synthetic_model(target(), tiny_parts(least_config()), {}, 2));
  EXPECT_TRUE(file->verify());
}

/// The error of `work` where no file may be longer than `limit`: 0 for the right one, 7 for success.
template <class Work>
int exit_with_file_limit(size_t limit, const std::string& target, Work work) {
  return exit_of([&] {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit most{limit, limit};
    ::setrlimit(RLIMIT_FSIZE, &most);
    const auto done = work();
    if (done) return 7;
    const auto& message = done.error().message;
    return message.find(target + ": cannot write: ") == 0 && message.ends_with("; nothing was changed") ? 0 : 1;
  });
}

TEST_F(InterruptedTest, AFileThatMayGrowNoFurtherLeavesTheOldOne) {
  ASSERT_TRUE(synthesise());
  const size_t whole = fs::file_size(target());
  for (size_t limit = 0; limit < whole; limit += whole / 12 + 1) {
    const bool old = limit % 2 == 0;
    set_target(old);
    EXPECT_EQ(exit_with_file_limit(limit, target(), [&] { return synthesise(); }), 0) << limit;
    expect_target_untouched(old);
    EXPECT_EQ(exit_with_file_limit(limit, target(), [&] { return convert(); }), 0) << limit;
    expect_target_untouched(old);
  }
  EXPECT_EQ(exit_with_file_limit(whole, target(), [&] { return synthesise(); }), 7);
}

TEST_F(InterruptedTest, AFullDiskLeavesTheOldFile) {
  constexpr int kNoMount = 77;
  const auto disk = folder_.path("out");
  const int ended = exit_of([&] {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=64k") != 0)
      return kNoMount;
    for (const bool old : {false, true}) {
      set_target(old);
      const auto done = synthesise();
      if (done || done.error().message != target() + ": cannot write: No space left on device; nothing was changed")
        return 1;
      expect_target_untouched(old);
    }
    return HasFailure() ? 2 : 0;
  });
  if (ended == kNoMount) GTEST_SKIP() << "a small disk can be mounted by root only";
  EXPECT_EQ(ended, 0);
}

TEST_F(InterruptedTest, AFolderThatTakesNoFileIsNamed) {
  auto parts = tiny_parts(least_config());
  expect_error(write_synthetic_model("/proc/model.h1b", parts, {}, 1), {"/proc/model.h1b: cannot create: "});
  expect_error(write_synthetic_model(folder_.path("none/model.h1b"), parts, {}, 1), {"none/model.h1b: cannot create"});
  if (::geteuid() == 0) GTEST_SKIP() << "no folder is read-only for root";
  fs::permissions(folder_.path("out"), fs::perms::owner_read | fs::perms::owner_exec);
  expect_error(synthesise(), {target() + ": cannot create: Permission denied"});
  fs::permissions(folder_.path("out"), fs::perms::owner_all);
}

/// With `room` more memory than the process has: 0 done, 1 an error, 2 the exception that programs catch.
template <class Work>
int exit_with_memory(size_t room, Work work) {
  return exit_of([&] {
    std::ifstream statm("/proc/self/statm");
    size_t pages = 0;
    statm >> pages;
    const rlim_t bytes = pages * static_cast<size_t>(::sysconf(_SC_PAGESIZE)) + room;
    const rlimit most{bytes, bytes};
    ::setrlimit(RLIMIT_AS, &most);
    try {
      const auto done = work();
      return done ? 0 : 1;
    } catch (const std::bad_alloc&) {
      return 2;
    }
  });
}

TEST_F(InterruptedTest, TooLittleMemoryLeavesTheOldFile) {
#ifdef ONEBIT_SANITIZED
  GTEST_SKIP() << "a sanitizer needs more address space than a limit leaves";
#endif
#ifdef ONEBIT_EMULATED
  GTEST_SKIP() << "an emulator does not keep to a limit of address space";
#endif
  auto config = tiny_config();
  config.hidden = 2048;
  config.ffn = 4096;
  const auto big = [&] { return write_synthetic_model(target(), tiny_parts(config), {}, 1); };
  int failed = 0;
  for (const size_t room : {size_t{0}, size_t{64} << 10, size_t{1} << 20, size_t{2} << 20, size_t{256} << 20}) {
    for (const bool old : {false, true}) {
      set_target(old);
      const int ended = exit_with_memory(room, big);
      EXPECT_LE(ended, 2) << room;
      if (ended != 0) {
        ++failed;
        expect_target_untouched(old);
      }
      set_target(old);
      const int converted = exit_with_memory(room, [&] { return convert(); });
      EXPECT_LE(converted, 2) << room;
      if (converted != 0) expect_target_untouched(old);
    }
  }
  EXPECT_GE(failed, 4) << "the limits should matter";
  EXPECT_LT(failed, 10) << "and not always";
}

}  // namespace
}  // namespace onebit::test
