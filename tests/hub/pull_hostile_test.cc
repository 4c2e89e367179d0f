// `pull` and hosts that lie: one sentence, and nothing half-written.
#include "tests/hub/pull_fixture.h"

namespace onebit::hub {
namespace {

using HostilePull = Pull;

TEST_F(HostilePull, AnIndexThatNamesWhatIsNotListedIsRefused) {
  for (const std::string name : {"../../x.safetensors", "/etc/x.safetensors", "other.safetensors", "config.json"}) {
    repo.add("model.safetensors.index.json", R"({"weight_map": {"a": ")" + name + R"("}})");
    host();
    expect_error(run(), {"weight_map names '" + name + "'"});
  }
}

TEST_F(HostilePull, AHostThatNeverSendsAnythingEndsItAfterSomeTries) {
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

TEST_F(HostilePull, AHostThatSendsAByteAtATimeEndsIt) {
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

TEST_F(HostilePull, ASilentHostIsLeft) {
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

TEST_F(HostilePull, LiesAboutLengthsAreSentences) {
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

TEST_F(HostilePull, AWholeFileOfAnotherLengthThanListedIsRefused) {
  for (const uint64_t listed : {uint64_t{10}, uint64_t{30}}) {
    repo.files.at("config.json").listed = listed;
    host();
    expect_error(run(), {"config.json", fmt::format("lists {} bytes", listed)});
    expect_error(run(), {"tester/tiny", host_->url(), "try again"});
    EXPECT_FALSE(std::filesystem::exists(folder()));  // it was the first file, and nothing is left of it
  }
}

TEST_F(HostilePull, AWrongHashIsThrownAway) {
  repo.files.at("model.safetensors").hash = std::string(64, '0');
  host([&](const HostRequest& request, HostConnection& connection) {
    const auto* file = repo.file_of(request.target);
    if (file == nullptr) return false;
    const auto [head, body] = file_answer(*file, request);
    connection.send(head) && connection.send(body);
    return true;
  });
  expect_none(run(),
              {"tester/tiny: model.safetensors", "has not the hash", std::string(64, '0'), host_->url(), "--endpoint"});
  EXPECT_FALSE(std::filesystem::exists(part_path(weights_path())));
  EXPECT_EQ(count(is_weights), 5u);  // once, and not again
  repo = small_repo();
  repo.files.at("config.json").hash = std::string(40, '0');  // files in git have git's hash
  expect_error(run(), {"config.json", "has not the hash"});
}

TEST_F(HostilePull, AHashOnTheWayThatIsNotTheListedOneIsRefused) {
  host_of_weights([&](const HostRequest& request, HostConnection& connection) {
    auto [head, body] = file_answer(weights(), request);
    head.insert(head.find("ETag"), "X-Linked-ETag: \"" + std::string(64, 'b') + "\"\r\n");
    connection.send(head) && connection.send(body);
    return true;
  });
  expect_none(run(), {"model.safetensors", std::string(64, 'b')});
}

TEST_F(HostilePull, AFileThatChangesAllTheTimeEndsIt) {
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

TEST_F(HostilePull, ARateLimitIsKept) {
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

TEST_F(HostilePull, AHostThatAsksForTooLongAWaitEndsIt) {
  host_of_weights([&](const HostRequest&, HostConnection& connection) {
    connection.send(http_answer("429 Too Many Requests", "", "Retry-After: 999999\r\n"));
    return true;
  });
  const auto begin = Clock::now();
  expect_none(run(), {"429", "wait 999999 s"});
  EXPECT_LT(Clock::now() - begin, std::chrono::seconds(60));
}

TEST_F(HostilePull, TroubleThatPassesIsWaitedFor) {
  std::atomic<int> refusals{0};
  host([&](const HostRequest&, HostConnection& connection) {
    if (++refusals % 2 == 0) return false;
    connection.send(http_answer("503 Service Unavailable", "busy"));
    return true;
  });
  expect_whole(run());
}

TEST_F(HostilePull, RefusalsSayWhatToDo) {
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

TEST_F(HostilePull, NoTokenGoesToAnotherHost) {
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

TEST_F(HostilePull, RedirectsEnd) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"/tester/tiny/resolve/main/model.safetensors", "more than 10 times"},
      {"file:///etc/passwd", "file:///etc/passwd"},
      {"ftp://127.0.0.1/x", "neither http nor https"},
      {"http://user:word@127.0.0.1/x", ""}};
  for (const auto& [location, says] : cases) {
    host_of_weights([&, &to = location](const HostRequest&, HostConnection& connection) {
      connection.send(http_answer("302 Found", "", fmt::format("Location: {}\r\n", to)));
      return true;
    });
    expect_none(run(), {"tester/tiny: model.safetensors", host_->url(), says});
    EXPECT_LE(count(is_weights), 60u) << location;
  }
}

TEST_F(HostilePull, HostilePathsAreRefused) {
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

TEST_F(HostilePull, EndlessListingsAreBounded) {
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

TEST_F(HostilePull, AHostOfPagesIsNamedAsOne) {
  for (const bool tree_only : {false, true}) {
    host([&](const HostRequest& request, HostConnection& connection) {
      const bool missing = tree_only && request.target.find("/tree/") == std::string::npos;
      connection.send(missing ? http_answer("404 Not Found", "")
                              : http_answer("200 OK", "\n<!DOCTYPE html><html>Log in</html>"));
      return true;
    });
    expect_error(run(), {"tester/tiny", host_->url(), "not the API of a Hugging Face host", "--endpoint"});
  }
}

TEST_F(HostilePull, AListingThatGoesOnElsewhereIsRefused) {
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

}  // namespace
}  // namespace onebit::hub
