// GPU launchers of the fused networks: a block of threads is a team; weights, activations and the block's weight
// gradients live in shared memory, and blocks are persistent so that they are packed and reduced once.
#include "launch.cuh"

namespace fieldlab::gpu {
namespace {

constexpr int kThreads = 128;

struct AtomicAdd {
  __device__ void operator()(float* to, float value) const { atomicAdd(to, value); }
};

__global__ void forward_kernel(MlpForward a, int tile, std::int64_t tiles) {
  extern __shared__ float4 shared[];
  float* memory = reinterpret_cast<float*>(shared);
  const Team team{static_cast<int>(threadIdx.x), kThreads};
  pack_weights(team, a.shape, a.params, false, memory);
  float* buffers = memory + packed_size(a.shape);
  for (std::int64_t t = blockIdx.x; t < tiles; t += gridDim.x) mlp_forward_tile(team, a, memory, buffers, t * tile, tile);
}

__global__ void backward_kernel(MlpBackward a, int tile, std::int64_t tiles) {
  extern __shared__ float4 shared[];
  const Team team{static_cast<int>(threadIdx.x), kThreads};
  const MlpBackwardScratch scratch(a.shape, tile, reinterpret_cast<float*>(shared));
  mlp_backward_begin(team, a, scratch);
  for (std::int64_t t = blockIdx.x; t < tiles; t += gridDim.x) mlp_backward_tile(team, a, scratch, t * tile, tile);
  mlp_backward_end(team, a, scratch, AtomicAdd{});
}

// The largest tile, from 64 samples down to 16, whose scratch memory fits the device's shared memory.
template <class Kernel, class Args, class Size>
void launch(Kernel kernel, const Args& a, const Target& target, const Size& scratch_floats) {
  if (a.n <= 0) return;
  const OnDevice on(target.device);
  int limit = 0, multiprocessors = 0, per_multiprocessor = 0;
  check(cudaDeviceGetAttribute(&limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, target.device), "reading a device limit");
  check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, target.device), "reading a device limit");
  int tile = kTile;
  while (tile > 16 && scratch_floats(tile) * std::int64_t{sizeof(float)} > limit) tile /= 2;
  const std::int64_t bytes = scratch_floats(tile) * std::int64_t{sizeof(float)};
  if (bytes > limit) throw std::runtime_error("this network is too wide or deep for the shared memory of this device");
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
        "reserving shared memory");
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_multiprocessor, kernel, kThreads, bytes),
        "reading the occupancy of a kernel");
  const std::int64_t tiles = divide_up(a.n, tile);
  const std::int64_t blocks = min_of(tiles, std::int64_t{multiprocessors} * max_of(per_multiprocessor, 1));
  kernel<<<static_cast<unsigned>(blocks), kThreads, bytes, stream_of(target)>>>(a, tile, tiles);
  check(cudaGetLastError(), "launching a network kernel");
}

}  // namespace

void mlp_forward(const MlpForward& a, const Target& target) {
  launch(forward_kernel, a, target, [&](int tile) { return forward_scratch(a.shape, tile); });
}
void mlp_backward(const MlpBackward& a, const Target& target) {
  launch(backward_kernel, a, target, [&](int tile) { return backward_scratch(a.shape, tile); });
}

}  // namespace fieldlab::gpu
