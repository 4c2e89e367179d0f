// The GPU kernels on the host's processor (gpu_host.h), for tests.
#pragma once

#include "kernels/gpu/engine.h"

namespace onebit::gpu {

const Module& host_module();

}  // namespace onebit::gpu
