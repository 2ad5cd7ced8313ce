// GPU launchers of the fused networks: a block of threads is a team, and blocks are persistent. Weights, activations and
// the block's weight gradients live in shared memory; of a network too wide for that, packed weights and each block's
// gradients and activations lie in global memory instead, which the second-level cache serves.
#include "launch.cuh"

namespace fieldlab::gpu {
namespace {

constexpr int kThreads = 128;

struct AtomicAdd {
  __device__ void operator()(float* to, float value) const { atomicAdd(to, value); }
};

// Where the parts of a team's memory lie; nullptr: in shared memory.
struct Global {
  float* weights = nullptr;  // of all blocks
  float* own = nullptr;      // of each block, `own_size` floats
  std::int64_t own_size = 0;
};

__global__ void pack_kernel(MlpShape shape, const float* params, bool backward, float* packed) {
  const Team team{static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x), static_cast<int>(gridDim.x * blockDim.x)};
  pack_weights(team, shape, params, false, packed);
  if (backward) pack_weights(team, shape, params, true, packed + packed_size(shape));
}

__global__ void forward_kernel(MlpForward a, int tile, std::int64_t tiles, Global global) {
  extern __shared__ float4 shared[];
  float* memory = reinterpret_cast<float*>(shared);
  const Team team{static_cast<int>(threadIdx.x), kThreads};
  float* packed = global.weights;
  if (packed == nullptr) {
    packed = memory;
    memory += packed_size(a.shape);
    pack_weights(team, a.shape, a.params, false, packed);
  }
  for (std::int64_t t = blockIdx.x; t < tiles; t += gridDim.x) mlp_forward_tile(team, a, packed, memory, t * tile, tile);
}

__global__ void backward_kernel(MlpBackward a, int tile, std::int64_t tiles, Global global) {
  extern __shared__ float4 shared[];
  float* memory = reinterpret_cast<float*>(shared);
  const Team team{static_cast<int>(threadIdx.x), kThreads};
  const MlpBackwardScratch scratch =
      global.weights == nullptr
          ? MlpBackwardScratch(a.shape, tile, memory)
          : MlpBackwardScratch(a.shape, tile, global.weights, global.own + blockIdx.x * global.own_size, memory);
  if (global.weights == nullptr) mlp_backward_pack(team, a, scratch.packed, scratch.packed_transposed);
  mlp_backward_begin(team, a, scratch);
  for (std::int64_t t = blockIdx.x; t < tiles; t += gridDim.x) mlp_backward_tile(team, a, scratch, t * tile, tile);
  mlp_backward_end(team, a, scratch, AtomicAdd{});
}

// How a network's memory divides, in floats.
struct Sizes {
  std::int64_t weights, own, fast;
  std::int64_t all() const { return weights + own + fast; }
};

// The largest tile, from 64 samples down to 16, whose memory fits the device's shared memory; if none does, the same with
// nothing but the fast part there.
template <class Kernel, class Args, class SizesOf>
void launch(Kernel kernel, const Args& a, const Target& target, bool backward, const SizesOf& sizes_of) {
  if (a.n <= 0) return;
  const OnDevice on(target.device);
  int limit = 0, multiprocessors = 0, per_multiprocessor = 0;
  check(cudaDeviceGetAttribute(&limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, target.device), "reading a device limit");
  check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, target.device), "reading a device limit");
  const auto fitting = [&](auto floats) {
    int tile = kTile;
    while (tile >= 16 && floats(tile) * std::int64_t{sizeof(float)} > limit) tile /= 2;
    return tile;
  };
  int tile = fitting([&](int t) { return sizes_of(t).all(); });
  const bool wide = tile < 16;
  if (wide) tile = fitting([&](int t) { return sizes_of(t).fast; });
  if (tile < 16) throw std::runtime_error("this network is too wide for the shared memory of this device");
  const Sizes sizes = sizes_of(tile);
  const std::int64_t bytes = (wide ? sizes.fast : sizes.all()) * std::int64_t{sizeof(float)};
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
        "reserving shared memory");
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_multiprocessor, kernel, kThreads, bytes),
        "reading the occupancy of a kernel");
  const std::int64_t tiles = divide_up(a.n, tile);
  const std::int64_t blocks = min_of(tiles, std::int64_t{multiprocessors} * max_of(per_multiprocessor, 1));
  const cudaStream_t stream = stream_of(target);
  const StreamMemory memory(wide ? sizes.weights + blocks * sizes.own : 0, stream);
  Global global;
  if (wide) {
    global = {memory.data, memory.data + sizes.weights, sizes.own};
    pack_kernel<<<static_cast<unsigned>(multiprocessors), kThreads, 0, stream>>>(a.shape, a.params, backward, memory.data);
  }
  kernel<<<static_cast<unsigned>(blocks), kThreads, bytes, stream>>>(a, tile, tiles, global);
  check(cudaGetLastError(), "launching a network kernel");
}

}  // namespace

void mlp_forward(const MlpForward& a, const Target& target) {
  launch(forward_kernel, a, target, false, [&](int tile) {
    return Sizes{packed_size(a.shape), 0, forward_scratch(a.shape, tile) - packed_size(a.shape)};
  });
}
void mlp_backward(const MlpBackward& a, const Target& target) {
  launch(backward_kernel, a, target, true, [&](int tile) {
    using Scratch = MlpBackwardScratch;
    return Sizes{Scratch::weights_size(a.shape), Scratch::own_size(a.shape, tile), Scratch::fast_size(a.shape, tile)};
  });
}

}  // namespace fieldlab::gpu
