// Launching on PyTorch's current stream and device; errors become exceptions.
#pragma once
#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

#include "operations.h"

namespace fieldlab::gpu {

inline void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

// Makes a device current for one call.
struct OnDevice {
  int before = 0;
  explicit OnDevice(int device) {
    check(cudaGetDevice(&before), "reading the current CUDA device");
    check(cudaSetDevice(device), "choosing the CUDA device");
  }
  ~OnDevice() { cudaSetDevice(before); }
};

inline cudaStream_t stream_of(const Target& target) { return reinterpret_cast<cudaStream_t>(target.stream); }

// Memory of the stream, given back to it at the end.
struct StreamMemory {
  float* data = nullptr;
  cudaStream_t stream;
  StreamMemory(std::int64_t floats, cudaStream_t stream_) : stream(stream_) {
    if (floats > 0) check(cudaMallocAsync(&data, floats * sizeof(float), stream), "reserving memory");
  }
  ~StreamMemory() {
    if (data != nullptr) cudaFreeAsync(data, stream);
  }
  StreamMemory(const StreamMemory&) = delete;
  StreamMemory& operator=(const StreamMemory&) = delete;
};

template <class Body>
__global__ void each_kernel(std::int64_t n, Body body) {
  for (std::int64_t i = blockIdx.x * std::int64_t{blockDim.x} + threadIdx.x; i < n; i += std::int64_t{gridDim.x} * blockDim.x)
    body(i);
}

// body(i), a __device__ lambda, for i in [0,n), one thread each.
template <class Body>
void each(std::int64_t n, const Target& target, const Body& body, int block = 128) {
  if (n <= 0) return;
  const OnDevice on(target.device);
  const std::int64_t blocks = min_of<std::int64_t>(divide_up(n, block), 1 << 20);
  each_kernel<<<static_cast<unsigned>(blocks), block, 0, stream_of(target)>>>(n, body);
  check(cudaGetLastError(), "launching a kernel");
}

template <class Body>
__global__ void each_ray_kernel(std::int64_t rays, Body body) {
  const Group group{static_cast<int>(threadIdx.x & 31), 32};
  const std::int64_t warps = std::int64_t{gridDim.x} * (blockDim.x / 32);
  for (std::int64_t ray = (blockIdx.x * std::int64_t{blockDim.x} + threadIdx.x) / 32; ray < rays; ray += warps)
    body(ray, group);
}

// body(ray, group), a __device__ lambda, for every ray, with the 32 threads of a warp.
template <class Body>
void each_ray(std::int64_t rays, const Target& target, const Body& body) {
  if (rays <= 0) return;
  const OnDevice on(target.device);
  constexpr int block = 128;
  const std::int64_t blocks = min_of<std::int64_t>(divide_up(rays, block / 32), 1 << 20);
  each_ray_kernel<<<static_cast<unsigned>(blocks), block, 0, stream_of(target)>>>(rays, body);
  check(cudaGetLastError(), "launching a kernel");
}

}  // namespace fieldlab::gpu
