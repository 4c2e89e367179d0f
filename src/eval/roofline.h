// What a machine could do at most, and what of it a token takes: decode is bytes over bandwidth, prefill
// products over the processor's peak (Williams, Waterman, Patterson 2009).
#pragma once

#include <chrono>

#include "backend/backend.h"
#include "backend/weights.h"
#include "base/result.h"
#include "format/h1b_file.h"
#include "format/model_config.h"

namespace onebit {

/// Bytes that computing one token reads.
struct TokenBytes {
  uint64_t ternary = 0;          // products of all layers, with their scales
  uint64_t head = 0;             // output layer
  uint64_t kv = 0;               // keys and values of the positions before, and its own
  uint64_t other = 0;            // norms, its embedding, RoPE tables, activations
  uint64_t ternary_weights = 0;  // how many weights the products have
  uint64_t total() const { return ternary + head + kv + other; }
};

/// At a depth of `positions`.
TokenBytes token_bytes(const ModelWeights& weights, KvType kv_type, uint32_t positions);

/// The best read bandwidth in bytes a second that `threads` threads were seen to reach, over several patterns
/// of access and `rounds` rounds each; about 0.1 s a round. Once `most` has passed, what was seen until then.
double measure_read_bandwidth(unsigned threads, unsigned rounds, std::chrono::seconds most = std::chrono::hours(1));

/// Products of int8 with int8 a second, in registers, on `threads` threads, by this machine's best instruction.
double measure_dot_peak(unsigned threads, unsigned rounds);

}  // namespace onebit
