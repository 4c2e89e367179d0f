// Recognisers and speakers that are servers: what they are asked, and what becomes of bad answers.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <functional>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/voice/sound.h"
#include "voice/audio.h"
#include "voice/recognizer.h"
#include "voice/speaker.h"

namespace onebit::voice {
namespace {

using Clock = std::chrono::steady_clock;

/// Reads each connection's request whole and lets `answer` do what it likes with the connection.
class Server {
 public:
  using Answer = std::function<void(int client, const std::string& request)>;
  explicit Server(Answer answer) : answer_(std::move(answer)) {
    socket_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
    ::bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address);
    ::listen(socket_, 16);
    socklen_t size = sizeof address;
    ::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size);
    url_ = fmt::format("http://127.0.0.1:{}", ::ntohs(address.sin_port));
    thread_ = std::thread([this] { serve(); });
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server() {
    over = true;
    ::shutdown(socket_, SHUT_RDWR);
    thread_.join();
    ::close(socket_);
  }
  const std::string& url() const { return url_; }
  std::string request() const {
    const std::lock_guard lock(mutex_);
    return request_;
  }
  std::atomic<bool> over{false};
  std::atomic<int> requests{0};

 private:
  void serve() {
    for (int client; (client = ::accept(socket_, nullptr, nullptr)) >= 0; ::close(client)) {
      std::string request;
      std::array<char, 65536> piece;
      for (ssize_t n; (n = ::recv(client, piece.data(), piece.size(), 0)) > 0;) {
        request.append(piece.data(), static_cast<size_t>(n));
        const size_t body = request.find("\r\n\r\n"), length = request.find("Content-Length: ");
        if (body == std::string::npos || request.size() < body + 4 + std::stoul(request.substr(length + 16))) continue;
        {
          const std::lock_guard lock(mutex_);
          request_ = request;
        }
        ++requests;
        answer_(client, request);
        break;
      }
    }
  }

  Answer answer_;
  int socket_ = -1;
  std::string url_;
  mutable std::mutex mutex_;
  std::string request_;
  std::thread thread_;
};

bool write_all(int client, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(client, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

Server::Answer says(const std::string& body, int status = 200) {
  return [=](int client, const std::string&) {
    write_all(client, fmt::format("HTTP/1.1 {} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}", status,
                                  body.size(), body));
  };
}

RecognizerOptions recognizer_options(const std::string& engine, const std::string& url) {
  RecognizerOptions options;
  options.engine = engine;
  options.url = url;
  options.timeout = std::chrono::milliseconds(300);
  return options;
}

Result<std::string> transcribe(const RecognizerOptions& options, const std::stop_token& stop = {}) {
  const auto recognizer = make_recognizer(options);
  if (!recognizer) return tl::unexpected(recognizer.error());
  auto& r = **recognizer;
  if (auto status = r.begin(); !status) return tl::unexpected(status.error());
  if (auto status = r.feed(sound::hum(500)); !status) return tl::unexpected(status.error());
  return r.finish(stop);
}

TEST(HttpRecognizer, AsksWhisperAndOpenaiAsTheyWantIt) {
  for (const char* engine : {"whisper", "openai"}) {
    const Server server(says(R"({"text":" Hello there.\n"})"));
    auto options = recognizer_options(engine, server.url());
    options.key = "secret";
    options.language = "en";
    const auto text = transcribe(options);
    ASSERT_TRUE(text) << text.error().message;
    EXPECT_EQ(*text, "Hello there.");
    const auto request = server.request();
    const bool whisper = std::string_view(engine) == "whisper";
    EXPECT_TRUE(request.starts_with(whisper ? "POST /inference HTTP/1.1" : "POST /v1/audio/transcriptions HTTP/1.1"))
        << request.substr(0, 60);
    EXPECT_NE(request.find("Authorization: Bearer secret"), std::string::npos);
    EXPECT_NE(request.find("name=\"language\"\r\n\r\nen\r\n"), std::string::npos);
    EXPECT_EQ(request.find("name=\"model\"") != std::string::npos, !whisper);
    const size_t wav = request.find("RIFF");
    ASSERT_NE(wav, std::string::npos);
    const auto audio = parse_wav(std::string_view(request).substr(wav), "sent");
    ASSERT_TRUE(audio) << audio.error().message;
    EXPECT_EQ(audio->samples, sound::hum(500));
  }
}

TEST(HttpRecognizer, AsksOnceForWhatIsNotLonger) {
  const Server server(says(R"({"text":"one"})"));
  auto made = make_recognizer(recognizer_options("openai", server.url() + "/v1"));
  ASSERT_TRUE(made);
  auto& r = **made;
  ASSERT_TRUE(r.begin());
  EXPECT_EQ(*r.finish({}), "") << "nothing was said: nobody is asked";
  ASSERT_TRUE(r.feed(sound::hum(100)));
  EXPECT_EQ(*r.settle({}), "one");
  EXPECT_EQ(*r.finish({}), "one");
  EXPECT_EQ(server.requests, 1);
  ASSERT_TRUE(r.feed(sound::hum(100)));
  EXPECT_EQ(*r.finish({}), "one");
  EXPECT_EQ(server.requests, 2);
}

TEST(HttpRecognizer, BadAnswersAreErrors) {
  const auto flood = [](int client, const std::string&) {
    write_all(client, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    const std::string chunk = "10000\r\n" + std::string(0x10000, ' ') + "\r\n";
    while (write_all(client, chunk)) {
    }
  };
  const std::vector<std::pair<Server::Answer, std::string>> cases{
      {says("not json"), "answered no transcription"},
      {says(R"({"txt":"x"})"), "answered no transcription"},
      {says(R"({"text":7})"), "answered no transcription"},
      {says("model not found", 404), "status 404: model not found"},
      {says("", 500), "status 500"},
      {[](int, const std::string&) {}, "end of stream"},
      {[](int client, const std::string&) { write_all(client, "SSH-2.0 hello\r\n\r\n"); }, "bad version"},
      {flood, "more than 1048576 bytes"}};
  for (const auto& [answer, expected] : cases) {
    const Server server(answer);
    const auto text = transcribe(recognizer_options("whisper", server.url()));
    ASSERT_FALSE(text) << expected;
    EXPECT_NE(text.error().message.find(expected), std::string::npos) << text.error().message;
  }
  EXPECT_FALSE(transcribe(recognizer_options("whisper", "http://127.0.0.1:1")));
  EXPECT_FALSE(transcribe(recognizer_options("whisper", "")));
  EXPECT_FALSE(transcribe(recognizer_options("openai", "ftp://x")));
  EXPECT_FALSE(transcribe(recognizer_options("deep", "http://x")));
}

TEST(HttpRecognizer, OneThatHangsIsGivenUpOrStopped) {
  Server server([&](int, const std::string&) {
    while (!server.over) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  });
  auto options = recognizer_options("whisper", server.url());
  auto text = transcribe(options);
  ASSERT_FALSE(text);
  EXPECT_NE(text.error().message.find("no answer within 300 ms"), std::string::npos) << text.error().message;
  options.timeout = std::chrono::seconds(60);
  std::stop_source stop;
  std::thread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    stop.request_stop();
  });
  const auto begin = Clock::now();
  text = transcribe(options, stop.get_token());
  later.join();
  ASSERT_FALSE(text);
  EXPECT_LT(Clock::now() - begin, std::chrono::seconds(20));
}

TEST(HttpRecognizer, NoUtteranceGrowsWithoutEnd) {
  auto options = recognizer_options("whisper", "http://127.0.0.1:1");
  options.longest = std::chrono::seconds(2);
  auto made = make_recognizer(options);
  ASSERT_TRUE(made);
  ASSERT_TRUE((*made)->begin());
  ASSERT_TRUE((*made)->feed(sound::silence(1500)));
  EXPECT_FALSE((*made)->feed(sound::silence(1500)));
}

SpeakerOptions speaker_options(const std::string& url) {
  SpeakerOptions options;
  options.engine = "openai";
  options.url = url;
  options.timeout = std::chrono::milliseconds(500);
  return options;
}

Status speak(const SpeakerOptions& options, std::vector<int16_t>& samples, const std::stop_token& stop = {}) {
  const auto speaker = make_speaker(options);
  if (!speaker) return tl::unexpected(speaker.error());
  return (*speaker)->speak(
      "Hello.",
      [&](std::span<const int16_t> part) { return samples.insert(samples.end(), part.begin(), part.end()), true; },
      stop);
}

TEST(HttpSpeaker, AsksAndGivesTheSoundAtTheWantedRate) {
  const auto tone = sound::hum(300);
  const Server server(says(wav_bytes(16000, tone)));
  auto options = speaker_options(server.url());
  options.voice = "nova";
  options.rate = 24000;
  std::vector<int16_t> samples;
  const auto status = speak(options, samples);
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_EQ(samples, resampled({16000, tone}, 24000).samples);
  const auto request = server.request();
  EXPECT_TRUE(request.starts_with("POST /v1/audio/speech HTTP/1.1"));
  const auto body = nlohmann::json::parse(request.substr(request.find("\r\n\r\n") + 4));
  EXPECT_EQ(body["input"], "Hello.");
  EXPECT_EQ(body["voice"], "nova");
  EXPECT_EQ(body["response_format"], "wav");
}

TEST(HttpSpeaker, TheFirstSoundDoesNotWaitForTheLast) {
  std::atomic<bool> heard{false};
  Server server([&](int client, const std::string&) {
    const auto wav = wav_bytes(16000, sound::hum(200));
    write_all(client,
              "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(wav.size()) + "\r\n\r\n" + wav.substr(0, 3000));
    for (int i = 0; i < 2000 && !heard; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    write_all(client, wav.substr(3000));
  });
  auto options = speaker_options(server.url());
  options.timeout = std::chrono::seconds(20);
  const auto speaker = make_speaker(options);
  ASSERT_TRUE(speaker);
  size_t samples = 0;
  ASSERT_TRUE((*speaker)->speak(
      "Hello.", [&](std::span<const int16_t> part) { return samples += part.size(), heard = true; }, {}));
  EXPECT_EQ(samples, sound::hum(200).size());
}

TEST(HttpSpeaker, BadAnswersAreErrors) {
  const auto wav = wav_bytes(16000, sound::hum(100));
  const auto flood = [](int client, const std::string&) {
    write_all(client, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    auto header = wav_bytes(16000, {});
    for (size_t i = 40; i < 44; ++i) header[i] = '\xff';
    write_all(client, "2c\r\n" + header + "\r\n");
    const std::string chunk = "10000\r\n" + std::string(0x10000, 'x') + "\r\n";
    while (write_all(client, chunk)) {
    }
  };
  const std::vector<std::pair<Server::Answer, std::string>> cases{{says("no sound"), "not a WAV file"},
                                                                  {says(wav.substr(0, 200)), "missing"},
                                                                  {says("{}", 503), "status 503"},
                                                                  {[](int, const std::string&) {}, "end of stream"},
                                                                  {flood, "more than 600 s"}};
  for (const auto& [answer, expected] : cases) {
    const Server server(answer);
    auto options = speaker_options(server.url());
    options.timeout = std::chrono::seconds(60);
    std::vector<int16_t> samples;
    const auto status = speak(options, samples);
    ASSERT_FALSE(status) << expected;
    EXPECT_NE(status.error().message.find(expected), std::string::npos) << status.error().message;
    EXPECT_LE(samples.size(), size_t{600} * 16000);
  }
}

TEST(HttpSpeaker, OneThatHangsIsGivenUpOrStopped) {
  Server server([&](int client, const std::string&) {
    write_all(client, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
    while (!server.over) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  });
  std::vector<int16_t> samples;
  auto options = speaker_options(server.url());
  EXPECT_FALSE(speak(options, samples));
  options.timeout = std::chrono::seconds(60);
  std::stop_source stop;
  std::thread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    stop.request_stop();
  });
  const auto begin = Clock::now();
  EXPECT_TRUE(speak(options, samples, stop.get_token())) << "to be stopped is no error";
  later.join();
  EXPECT_LT(Clock::now() - begin, std::chrono::seconds(20));
}

}  // namespace
}  // namespace onebit::voice
