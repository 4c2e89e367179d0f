#include "base/process.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/voice/sound.h"
#include "voice/speaker.h"

namespace onebit::voice {
namespace {

using Clock = std::chrono::steady_clock;

size_t open_files() {
  size_t n = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++n;
  return n;
}

/// Of all threads, those that have ended and were not waited for among them.
std::string children() {
  std::string all;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream in(thread.path() / "children");
    for (std::string pid; in >> pid;) all += pid + " ";
  }
  return all;
}

/// No child is left, ended or not, and no file.
class Process : public testing::Test {
 protected:
  void TearDown() override {
    EXPECT_EQ(children(), children_) << "ended or not";
    EXPECT_EQ(open_files(), files_);
    EXPECT_LT(Clock::now() - begin_, std::chrono::seconds(20));
  }

  Status run(const std::string& script, std::string_view input = "", const ProcessBounds& bounds = {}) {
    out_.clear();
    return run_process({"sh", "-c", script}, input, [&](std::string_view part) { return out_ += part, true; }, bounds);
  }

  std::string out_;

 private:
  size_t files_ = open_files();
  std::string children_ = children();
  Clock::time_point begin_ = Clock::now();
};

TEST_F(Process, ReadsAndWrites) {
  const std::string text(300000, 'x');  // more than pipes hold
  ASSERT_TRUE(run("cat", text));
  EXPECT_EQ(out_, text);
  ASSERT_TRUE(run("echo done", text)) << "input that nobody reads is no error";
  EXPECT_EQ(out_, "done\n");
}

TEST_F(Process, OneThatDiesIsAnError) {
  auto status = run("echo half; echo 'no such voice' >&2; exit 3");
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().message, "sh: failed with status 3: no such voice");
  EXPECT_EQ(out_, "half\n");
  status = run("kill -SEGV $$");
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().message, "sh: was ended by signal 11");
  status = run_process({"there-is-no-such-program"}, "", [](std::string_view) { return true; }, {});
  ASSERT_FALSE(status);
  EXPECT_NE(status.error().message.find("No such file"), std::string::npos);
}

TEST_F(Process, OneThatHangsIsEnded) {
  const ProcessBounds bounds{.timeout = std::chrono::milliseconds(200)};
  for (const char* script : {"exec sleep 600", "sleep 600 & wait", "trap '' TERM INT HUP; sleep 600; sleep 600",
                             "cat; exec sleep 600", "exec >&- 2>&- <&-; exec sleep 600"}) {
    const auto status = run(script, "text", bounds);
    ASSERT_FALSE(status) << script;
    EXPECT_EQ(status.error().message, "sh: did not end within 200 ms") << script;
  }
}

TEST_F(Process, WhatItLeavesBehindIsEndedToo) {
  ASSERT_TRUE(run("sleep 600 & echo $!"));  // the child of ours has ended; its own holds the pipe
  const auto left = std::stoi(out_);
  for (int i = 0; i < 500 && ::kill(left, 0) == 0; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  std::ifstream stat(fmt::format("/proc/{}/stat", left));
  std::string pid, name, state;
  const bool there = static_cast<bool>(stat >> pid >> name >> state);
  EXPECT_TRUE(!there || state == "Z") << "it may be that whoever inherits it has not waited for it yet, no more: "
                                      << state;
}

TEST_F(Process, OneThatFloodsIsEnded) {
  const auto status = run("exec yes", "", {.most_bytes = 1 << 20});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().message, "sh: wrote more than 1048576 bytes");
  EXPECT_LE(out_.size(), size_t{1} << 20);
  ASSERT_TRUE(run("yes | head -c 5000000 >&2; echo fine")) << "what is written on standard error fills nothing";
  EXPECT_EQ(out_, "fine\n");
}

TEST_F(Process, TheSinkAndAStopEndItWithoutAnError) {
  size_t parts = 0;
  EXPECT_TRUE(run_process({"yes"}, "", [&](std::string_view) { return ++parts < 3; }, {}));
  EXPECT_EQ(parts, 3u);
  std::stop_source stop;
  std::thread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    stop.request_stop();
  });
  EXPECT_TRUE(run("exec sleep 600", "", {.stop = stop.get_token()}));
  later.join();
}

TEST_F(Process, AnInputThatIsWrittenAsItComes) {
  const auto folder = std::filesystem::temp_directory_path() / fmt::format("onebit-input-{}", ::getpid());
  {
    auto input = ProcessInput::start({"sh", "-c", "cat >'" + folder.string() + "'"});
    ASSERT_TRUE(input) << input.error().message;
    ASSERT_TRUE(input->write("one ", {}));
    ASSERT_TRUE(input->write(std::string(200000, 'x'), {}));
    ASSERT_TRUE(input->finish({}));
    EXPECT_EQ(std::filesystem::file_size(folder), 200004u);
    std::filesystem::remove(folder);
    auto deaf = ProcessInput::start({"sh", "-c", "exit 0"});
    ASSERT_TRUE(deaf);
    Status status;
    for (int i = 0; i < 200 && status; ++i) status = deaf->write(std::string(100000, 'x'), {});
    EXPECT_FALSE(status);
    auto hangs = ProcessInput::start({"sleep", "600"});
    ASSERT_TRUE(hangs);
    EXPECT_TRUE(!children().empty() || !std::filesystem::exists("/proc/thread-self/children"));
  }
}

// Speakers that are programs.

Status speak_by(const std::string& script, std::vector<int16_t>& samples,
                std::chrono::milliseconds timeout = std::chrono::seconds(10)) {
  SpeakerOptions options;
  options.engine = "espeak-ng";
  options.program = {"sh", "-c", script};
  options.timeout = timeout;
  const auto speaker = make_speaker(options);
  if (!speaker) return tl::unexpected(speaker.error());
  return (*speaker)->speak(
      "a text",
      [&](std::span<const int16_t> part) { return samples.insert(samples.end(), part.begin(), part.end()), true; }, {});
}

class ProcessSpeaker : public Process {};

TEST_F(ProcessSpeaker, ThatFailIsAnErrorOfThatText) {
  std::vector<int16_t> samples;
  auto status = speak_by("exit 1", samples);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().message, "sh: failed with status 1");
  status = speak_by("exec sleep 600", samples, std::chrono::milliseconds(100));
  ASSERT_FALSE(status);
  status = speak_by("cat", samples);
  ASSERT_FALSE(status);
  EXPECT_NE(status.error().message.find("not a WAV file"), std::string::npos) << status.error().message;
  status = speak_by("true", samples);
  ASSERT_FALSE(status);
  EXPECT_TRUE(samples.empty());
  // A header, and sound without end.
  status = speak_by(
      R"(printf 'RIFF\377\377\377\377WAVEfmt \020\0\0\0\001\0\001\0\200\076\0\0\0\175\0\0\002\0\020\0data\377\377\377\377'; exec yes)",
      samples);
  ASSERT_FALSE(status);
  EXPECT_LE(samples.size(), size_t{601} * 16000);
}

TEST_F(ProcessSpeaker, EspeakSpeaksAndStops) {
  if (std::system("command -v espeak-ng >/dev/null") != 0) GTEST_SKIP() << "there is no espeak-ng";
  SpeakerOptions options;
  options.engine = "espeak-ng";
  options.voice = "de";
  options.rate = 24000;
  const auto speaker = make_speaker(options);
  ASSERT_TRUE(speaker);
  size_t samples = 0;
  const auto status =
      (*speaker)->speak("Guten Morgen, wie spät ist es?",
                        [&](std::span<const int16_t> part) { return samples += part.size(), true; }, {});
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_GT(samples, 24000u);
  EXPECT_LT(samples, 24000u * 10);
  EXPECT_TRUE((*speaker)->speak("Guten Morgen.", [](std::span<const int16_t>) { return false; }, {}));
  options.voice = "--version";
  EXPECT_FALSE(make_speaker(options));
}

}  // namespace
}  // namespace onebit::voice
