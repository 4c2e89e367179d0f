// Split-KV attention of one token on a GPU beside what it replaced: one block of threads for each KV head, which walks
// over the whole context itself. Same kernel, same inner loops; the logits must have the same bits. The times are of
// attention inside the token's pass, its result's way to whoever needs it included: between the layers' weights go by,
// so a layer's keys and values come from memory.
//
//   gpu_attn_fd DEVICE MODEL [ROUNDS]: one line of JSON for each KV type and context length
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "backend/gpu_backend.h"

namespace onebit::lab {
namespace {

[[noreturn]] void stop(const Error& error) {
  std::fprintf(stderr, "gpu_attn_fd: %s\n", error.message.c_str());
  std::exit(1);
}
template <class T>
T take(Result<T> result) {
  if (!result) stop(result.error());
  return *std::move(result);
}

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

/// A sequence on a backend of its own.
class Side {
 public:
  Side(const ModelWeights& weights, const GpuModule& module, int device, KvType type, bool split)
      : layers_(weights.config.layers) {
    GpuOptions options{.kv_type = type, .device = device, .split_kv = split, .profile = &profile_};
    options.kv_bytes = uint64_t{4} << 30;
    backend_ = take(make_gpu_backend(weights, module, options));
    kv_ = backend_->new_kv_cache();
  }

  /// Tokens up to `length` positions.
  void fill(uint32_t length) {
    profile_.on = false;
    while (kv_->length() < length) {
      std::vector<TokenId> ids(std::min(backend_->prefill_chunk(), length - kv_->length()));
      for (auto& id : ids) id = static_cast<TokenId>(random_() % backend_->config().vocabulary);
      forward(ids, LogitRows::kNone);
    }
  }
  /// One token more, which is forgotten again. Microseconds of attention a layer.
  double step() {
    profile_ = {};
    const uint32_t length = kv_->length();
    const std::vector<TokenId> id{7};
    forward(id, LogitRows::kLast);
    kv_->truncate(length);
    return profile_[StepPart::kAttention] * 1e6 / layers_;
  }
  const std::vector<float>& logits() const { return logits_.values; }

 private:
  void forward(std::span<const TokenId> ids, LogitRows rows) {
    const BatchItem item{kv_.get(), ids, rows};
    if (const auto status = backend_->forward({&item, 1}, logits_); !status) stop(status.error());
  }

  uint32_t layers_;
  StepProfile profile_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<KvCache> kv_;
  std::mt19937 random_{1};
  Logits logits_;
};

void measure(Side& split, Side& single, KvType type, uint32_t length, int rounds) {
  split.fill(length - 1);
  single.fill(length - 1);
  std::vector<double> split_us, single_us, ratios;
  for (int round = 0; round <= rounds; ++round) {
    const double a = split.step(), b = single.step();
    if (round == 0) continue;
    split_us.push_back(a);
    single_us.push_back(b);
    ratios.push_back(b / a);
  }
  const bool same = split.logits().size() == single.logits().size() &&
                    std::memcmp(split.logits().data(), single.logits().data(), split.logits().size() * 4) == 0;
  std::printf(
      "{\"kv\": \"%s\", \"length\": %u, \"split_us\": %.2f, \"single_us\": %.2f, \"ratio\": %.3f, \"ratios_seen\": "
      "[%.3f, "
      "%.3f], \"rounds\": %d, \"same_bits\": %s}\n",
      std::string(name_of(type)).c_str(), length, median(split_us), median(single_us), median(ratios),
      *std::min_element(ratios.begin(), ratios.end()), *std::max_element(ratios.begin(), ratios.end()), rounds,
      same ? "true" : "false");
  std::fflush(stdout);
  if (!same) std::exit(1);
}

int run(const char* device_name, const char* path, int rounds) {
  const auto device = take(device_by_name(device_name));
  const auto module = take(load_gpu_module(device.module));
  const auto file = take(H1bFile::open(path));
  const auto weights = take(bind_weights(file, HeadChoice::kStored));
  for (const auto type : {KvType::kF16, KvType::kQ8}) {
    Side split(weights, module, device.index, type, true), single(weights, module, device.index, type, false);
    for (uint32_t length = 256; length <= std::min(32768u, weights.config.context); length *= 2)
      measure(split, single, type, length, rounds);
  }
  return 0;
}

}  // namespace
}  // namespace onebit::lab

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: gpu_attn_fd DEVICE MODEL [ROUNDS]\n");
    return 2;
  }
  return onebit::lab::run(argv[1], argv[2], argc > 3 ? std::atoi(argv[3]) : 15);
}
