// gen-1: the whole model in the reference operations. The oracle for every other backend.
#pragma once

#include <functional>
#include <memory>

#include "backend/backend.h"
#include "backend/weights.h"

namespace onebit {

/// Called with the residual stream [tokens][hidden] after the embedding and after each half of each
/// layer ("embedding", "blk.0.attention", "blk.0.ffn", …, "output_norm"); for checks from outside.
using ResidualObserver = std::function<void(std::string_view place, std::span<const float> x)>;

/// `weights` borrows from a model file that must outlive the backend. Not thread-safe.
std::unique_ptr<Backend> make_reference_backend(ModelWeights weights, KvType kv_type, ResidualObserver observer = {});

}  // namespace onebit
