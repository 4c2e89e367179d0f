// The module for the host, for tests: every GPU kernel on any machine.
#include "kernels/gpu/module_host.h"

#include "kernels/gpu/engine.inl.h"

namespace onebit::gpu {

const Module& host_module() {
  static const Module module{kInterface,      "host",       &device_count, &describe_device,
                             &read_bandwidth, &pci_address, &create_engine};
  return module;
}

}  // namespace onebit::gpu
