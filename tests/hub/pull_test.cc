// `pull` against hosts that behave and hosts that do not: the right files, or one sentence and nothing half-written.
#include "hub/pull.h"

#include <gtest/gtest.h>
#include <sys/file.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <random>

#include "hub/folder_lock.h"
#include "hub/part_record.h"
#include "tests/hub/host.h"
#include "tests/support/expect_error.h"
#include "tests/support/temp_folder.h"

namespace onebit::hub {
namespace {

using test::expect_error;
using test::file_answer;
using test::Host;
using test::HostConnection;
using test::HostedRepo;
using test::HostRequest;
using test::http_answer;
using test::read_file;
using Clock = std::chrono::steady_clock;

constexpr uint64_t kChunk = 50'000;
constexpr size_t kWeights = 220'000;  // five chunks, the last one short

std::string random_bytes(size_t size, uint32_t seed = 1) {
  std::mt19937 random(seed);
  std::string bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  return bytes;
}

/// A model's description in which one more file is listed, under any name.
std::string with_path(const std::string& info, std::string_view path) {
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

HostedRepo small_repo() {
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
  /// Nobody is at work at the host afterwards.
  Result<Pulled> run(const PullOptions& o, const PullProgress& progress = {}) {
    auto result = pull(o, progress);
    if (host_) host_->settle();
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

TEST_F(Pull, FetchesWhatAConversionNeedsAndNoMore) {
  host();
  const auto pulled = run();
  expect_whole(pulled);
  EXPECT_EQ(pulled->path, folder());
  EXPECT_EQ(pulled->commit, repo.commit);
  EXPECT_EQ(pulled->kept, 0u);
  EXPECT_TRUE(pulled->unverified.empty());
  EXPECT_EQ(read_file(folder() + "/config.json"), repo.files.at("config.json").bytes);
  EXPECT_EQ(read_file(folder() + "/tokenizer.json"), repo.files.at("tokenizer.json").bytes);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder()), {}), 3);
  EXPECT_EQ(count(is_weights), 5u);  // its chunks
  EXPECT_EQ(count([](const auto& r) { return r.target.find("README") != std::string::npos; }), 0u);
  // Once more: all is there, and known to be right without being fetched.
  const auto again = run();
  expect_whole(again);
  EXPECT_EQ(again->kept, again->bytes);
  EXPECT_EQ(count(is_weights), 5u);
}

TEST_F(Pull, ProgressCountsUpToAllBytes) {
  host();
  uint64_t last = 0, total = 0;
  ASSERT_TRUE(run(options(), [&](const PullState& state) {
    EXPECT_LE(last, state.done);
    last = state.done;
    total = state.total;
  }));
  EXPECT_EQ(last, total);
  EXPECT_GT(total, kWeights);
}

TEST_F(Pull, RangesAreFetchedAtOnce) {
  std::atomic<int> here{0};
  std::atomic<bool> together{false};
  host_of_weights([&](const HostRequest&, HostConnection&) {
    if (++here >= 2) together = true;
    const auto end = Clock::now() + std::chrono::seconds(10);  // the first waits for a second one
    while (!together && Clock::now() < end) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    --here;
    return false;
  });
  expect_whole(run());
  EXPECT_TRUE(together);
}

TEST_F(Pull, ShardsAreThoseOfTheIndex) {
  repo.files.erase("model.safetensors");
  repo.add("model-00001-of-00002.safetensors", random_bytes(70'000, 2), true);
  repo.add("model-00002-of-00002.safetensors", random_bytes(30'000, 3), true);
  repo.add("consolidated.safetensors", random_bytes(100'000, 4), true);
  repo.add("model.safetensors.index.json",
           R"({"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}})");
  host();
  const auto pulled = run();
  ASSERT_TRUE(pulled.has_value()) << pulled.error().message;
  for (const auto* name :
       {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"})
    EXPECT_EQ(read_file(folder() + "/" + name), repo.files.at(name).bytes) << name;
  EXPECT_FALSE(std::filesystem::exists(folder() + "/consolidated.safetensors"));
}

TEST_F(Pull, AnIndexThatNamesWhatIsNotListedIsRefused) {
  for (const std::string name : {"../../x.safetensors", "/etc/x.safetensors", "other.safetensors", "config.json"}) {
    repo.add("model.safetensors.index.json", R"({"weight_map": {"a": ")" + name + R"("}})");
    host();
    expect_error(run(), {"weight_map names '" + name + "'"});
  }
}

TEST_F(Pull, ARevisionIsAskedForOnceAndThenItsCommit) {
  host();
  auto o = options();
  o.revision = "refs/pr/1";
  ASSERT_TRUE(run(o));
  EXPECT_EQ(host_->requests().front().target, "/api/models/tester/tiny/revision/refs%2Fpr%2F1?blobs=true");
  EXPECT_EQ(count([&](const auto& r) { return r.target.starts_with("/tester/tiny/resolve/" + repo.commit + "/"); }),
            7u);
}

TEST_F(Pull, OneFileByItsName) {
  repo.add("small.gguf", random_bytes(60'000, 5), true);
  repo.add("sub/large.gguf", random_bytes(80'000, 6), true);
  host();
  auto o = options();
  o.file = "sub/large.gguf";
  const auto pulled = run(o);
  ASSERT_TRUE(pulled.has_value()) << pulled.error().message;
  EXPECT_EQ(pulled->kind, Choice::Kind::kGguf);
  EXPECT_EQ(read_file(pulled->path), repo.files.at("sub/large.gguf").bytes);
  o.file = "none.gguf";
  expect_error(run(o), {"none.gguf", "small.gguf", "sub/large.gguf"});
  repo.files.erase("model.safetensors");
  expect_error(run(), {"--file", "small.gguf"});
}

TEST_F(Pull, AHostThatBreaksOffIsAskedForTheRest) {
  host_of_weights([&](const HostRequest& request, HostConnection& connection) {
    const auto [head, body] = file_answer(weights(), request);
    if (body.size() < 8000) return false;
    connection.send(head) && connection.send(std::string_view(body).substr(0, body.size() / 2));
    return true;
  });
  expect_whole(run());
  EXPECT_GT(count([](const auto& r) { return is_weights(r) && r.range() && r.range()->first % kChunk != 0; }), 5u);
}

TEST_F(Pull, AHostThatNeverSendsAnythingEndsItAfterSomeTries) {
  for (const bool head_too : {false, true}) {
    host_of_weights([&](const HostRequest& request, HostConnection& connection) {
      if (head_too) connection.send(file_answer(weights(), request).first);
      return true;
    });
    auto o = options();
    o.host.connections = 1;
    o.host.attempts = 4;
    expect_none(run(o), {"model.safetensors", "tried 4 times"});
    EXPECT_EQ(count(is_weights), 4u);
  }
}

TEST_F(Pull, AHostThatSendsAByteAtATimeEndsIt) {
  host_of_weights([&](const HostRequest& request, HostConnection& connection) {
    const auto [head, body] = file_answer(weights(), request);
    connection.send(head) && connection.send(body.substr(0, 1));
    return true;
  });
  auto o = options();
  o.sizes.progress = 1000;
  expect_none(run(o), {"tried 6 times"});
  EXPECT_LT(count(is_weights), 30u);
}

TEST_F(Pull, ASilentHostIsLeft) {
  host_of_weights([&](const HostRequest& request, HostConnection& connection) {
    if (count(is_weights) > 1) return false;
    connection.send(file_answer(weights(), request).first);
    const auto end = Clock::now() + std::chrono::seconds(30);
    while (!host_->over() && connection.send("") && count(is_weights) < 2 && Clock::now() < end)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return true;
  });
  auto o = options();
  o.host.connections = 1;
  o.host.silence = std::chrono::seconds(1);
  expect_whole(run(o));
}

TEST_F(Pull, AStopLeavesAPartAndTheNextGoesOn) {
  host();
  auto o = options();
  o.host.connections = 1;
  bool stopped = false;
  o.host.stop = [&] { return stopped; };
  const auto first = run(o, [&](const PullState& state) { stopped = state.done > 2 * kChunk; });
  expect_none(first, {"stopped"});
  EXPECT_EQ(std::filesystem::file_size(part_path(weights_path())), kWeights);
  const auto record = parse_part_record(read_file(record_path(weights_path())), "record");
  ASSERT_TRUE(record.has_value()) << record.error().message;
  uint64_t done = 0;
  for (const uint64_t n : record->done) done += n;
  EXPECT_GT(done, kChunk);
  EXPECT_GT(fetched_bytes(folder()), done);
  const auto before = host_->requests().size();
  const auto second = run();
  expect_whole(second);
  EXPECT_GE(second->kept, done);
  uint64_t asked = 0;
  const auto all = host_->requests();
  for (size_t i = before; i < all.size(); ++i)
    if (is_weights(all[i])) {
      EXPECT_EQ(all[i].header("if-range"), test::etag_of(weights()));
      asked += all[i].range()->second - all[i].range()->first;
    }
  EXPECT_EQ(asked, kWeights - done);
}

TEST_F(Pull, LiesAboutLengthsAreSentences) {
  struct Lie {
    const char* head;
    size_t bytes;
    const char* says;
  };
  // The first chunk is asked for: bytes 0 to 49999 of 220000.
  const std::vector<Lie> lies{
      {"206 Partial Content\r\nContent-Range: bytes 0-49999/99\r\n", 50'000, "its file has 99"},
      {"206 Partial Content\r\nContent-Range: bytes 1-50000/220000\r\n", 50'000, "another range"},
      {"206 Partial Content\r\nContent-Range: bytes 0-219999/220000\r\n", 50'000, "another range"},
      {"206 Partial Content\r\nContent-Range: nonsense\r\n", 50'000, "another range"},
      {"206 Partial Content\r\n", 50'000, "another range"},
      {"206 Partial Content\r\nContent-Range: bytes 0-49999/220000\r\n", 60'000, "more than it said"},
      {"206 Partial Content\r\nContent-Range: bytes 0-49999/220000\r\nContent-Length: 40000\r\n", 50'000, nullptr},
      {"206 Partial Content\r\nContent-Range: bytes 0-49999/220000\r\nContent-Length: 60000\r\n", 50'000, nullptr},
      {"206 Partial Content\r\nContent-Range: bytes 0-49999/220000\r\nContent-Length: 1\r\nContent-Length: 2\r\n", 9,
       ""},
      {"204 No Content\r\n", 0, "status 204"},
  };
  for (const auto& lie : lies) {
    host_of_weights([&](const HostRequest& request, HostConnection& connection) {
      if (request.range()->first > 0) return false;
      connection.send(fmt::format("HTTP/1.1 {}Connection: close\r\n\r\n", lie.head)) &&
          connection.send(std::string(lie.bytes, 'x'));
      return true;
    });
    if (lie.says == nullptr) {  // enough came, if not in one answer, but not the file's bytes
      expect_none(run(), {"has not the hash"});
    } else {
      expect_none(run(), {"model.safetensors", lie.says});
    }
    std::filesystem::remove_all(folder());
  }
}

TEST_F(Pull, AWholeFileOfAnotherLengthThanListedIsRefused) {
  for (const uint64_t listed : {uint64_t{10}, uint64_t{30}}) {
    repo.files.at("config.json").listed = listed;
    host();
    expect_error(run(), {"config.json", fmt::format("lists {} bytes", listed)});
    EXPECT_FALSE(std::filesystem::exists(folder() + "/config.json"));
  }
}

TEST_F(Pull, RangesThatAreIgnoredCostParallelismOnly) {
  size_t breaks = 2;
  host_of_weights([&](const HostRequest& request, HostConnection& connection) {
    HostRequest whole = request;
    whole.headers.erase("range");
    const auto [head, body] = file_answer(weights(), whole);
    const bool breaks_off = !request.range() && breaks > 0;
    if (breaks_off) --breaks;
    connection.send(head) && connection.send(breaks_off ? body.substr(0, body.size() / 2) : body);
    return true;
  });
  expect_whole(run());
  EXPECT_EQ(count([](const auto& r) { return is_weights(r) && !r.range(); }), 3u);
}

TEST_F(Pull, AWrongHashIsThrownAway) {
  repo.files.at("model.safetensors").hash = std::string(64, '0');
  host([&](const HostRequest& request, HostConnection& connection) {
    const auto* file = repo.file_of(request.target);
    if (file == nullptr) return false;
    const auto [head, body] = file_answer(*file, request);
    connection.send(head) && connection.send(body);
    return true;
  });
  expect_none(run(), {"model.safetensors", "has not the hash", std::string(64, '0')});
  EXPECT_FALSE(std::filesystem::exists(part_path(weights_path())));
  EXPECT_EQ(count(is_weights), 5u);  // once, and not again
  repo = small_repo();
  repo.files.at("config.json").hash = std::string(40, '0');  // files in git have git's hash
  expect_error(run(), {"config.json", "has not the hash"});
}

TEST_F(Pull, AHashOnTheWayThatIsNotTheListedOneIsRefused) {
  host_of_weights([&](const HostRequest& request, HostConnection& connection) {
    auto [head, body] = file_answer(weights(), request);
    head.insert(head.find("ETag"), "X-Linked-ETag: \"" + std::string(64, 'b') + "\"\r\n");
    connection.send(head) && connection.send(body);
    return true;
  });
  expect_none(run(), {"model.safetensors", std::string(64, 'b')});
}

TEST_F(Pull, ADamagedPartIsFetchedAnew) {
  host();
  auto o = options();
  bool stopped = false;
  o.host.connections = 1;
  o.host.stop = [&] { return stopped; };
  ASSERT_FALSE(run(o, [&](const PullState& state) { stopped = state.done > 2 * kChunk; }));
  auto part = read_file(part_path(weights_path()));
  part[100] = static_cast<char>(part[100] ^ 1);
  test::write_file(part_path(weights_path()), part);
  const auto pulled = run();
  expect_whole(pulled);
  EXPECT_LT(pulled->kept, 1000u);  // the small files
}

TEST_F(Pull, ARecordThatIsNonsenseIsNotBelieved) {
  for (const std::string& record :
       {std::string("{"), std::string(R"({"size":220000,"chunk":0,"done":[]})"),
        fmt::format(R"({{"size":220000,"chunk":220000,"sha256":"{}","git_sha1":"","etag":"","done":[999999]}})",
                    test::sha256_hex(weights().bytes)),
        fmt::format(R"({{"size":220000,"chunk":1,"sha256":"{}","git_sha1":"","etag":"","done":[1]}})",
                    test::sha256_hex(weights().bytes))}) {
    std::filesystem::create_directories(folder());
    test::write_file(part_path(weights_path()), std::string(kWeights, 'x'));
    test::write_file(record_path(weights_path()), record);
    host();
    expect_whole(run());
    EXPECT_EQ(count(is_weights), 5u);
    std::filesystem::remove_all(folder());
  }
}

TEST_F(Pull, AFileThatChangedSinceIsBegunAnew) {
  repo.files.at("model.safetensors").hash_listed = false;  // so that only its ETag tells
  host();
  auto o = options();
  bool stopped = false;
  o.host.stop = [&] { return stopped; };
  ASSERT_FALSE(run(o, [&](const PullState& state) { stopped = state.done > 2 * kChunk; }));
  repo.files.at("model.safetensors").bytes = random_bytes(kWeights, 9);
  const auto pulled = run();
  expect_whole(pulled);
  EXPECT_EQ(pulled->unverified, std::vector<std::string>{"model.safetensors"});
}

TEST_F(Pull, AFileThatChangesAllTheTimeEndsIt) {
  std::atomic<int> version{0};
  host_of_weights([&](const HostRequest& request, HostConnection& connection) {
    auto file = weights();
    file.bytes[0] = static_cast<char>(++version);
    const auto [head, body] = file_answer(file, request);
    connection.send(head) && connection.send(body);
    return true;
  });
  expect_none(run(), {"model.safetensors", "changes on the host"});
}

TEST_F(Pull, ARateLimitIsKept) {
  std::atomic<int> refusals{0};
  host([&](const HostRequest&, HostConnection& connection) {
    if (refusals++ > 0) return false;
    connection.send(http_answer("429 Too Many Requests", "", "Retry-After: 1\r\n"));
    return true;
  });
  const auto begin = Clock::now();
  expect_whole(run());
  EXPECT_GE(Clock::now() - begin, std::chrono::seconds(1));
}

TEST_F(Pull, AHostThatAsksForTooLongAWaitEndsIt) {
  host_of_weights([&](const HostRequest&, HostConnection& connection) {
    connection.send(http_answer("429 Too Many Requests", "", "Retry-After: 999999\r\n"));
    return true;
  });
  const auto begin = Clock::now();
  expect_none(run(), {"429", "wait 999999 s"});
  EXPECT_LT(Clock::now() - begin, std::chrono::seconds(60));
}

TEST_F(Pull, TroubleThatPassesIsWaitedFor) {
  std::atomic<int> refusals{0};
  host([&](const HostRequest&, HostConnection& connection) {
    if (++refusals % 2 == 0) return false;
    connection.send(http_answer("503 Service Unavailable", "busy"));
    return true;
  });
  expect_whole(run());
}

TEST_F(Pull, RefusalsSayWhatToDo) {
  const std::vector<std::pair<std::string, std::string>> cases{{"401 Unauthorized", "set $HF_TOKEN"},
                                                               {"403 Forbidden", "terms to accept"},
                                                               {"404 Not Found", "look at"},
                                                               {"418 Teapot", "418"}};
  for (const auto& [status, says] : cases) {
    host([&, &line = status](const HostRequest&, HostConnection& connection) {
      connection.send(http_answer(line, "\x1b[31mno"));
      return true;
    });
    expect_error(run(), {"tester/tiny", says});
    host_of_weights([&, &line = status](const HostRequest&, HostConnection& connection) {
      connection.send(http_answer(line, std::string(1'000'000, 'n')));
      return true;
    });
    expect_none(run(), {"model.safetensors", says});
  }
}

TEST_F(Pull, NoTokenGoesToAnotherHost) {
  HostedRepo& files = repo;
  Host storage;
  storage.start([&](const HostRequest& request, HostConnection& connection) {
    if (request.target.starts_with("/back/")) {  // once it has left, it does not come back with the token
      connection.send(
          http_answer("302 Found", "", fmt::format("Location: {}/{}\r\n", host_->url(), request.target.substr(6))));
      return;
    }
    const auto [head, body] = file_answer(files.files.at("model.safetensors"), request);
    connection.send(head) && connection.send(body);
  });
  const std::string token = "hf_secret";
  for (const std::string way : {"", "back/"}) {
    host_of_weights([&](const HostRequest& request, HostConnection& connection) {
      if (request.header("authorization").empty()) return false;
      connection.send(http_answer("302 Found", "",
                                  fmt::format("Location: {}/{}{}\r\n", storage.url(), way, request.target.substr(1))));
      return true;
    });
    std::filesystem::remove_all(folder());
    auto o = options();
    o.host.token = token;
    expect_whole(run(o));
    for (const auto& request : storage.requests()) EXPECT_EQ(request.header("authorization"), "");
    EXPECT_EQ(count([&](const auto& r) { return r.header("authorization") == "Bearer " + token; }),
              host_->requests().size() - (way.empty() ? 0 : 5));
  }
  EXPECT_EQ(storage.requests().size(), 10u);
}

TEST_F(Pull, RedirectsEnd) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"/tester/tiny/resolve/main/model.safetensors", "more than 10 times"},
      {"file:///etc/passwd", ""},
      {"ftp://127.0.0.1/x", "neither http nor https"},
      {"http://user:word@127.0.0.1/x", ""}};
  for (const auto& [location, says] : cases) {
    host_of_weights([&, &to = location](const HostRequest&, HostConnection& connection) {
      connection.send(http_answer("302 Found", "", fmt::format("Location: {}\r\n", to)));
      return true;
    });
    expect_none(run(), {says});
    EXPECT_LE(count(is_weights), 60u) << location;
  }
}

TEST_F(Pull, HostilePathsAreRefused) {
  for (const std::string path :
       {"../../x", "/etc/x", "a/../../x", "a//b", "./x", "..", "", "a\\..\\x", "x\x1b[31m", "x\ny", "\xff\xfe"}) {
    repo = small_repo();
    auto spoilt = with_path(repo.info(), path);
    host([&](const HostRequest& request, HostConnection& connection) {
      if (!request.target.starts_with("/api/")) return false;
      connection.send(http_answer("200 OK", spoilt));
      return true;
    });
    const auto pulled = run();
    ASSERT_FALSE(pulled.has_value()) << path;
    test::expect_sentence(pulled.error());
    EXPECT_FALSE(std::filesystem::exists(temp.path("models"))) << path;
    EXPECT_EQ(host_->requests().size(), 1u) << path;
  }
}

TEST_F(Pull, EndlessListingsAreBounded) {
  host([&](const HostRequest&, HostConnection& connection) {
    connection.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"siblings\":[");
    const std::string piece(1 << 16, ' ');
    for (int i = 0; i < 100'000 && connection.send(piece); ++i) {
    }
    return true;
  });
  expect_error(run(), {"tester/tiny", "more than"});
  host([&](const HostRequest&, HostConnection& connection) {
    connection.send("HTTP/1.1 200 OK\r\n");
    const std::string line = "X-More: " + std::string(1000, 'x') + "\r\n";
    for (int i = 0; i < 100'000 && connection.send(line); ++i) {
    }
    return true;
  });
  expect_error(run(), {"headers"});
  host([&](const HostRequest&, HostConnection& connection) {
    connection.send(http_answer("200 OK", "{\"siblings\":" + std::string(100'000, '[')));
    return true;
  });
  expect_error(run(), {"nested deeper"});
  host([&](const HostRequest& request, HostConnection& connection) {  // pages without end
    if (request.target.find("/tree/") == std::string::npos) {
      connection.send(http_answer("404 Not Found", ""));
    } else {
      connection.send(http_answer("200 OK", "[]", "Link: </api/models/tester/tiny/tree/x>; rel=\"next\"\r\n"));
    }
    return true;
  });
  expect_error(run(), {"more than 100 pages"});
}

TEST_F(Pull, AHostThatHasOnlyTheTreeWillDo) {
  repo.commit = "main";  // it names no commit
  host([&](const HostRequest& request, HostConnection& connection) {
    if (request.target.find("/revision/") != std::string::npos) {
      connection.send(http_answer("404 Not Found", ""));
      return true;
    }
    if (request.target.find("/tree/") == std::string::npos) return false;
    const bool second = request.target.find("cursor") != std::string::npos;  // all of it on the second page
    connection.send(
        second ? http_answer("200 OK", repo.tree())
               : http_answer("200 OK", "[]",
                             fmt::format("Link: <{}{}&cursor=x>; rel=\"next\"\r\n", host_->url(), request.target)));
    return true;
  });
  const auto pulled = run();
  expect_whole(pulled);
  EXPECT_EQ(pulled->commit, "");
}

TEST_F(Pull, AListingThatGoesOnElsewhereIsRefused) {
  host([&](const HostRequest& request, HostConnection& connection) {
    if (request.target.find("/tree/") == std::string::npos) {
      connection.send(http_answer("404 Not Found", ""));
    } else {
      connection.send(http_answer("200 OK", "[]", "Link: <http://example.com/>; rel=\"next\"\r\n"));
    }
    return true;
  });
  expect_error(run(), {"another host"});
}

TEST_F(Pull, ModelsThatDoNotFitAreRefusedBeforeAnythingIsFetched) {
  repo.files.at("model.safetensors").listed = uint64_t{1} << 49;
  host();
  expect_none(run(), {"GB", "make room"});
  EXPECT_EQ(count([](const auto& r) { return r.target.find("/resolve/") != std::string::npos; }), 0u);
  repo.files.at("model.safetensors").listed.reset();
  repo.files.at("config.json").listed = uint64_t{1} << 40;
  expect_none(run(), {"config.json", "more than any such file"});
}

TEST_F(Pull, OnePullAtATime) {
  std::filesystem::create_directories(folder());
  host();
  {
    const auto lock = FolderLock::take(folder());
    ASSERT_TRUE(lock.has_value());
    expect_none(run(), {"at work there"});
  }
  expect_whole(run());
}

TEST_F(Pull, OnlyTrustedCertificatesAndNoWayBackToPlainHttp) {
  const auto certificate = temp.path("certificate.pem");
  std::string location;
  Host secure(certificate);
  secure.start([&](const HostRequest& request, HostConnection& connection) {
    if (is_weights(request) && !location.empty()) {
      connection.send(http_answer("302 Found", "", fmt::format("Location: {}{}\r\n", location, request.target)));
    } else {
      repo.answer(request, connection);
    }
  });
  endpoint = secure.url();
  auto o = options();
  o.host.token = "hf_secret";
  expect_none(run(o), {"certificate", "$SSL_CERT_FILE"});
  EXPECT_TRUE(secure.requests().empty());  // not even the token
  o.host.certificates = temp.path("none.pem");
  expect_none(run(o), {"no authorities", "ca-certificates"});
  o.host.certificates = certificate;
  host();
  secure.settle();
  location = host_->url();
  expect_none(run(o), {"not encrypted"});
  EXPECT_EQ(count(is_weights), 0u);
  secure.settle();
  location.clear();
  expect_whole(run(o));
  EXPECT_EQ(secure.requests().front().header("authorization"), "Bearer hf_secret");
}

TEST_F(Pull, SettingsThatCannotBeAreSentences) {
  host();
  auto o = options();
  for (const std::string url :
       {"huggingface", "ftp://127.0.0.1", "http://user:word@127.0.0.1", "http://127.0.0.1/?a=b", ""}) {
    o.host.endpoint = url;
    expect_error(run(o), {"expected a host"});
  }
  o = options();
  o.host.token = "secret\r\nX-Other: 1";
  const auto refused = run(o);
  expect_error(refused, {"$HF_TOKEN"});
  EXPECT_EQ(refused.error().message.find("secret"), std::string::npos);
  o = options();
  for (const std::string revision : {"", "a b", "../x", "x?y", "x\n"}) {
    o.revision = revision;
    expect_error(run(o), {"is no revision"});
  }
  EXPECT_TRUE(host_->requests().empty());
}

}  // namespace
}  // namespace onebit::hub
