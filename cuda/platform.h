// What every kernel header stands on: the two processors' function qualifiers, the place a call runs, loops over work,
// and the "team" that lets one tile algorithm run on a CPU core or on a block of GPU threads.
#pragma once
#include <cmath>
#include <cstdint>

#include "fields.h"

#ifdef __CUDACC__
#define FL_HD __host__ __device__ __forceinline__
#define FL_LARGE FL_HD
#else
#define FL_HD inline __attribute__((always_inline))
#define FL_LARGE inline __attribute__((noinline))  // large functions used in several places
#endif

namespace fieldlab {

// Where a call runs: CPU threads, or a device and the stream to launch on.
struct Target {
  bool cuda = false;
  int threads = 1;
  int device = 0;
  std::uintptr_t stream = 0;
};

// A float array [samples, channels] in any layout; strides are in elements.
template <class T>
struct Matrix {
  T* data = nullptr;
  std::int64_t stride_sample = 0;
  std::int64_t stride_channel = 0;
  FL_HD T& at(std::int64_t sample, std::int64_t channel) const {
    return data[sample * stride_sample + channel * stride_channel];
  }
};
using MatrixIn = Matrix<const float>;
using MatrixOut = Matrix<float>;

// The threads that work on one tile together: one CPU thread, or a block of GPU threads that share fast memory.
struct Team {
  int rank = 0;
  int size = 1;
  FL_HD void sync() const {
#ifdef __CUDA_ARCH__
    __syncthreads();
#endif
  }
};

template <class T>
FL_HD T min_of(T a, T b) { return b < a ? b : a; }
template <class T>
FL_HD T max_of(T a, T b) { return a < b ? b : a; }
FL_HD float clamp_to(float x, float low, float high) { return min_of(max_of(x, low), high); }
FL_HD std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

}  // namespace fieldlab
