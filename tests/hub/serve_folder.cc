// serve_folder FOLDER OWNER/NAME [BYTES_A_SECOND]: a Hugging-Face-shaped host of one repository, for tests of programs.
// Prints its URL and serves until it is ended.
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "tests/hub/host.h"
#include "tests/support/temp_folder.h"

int main(int argc, char** argv) {
  using namespace onebit::test;
  if (argc < 3) {
    fmt::print(stderr, "usage: serve_folder FOLDER OWNER/NAME [BYTES_A_SECOND]\n");
    return 2;
  }
  HostedRepo repo;
  repo.name = argv[2];
  for (const auto& entry : std::filesystem::directory_iterator(argv[1])) {
    const auto name = entry.path().filename().string();
    const bool lfs = name.ends_with(".safetensors") || name.ends_with(".gguf") || name.ends_with(".h1b");
    repo.add(name, read_file(entry.path().string()), lfs);
  }
  const size_t pace = argc > 3 ? std::strtoul(argv[3], nullptr, 10) : 0;
  Host host;
  host.start([&](const HostRequest& request, HostConnection& connection) {
    const auto* file = repo.file_of(request.target);
    if (file == nullptr || pace == 0) return repo.answer(request, connection);
    const auto [head, body] = file_answer(*file, request);
    bool there = connection.send(head);
    for (size_t at = 0; there && at < body.size(); at += pace / 20) {
      there = connection.send(std::string_view(body).substr(at, pace / 20));
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  });
  fmt::print("{}\n", host.url());
  std::fflush(stdout);
  for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
}
