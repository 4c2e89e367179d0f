// `pull` and a host that does its best: what is fetched, what goes on after an end, what is refused before anything is.
#include "hub/folder_lock.h"
#include "hub/space.h"
#include "tests/hub/pull_fixture.h"

namespace onebit::hub {
namespace {

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

/// The paths in `folder`, of all that is no folder.
std::vector<std::string> paths_in(const std::string& folder) {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
    if (entry.symlink_status().type() != std::filesystem::file_type::directory)
      paths.push_back(std::filesystem::relative(entry.path(), folder).string());
  std::sort(paths.begin(), paths.end());
  return paths;
}

TEST_F(Pull, NothingOfAnEarlierCommitStays) {
  const auto weights_now = repo.files.at("model.safetensors");
  repo.files.erase("model.safetensors");
  repo.add("model-00001-of-00001.safetensors", random_bytes(70'000, 2), true);
  repo.add("model.safetensors.index.json", R"({"weight_map": {"a": "model-00001-of-00001.safetensors"}})");
  repo.add("generation_config.json", "{}");
  repo.add("1_Pooling/config.json", "{}");
  host();
  ASSERT_TRUE(run());
  EXPECT_EQ(paths_in(folder()), (std::vector<std::string>{"1_Pooling/config.json", "config.json",
                                                          "generation_config.json", "model-00001-of-00001.safetensors",
                                                          "model.safetensors.index.json", "tokenizer.json"}));
  // What others have put there goes too, but of links only the link.
  std::filesystem::create_directories(temp.path("elsewhere"));
  test::write_file(temp.path("elsewhere/config.json"), "{}");
  std::filesystem::create_directory_symlink(temp.path("elsewhere"), folder() + "/2_Dense");
  std::filesystem::create_symlink(temp.path("elsewhere/config.json"), folder() + "/vocab.json");
  repo = small_repo();
  repo.files.at("model.safetensors") = weights_now;
  host();
  expect_whole(run());
  EXPECT_EQ(paths_in(folder()), (std::vector<std::string>{"config.json", "model.safetensors", "tokenizer.json"}));
  EXPECT_FALSE(std::filesystem::exists(folder() + "/1_Pooling"));
  EXPECT_EQ(read_file(temp.path("elsewhere/config.json")), "{}");
}

TEST_F(Pull, AFolderThatIsALinkIsNotWrittenThrough) {
  repo.add("1_Pooling/config.json", R"({"word_embedding_dimension": 64})");
  std::filesystem::create_directories(folder());
  std::filesystem::create_directories(temp.path("elsewhere"));
  std::filesystem::create_directory_symlink(temp.path("elsewhere"), folder() + "/1_Pooling");
  host();
  expect_whole(run());
  EXPECT_TRUE(paths_in(temp.path("elsewhere")).empty());
  EXPECT_EQ(read_file(folder() + "/1_Pooling/config.json"), repo.files.at("1_Pooling/config.json").bytes);
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

TEST_F(Pull, ModelsThatDoNotFitAreRefusedBeforeAnythingIsFetched) {
  repo.files.at("model.safetensors").listed = uint64_t{1} << 49;
  host();
  expect_none(run(), {"GB", "make room"});
  EXPECT_EQ(count([](const auto& r) { return r.target.find("/resolve/") != std::string::npos; }), 0u);
  EXPECT_FALSE(std::filesystem::exists(folder()));
  repo.files.at("model.safetensors").listed.reset();
  repo.files.at("config.json").listed = uint64_t{1} << 40;
  expect_none(run(), {"config.json", "more than any such file"});
}

// One whose files fit, but not with the model that they become.
TEST_F(Pull, SpaceIsWantedForTheConvertedModelToo) {
  const auto available = free_space(temp.path(""));
  ASSERT_TRUE(available.has_value()) << available.error().message;
  if (*available > uint64_t{1} << 49) GTEST_SKIP() << "too much is free here for a size that a host may list";
  repo.files.at("model.safetensors").listed = *available / 100 * 47;
  host();
  expect_none(run(), {"to fetch", "for the converted model", "free: make room"});
  EXPECT_EQ(count([](const auto& r) { return r.target.find("/resolve/") != std::string::npos; }), 0u);
}

TEST(Space, HoldsWhatAConversionMayAdd) {
  // Of 128256 tokens, 4096 wide, 7e9 ternary weights: a GGUF file in tq1_0 with q4_0 and q6_k, then t2, bf16 and f16.
  constexpr uint64_t kTokens = uint64_t{128'256} * 4096, kTernary = 7'000'000'000,
                     kTables = uint64_t{131'072} * 128 * 4;
  EXPECT_GE(most_converted_bytes(kTernary * 27 / 128 + kTokens * 9 / 16 + kTokens * 105 / 128),
            kTernary / 4 + kTokens * 4 + kTables);
  // bitnet-b1.58-2B-4T, packed, its embedding in bf16 and tied to the head.
  constexpr uint64_t kSmall = uint64_t{128'256} * 2560;
  EXPECT_GE(most_converted_bytes(kSmall * 2 + 520'000'000), kSmall * 4 + 520'000'000 + 4096 * 128 * 4);
  EXPECT_LT(most_converted_bytes(1'000'000), uint64_t{110'000'000});  // a small model wants little
}

TEST(Space, SizesHaveASensibleUnit) {
  EXPECT_EQ(size_text(0), "0.0 MB");
  EXPECT_EQ(size_text(12'340'000), "12.3 MB");
  EXPECT_EQ(size_text(1'234'000'000), "1.23 GB");
}

TEST_F(Pull, OnePullAtATime) {
  std::filesystem::create_directories(folder());
  host();
  {
    const auto lock = FolderLock::take(folder());
    ASSERT_TRUE(lock.has_value());
    expect_none(run(), {"at work there"});
  }
  {
    const auto first = pull(options(), {});  // whose files are still in use
    ASSERT_TRUE(first.has_value()) << first.error().message;
    expect_error(run(), {"at work there"});
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
