// What GPU code needs of a GPU, by CPU threads: a thread per GPU thread, shuffles through shared memory, barriers that hang
// if a thread stays away, just as it would be wrong there.
#pragma once
#include <pthread.h>

#include <cstring>
#include <thread>
#include <vector>

#define __host__
#define __device__
#define __forceinline__ inline
#define __CUDACC__ 1
#define __CUDA_ARCH__ 900
#define FL_NO_HALF 1

namespace {
pthread_barrier_t barrier;
float slots[32];
thread_local int lane = 0;

float exchange(float value, int from) {
  slots[lane] = value;
  pthread_barrier_wait(&barrier);
  const float result = from >= 0 && from < 32 ? slots[from] : value;
  pthread_barrier_wait(&barrier);
  return result;
}
inline float __shfl_sync(unsigned, float v, int from) { return exchange(v, from); }
inline float __shfl_xor_sync(unsigned, float v, int mask) { return exchange(v, lane ^ mask); }
inline float __shfl_up_sync(unsigned, float v, int by) { return exchange(v, lane - by); }
inline float __shfl_down_sync(unsigned, float v, int by) { return exchange(v, lane + by); }
inline void __syncwarp() { pthread_barrier_wait(&barrier); }
inline void __syncthreads() { pthread_barrier_wait(&barrier); }
inline int __popcll(unsigned long long word) { return __builtin_popcountll(word); }
inline int __ffsll(long long word) { return __builtin_ffsll(word); }
inline int __float_as_int(float v) {
  int bits;
  std::memcpy(&bits, &v, 4);
  return bits;
}
inline float __int_as_float(int v) {
  float value;
  std::memcpy(&value, &v, 4);
  return value;
}
inline int atomicAdd(int* at, int v) { return __atomic_fetch_add(at, v, __ATOMIC_RELAXED); }
inline int atomicMax(int* at, int v) {
  int found = *at;
  while (found < v && !__atomic_compare_exchange(at, &found, &v, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return found;
}
}  // namespace

