// A library with the functions that nvml.cc takes from NVIDIA's, for one device at 0000:01:00.0. Built twice:
// with a counter of energy, and, as for older cards, without (ONEBIT_NO_COUNTER).
#include <cstring>

namespace {
int device = 0;
[[maybe_unused]] constexpr int kNotSupported = 3;
constexpr int kNotFound = 6;
}  // namespace

extern "C" {
int nvmlInit_v2() {
  return 0;
}
int nvmlDeviceGetHandleByPciBusId_v2(const char* address, void** found) {
  *found = &device;
  return std::strcmp(address, "0000:01:00.0") == 0 ? 0 : kNotFound;
}
int nvmlDeviceGetTotalEnergyConsumption(void*, [[maybe_unused]] unsigned long long* millijoules) {
#ifdef ONEBIT_NO_COUNTER
  return kNotSupported;
#else
  static unsigned long long reads = 0;
  *millijoules = 5000000 + 250 * reads++;
  return 0;
#endif
}
int nvmlDeviceGetCount_v2(unsigned* count) {
  *count = 2;  // the second cannot be asked
  return 0;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** found) {
  *found = &device;
  return index == 0 ? 0 : kNotFound;
}
int nvmlDeviceGetName(void*, char* name, unsigned size) {
  std::strncpy(name, "Some GPU", size);
  return 0;
}
int nvmlDeviceGetTemperature(void*, int sensor, unsigned* celsius) {
  *celsius = 64;
  return sensor == 0 ? 0 : kNotFound;
}
int nvmlDeviceGetPowerUsage(void*, unsigned* milliwatts) {
  *milliwatts = 300000;
  return 0;
}
}
