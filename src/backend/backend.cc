#include "backend/backend.h"

namespace onebit {
namespace {

constexpr const char* kNotForFiles =
    "this device does not keep conversations in files yet: serve them with --device cpu";

}  // namespace

Status Backend::write_kv(const KvCache& /*kv*/,
                         const std::function<Status(std::span<const std::byte>)>& /*page*/) const {
  return fail("{}", kNotForFiles);
}

Result<std::unique_ptr<KvCache>> Backend::read_kv(uint32_t /*length*/,
                                                  const std::function<Status(std::span<std::byte>)>& /*page*/) {
  return fail("{}", kNotForFiles);
}

}  // namespace onebit
