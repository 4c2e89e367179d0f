// Device memory of tests of GPU kernels, for each implementation of the shim.
#pragma once

#include <gtest/gtest.h>

#include <vector>

#include "kernels/gpu/gpu_api.h"

namespace onebit::gpu {

/// Skipped where there is no device.
class GpuTest : public ::testing::Test {
 protected:
  ~GpuTest() override {
    for (auto* p : owned_) free_device(p);
  }
  void SetUp() override {
    if (device_count() == 0) GTEST_SKIP() << "no GPU";
  }

  /// Uninitialised; freed with the test.
  template <class T>
  T* device(size_t n) {
    auto* p = allocate_device(n * sizeof(T), outcome_);
    owned_.push_back(p);
    return static_cast<T*>(p);
  }
  template <class T>
  T* device(const std::vector<T>& values) {
    auto* p = device<T>(values.size());
    copy_to_device(p, values.data(), values.size() * sizeof(T), nullptr, outcome_);
    wait_for(nullptr, outcome_);
    return p;
  }
  template <class T>
  std::vector<T> host(const T* p, size_t n) {
    std::vector<T> values(n);
    copy_to_host(values.data(), p, n * sizeof(T), nullptr, outcome_);
    wait_for(nullptr, outcome_);
    EXPECT_TRUE(outcome_.ok()) << outcome_.text();
    return values;
  }

  Outcome outcome_;

 private:
  std::vector<void*> owned_;
};

}  // namespace onebit::gpu
