#include "base/share.h"

#include <charconv>
#include <chrono>
#include <cstdlib>
#include <thread>
#include <vector>

namespace onebit {
namespace {

bool read_number(std::string_view text, uint32_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

std::string Share::path(const std::string& all) const {
  return fmt::format("{}.{}-of-{}", all, index, count);
}

Result<Share> parse_share(std::string_view text) {
  Share share;
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos || !read_number(text.substr(0, slash), share.index) ||
      !read_number(text.substr(slash + 1), share.count) || share.index >= share.count)
    return fail("'{}' is no share: expected I/N, with I from 0 to N - 1", text);
  return share;
}

Result<Share> share_of_environment() {
  const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
  const char* size = std::getenv("OMPI_COMM_WORLD_SIZE");
  if (rank == nullptr || size == nullptr) return Share{};
  auto share = parse_share(fmt::format("{}/{}", rank, size));
  if (!share) return fail("OMPI_COMM_WORLD_RANK and _SIZE, as mpirun sets them: {}", share.error().message);
  return share;
}

Status do_shares(Share own, const std::function<Result<bool>(Share)>& work, int pause_ms) {
  std::vector<bool> done(own.count);
  for (;;) {
    bool all = true;
    for (uint32_t i = 0; i < own.count; ++i) {
      const uint32_t index = (own.index + i) % own.count;
      if (done[index]) continue;
      ASSIGN_OR_RETURN(const bool now, work(Share{index, own.count}));
      done[index] = now;
      all = all && now;
    }
    if (all) return {};
    std::this_thread::sleep_for(std::chrono::milliseconds(pause_ms));
  }
}

}  // namespace onebit
