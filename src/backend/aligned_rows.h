// Rows of numbers in memory that vector instructions like.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>

namespace onebit {

/// [rows][width] of a plain type, 64-byte aligned, each row beginning on a cache line. Contents are lost when it grows.
template <class T>
class AlignedRows {
 public:
  void resize(size_t rows, size_t width) {
    constexpr size_t kLine = 64 / sizeof(T);
    width_ = (width + kLine - 1) / kLine * kLine;
    if (rows * width_ <= capacity_) return;
    capacity_ = rows * width_;
    data_.reset(static_cast<T*>(std::aligned_alloc(64, capacity_ * sizeof(T))));
    if (!data_) throw std::bad_alloc();
    std::fill_n(data_.get(), capacity_, T());
  }
  T* row(size_t i) { return data_.get() + i * width_; }
  const T* row(size_t i) const { return data_.get() + i * width_; }
  /// Elements from a row to the next.
  size_t stride() const { return width_; }

 private:
  struct Free {
    void operator()(T* p) const { std::free(p); }
  };
  std::unique_ptr<T, Free> data_;
  size_t width_ = 0, capacity_ = 0;
};

}  // namespace onebit
