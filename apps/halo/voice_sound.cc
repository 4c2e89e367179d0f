#include "halo/voice_sound.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <sstream>

#include "base/process.h"
#include "halo/common.h"

namespace onebit::halo {
namespace {

constexpr size_t kMostFileSamples = size_t{16000} * 3600 * 4;

std::string raw_bytes(std::span<const int16_t> samples) {
  std::string out;
  out.reserve(samples.size() * 2);
  for (const int16_t sample : samples) {
    out += static_cast<char>(sample & 0xff);
    out += static_cast<char>((sample >> 8) & 0xff);
  }
  return out;
}

/// Bytes that come in any parts, as samples.
class RawSamples {
 public:
  std::span<const int16_t> take(std::string_view bytes) {
    bytes_ += bytes;
    samples_.clear();
    for (size_t at = 0; at + 2 <= bytes_.size(); at += 2)
      samples_.push_back(static_cast<int16_t>(static_cast<unsigned char>(bytes_[at]) |
                                              static_cast<unsigned char>(bytes_[at + 1]) << 8));
    bytes_.erase(0, samples_.size() * 2);
    return samples_;
  }

 private:
  std::string bytes_;
  std::vector<int16_t> samples_;
};

}  // namespace

std::vector<std::string> words_of(const std::string& command) {
  std::istringstream in(command);
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

Status read_raw(const std::vector<std::string>& program, const std::function<bool(std::span<const int16_t>)>& sink) {
  RawSamples samples;
  const auto take = [&](std::string_view bytes) { return !interrupted() && sink(samples.take(bytes)); };
  if (!program.empty())
    return run_process(program, {}, take, {.timeout = std::chrono::hours(24 * 365), .most_bytes = UINT64_MAX});
  char buffer[3200];
  while (!interrupted()) {
    const ssize_t n = ::read(STDIN_FILENO, buffer, sizeof buffer);
    if (n == 0) return {};
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail("standard input: {}", std::strerror(errno));
    if (!take({buffer, static_cast<size_t>(n)})) return {};
  }
  return {};
}

Playback::Playback(Target target, uint32_t rate) : target_(std::move(target)), audio_{rate, {}} {
  thread_ = std::thread([this] { run(); });
}

Playback::~Playback() {
  {
    const std::lock_guard lock(mutex_);
    quit_ = true;
    stopping_.request_stop();
  }
  changed_.notify_all();
  thread_.join();
}

void Playback::play(std::span<const int16_t> samples) {
  const std::lock_guard lock(mutex_);
  if (!samples.empty()) queue_.emplace_back(samples.begin(), samples.end());
  changed_.notify_all();
}

void Playback::end_answer() {
  const std::lock_guard lock(mutex_);
  queue_.emplace_back();
  changed_.notify_all();
}

void Playback::stop() {
  const std::lock_guard lock(mutex_);
  queue_.clear();
  stopping_.request_stop();
  changed_.notify_all();
}

Status Playback::finish() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return queue_.empty() && !busy_; });
  if (error_) return tl::unexpected(*error_);
  if (target_.file.empty() || target_.file == "-" || target_.file == "/dev/null") return {};
  return voice::write_wav(target_.file, audio_);
}

void Playback::run() {
  std::optional<ProcessInput> player;
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return quit_ || !queue_.empty() || stopping_.stop_requested(); });
    if (quit_) return;
    if (stopping_.stop_requested()) {
      stopping_ = std::stop_source();
      player.reset();  // and with it what it had not played
      continue;
    }
    const auto samples = std::move(queue_.front());
    queue_.pop_front();
    busy_ = true;
    const auto stop = stopping_.get_token();
    lock.unlock();
    Status status;
    if (target_.file == "-") {
      const auto bytes = raw_bytes(samples);
      if (std::fwrite(bytes.data(), 1, bytes.size(), stdout) != bytes.size() || std::fflush(stdout) != 0)
        status = fail("standard output: cannot write");
    } else if (!target_.file.empty()) {
      if (audio_.samples.size() + samples.size() > kMostFileSamples)
        status = fail("{}: more than four hours of speech", target_.file);
      else
        audio_.samples.insert(audio_.samples.end(), samples.begin(), samples.end());
    } else if (!target_.program.empty()) {
      if (!player && !samples.empty()) {
        auto started = ProcessInput::start(target_.program);
        if (started)
          player.emplace(std::move(*started));
        else
          status = tl::unexpected(started.error());
      }
      if (player) status = samples.empty() ? player->finish(stop) : player->write(raw_bytes(samples), stop);
      if (samples.empty() || !status) player.reset();
    }
    lock.lock();
    busy_ = false;
    if (!status && !error_) error_ = status.error();
    changed_.notify_all();
  }
}

}  // namespace onebit::halo
