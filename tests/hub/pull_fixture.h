// What the tests of `pull` share: a repository of some files, a host of it that may be told to lie, and a folder.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <random>

#include "hub/part_record.h"
#include "hub/pull.h"
#include "tests/hub/host.h"
#include "tests/support/expect_error.h"
#include "tests/support/temp_folder.h"

namespace onebit::hub {

using test::expect_error;
using test::file_answer;
using test::Host;
using test::HostConnection;
using test::HostedRepo;
using test::HostRequest;
using test::http_answer;
using test::read_file;
using Clock = std::chrono::steady_clock;

inline constexpr uint64_t kChunk = 50'000;
inline constexpr size_t kWeights = 220'000;  // five chunks, the last one short

inline std::string random_bytes(size_t size, uint32_t seed = 1) {
  std::mt19937 random(seed);
  std::string bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  return bytes;
}

/// A model's description in which one more file is listed, under any name.
inline std::string with_path(const std::string& info, std::string_view path) {
  std::string escaped;
  for (const char c : path) {
    if (static_cast<unsigned char>(c) < ' ') {
      escaped += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      escaped += c == '\\' ? std::string("\\\\") : std::string(1, c);
    }
  }
  constexpr std::string_view kBegin = "\"siblings\":[";
  std::string result = info;
  result.insert(result.find(kBegin) + kBegin.size(), fmt::format("{{\"rfilename\":\"{}\",\"size\":1}},", escaped));
  return result;
}

inline HostedRepo small_repo() {
  HostedRepo repo;
  repo.add("config.json", R"({"hidden_size": 64})");
  repo.add("tokenizer.json", R"({"model": {}})");
  repo.add("README.md", "# Tiny");
  repo.add("pytorch_model.bin", random_bytes(1000), true);
  repo.add("model.safetensors", random_bytes(kWeights), true);
  return repo;
}

class Pull : public ::testing::Test {
 protected:
  using Hook = std::function<bool(const HostRequest&, HostConnection&)>;

  /// A host of `repo` of which `hook` may take any request.
  void host(Hook hook = {}) {
    host_ = std::make_unique<Host>();
    host_->start([this, hook = std::move(hook)](const HostRequest& request, HostConnection& connection) {
      if (!hook || !hook(request, connection)) repo.answer(request, connection);
    });
  }
  /// The same for requests of the weights only.
  void host_of_weights(Hook hook) {
    host([hook = std::move(hook)](const HostRequest& request, HostConnection& connection) {
      return is_weights(request) && hook(request, connection);
    });
  }
  static bool is_weights(const HostRequest& request) { return request.target.ends_with("/model.safetensors"); }
  const test::HostedFile& weights() { return repo.files.at("model.safetensors"); }

  PullOptions options() {
    PullOptions o;
    o.host.endpoint = endpoint.empty() ? host_->url() : endpoint;
    o.host.first_wait = std::chrono::milliseconds(1);
    o.host.longest_wait = std::chrono::milliseconds(5);
    o.host.silence = std::chrono::seconds(20);
    o.repo = {"tester", "tiny"};
    o.folder = folder();
    o.sizes = {.chunk = kChunk, .progress = 1};
    return o;
  }
  /// Nobody is at work at the host or in the folder afterwards.
  Result<Pulled> run(const PullOptions& o, const PullProgress& progress = {}) {
    auto result = pull(o, progress);
    if (host_) host_->settle();
    if (result) result->lock.reset();
    return result;
  }
  Result<Pulled> run() { return run(options()); }
  std::string folder() const { return temp.path("models/.downloads/tester--tiny"); }
  std::string weights_path() const { return folder() + "/model.safetensors"; }

  void expect_whole(const Result<Pulled>& pulled) {
    ASSERT_TRUE(pulled.has_value()) << pulled.error().message;
    EXPECT_EQ(read_file(weights_path()), weights().bytes);
    EXPECT_FALSE(std::filesystem::exists(part_path(weights_path())));
    EXPECT_FALSE(std::filesystem::exists(record_path(weights_path())));
  }
  void expect_none(const Result<Pulled>& pulled, std::initializer_list<std::string_view> parts) {
    expect_error(pulled, parts);
    EXPECT_FALSE(std::filesystem::exists(weights_path()));
  }
  size_t count(const std::function<bool(const HostRequest&)>& wanted) const {
    const auto all = host_->requests();
    return static_cast<size_t>(std::count_if(all.begin(), all.end(), wanted));
  }

  test::TempFolder temp;
  HostedRepo repo = small_repo();
  std::unique_ptr<Host> host_;
  std::string endpoint;  // instead of the host's own
};

}  // namespace onebit::hub
