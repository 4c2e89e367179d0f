// gen-2 on the CPU: the reference's bits at the machine's bandwidth.
#pragma once

#include <memory>

#include "backend/backend.h"
#include "backend/step_profile.h"
#include "backend/weights.h"
#include "kernels/cpu/select.h"

namespace onebit {

struct CpuOptions {
  KvType kv_type = KvType::kF16;
  unsigned threads = 0;                   // 0: one for each processor this process may use
  bool pin = false;                       // each thread on a processor of its own
  StepProfile* profile = nullptr;         // where times are added, if anywhere
  const cpu::Kernels* kernels = nullptr;  // null: the best of this machine
};

/// `weights` borrows from a model file that must outlive the backend. One thread at a time may call it.
std::unique_ptr<Backend> make_cpu_backend(ModelWeights weights, const CpuOptions& options);

}  // namespace onebit
