// gen-2 on a GPU: the reference's bits. Pages of keys and values and their sharing are kept here; what computes is a
// module's engine (kernels/gpu/engine.h).
#pragma once

#include <memory>

#include "backend/backend.h"
#include "backend/gpu_module.h"
#include "backend/step_profile.h"
#include "backend/weights.h"

namespace onebit {

struct GpuOptions {
  KvType kv_type = KvType::kF16;
  int device = 0;                  // of the module's
  uint64_t kv_bytes = 0;           // for keys and values; 0: 64 full contexts, at most a quarter of the free memory
  bool in_place = true;            // weights are read from the mapped file where host and device share memory
  bool split_kv = true;            // of one token's attention; false: the baseline of benchmarks/attn_fd.sh
  StepProfile* profile = nullptr;  // where times of steps of one token are added, if anywhere
};

/// `weights` borrows from a model file that must outlive the backend. One thread at a time may call it. Errors: a model
/// that the engine does not take, too little memory, a device that fails.
Result<std::unique_ptr<Backend>> make_gpu_backend(ModelWeights weights, const GpuModule& module,
                                                  const GpuOptions& options);

}  // namespace onebit
