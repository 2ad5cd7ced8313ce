// GPU launcher of the fused renderer: a block of threads is a team, one ray in flight a thread.
#include "launch.cuh"

namespace fieldlab::gpu {
namespace {

constexpr int kThreads = 128;
constexpr std::int64_t kRays = 512;  // a block's share at a time

static_assert(sizeof(RenderField) < 32000, "the arguments of a kernel are limited");

__global__ void pack_kernel(const __grid_constant__ RenderField a, float* weights) {
  const Team team{static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x), static_cast<int>(gridDim.x * blockDim.x)};
  FieldTile(a.field, 0, weights, nullptr).pack(team);
}

// `weights`: packed already, in global memory; nullptr: every block packs its own in shared memory.
__global__ void render_kernel(const __grid_constant__ RenderField a, float* weights, int tile, std::int64_t chunks) {
  extern __shared__ float4 shared[];
  float* memory = reinterpret_cast<float*>(shared);
  float* packed = weights == nullptr ? memory : weights;
  if (weights == nullptr) memory += FieldTile::weights_size(a.field);
  const Team team{static_cast<int>(threadIdx.x), kThreads};
  const FieldTile field(a.field, tile, packed, memory);
  const RenderScratch scratch(tile, memory + whole_lines(FieldTile::scratch(a.field, tile)));
  if (weights == nullptr) field.pack(team);
  for (std::int64_t c = blockIdx.x; c < chunks; c += gridDim.x) {
    team.sync();
    render_chunk(team, a.rays, field, scratch, c * kRays, min_of((c + 1) * kRays, a.rays.n), tile);
  }
}

}  // namespace

void render_field(const RenderField& a, const Target& target) {
  if (a.rays.n <= 0) return;
  const OnDevice on(target.device);
  int limit = 0, multiprocessors = 0, per_multiprocessor = 0;
  check(cudaDeviceGetAttribute(&limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, target.device), "reading a device limit");
  check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, target.device), "reading a device limit");
  // Weights go to shared memory unless that leaves no room for tiles of 32 samples.
  const auto bytes_of = [&](int tile, bool weights) {
    const std::int64_t floats = whole_lines(FieldTile::scratch(a.field, tile)) + (weights ? FieldTile::weights_size(a.field) : 0);
    return floats * std::int64_t{sizeof(float)} + RenderScratch::bytes(tile);
  };
  const bool wide = bytes_of(32, true) > limit;
  int tile = kRenderTile;
  while (tile > 16 && bytes_of(tile, !wide) > limit) tile /= 2;
  const std::int64_t bytes = bytes_of(tile, !wide);
  if (bytes > limit) throw std::runtime_error("this field is too wide for the shared memory of this device");
  const StreamMemory weights(wide ? FieldTile::weights_size(a.field) : 0, stream_of(target));
  if (wide) pack_kernel<<<static_cast<unsigned>(multiprocessors), kThreads, 0, stream_of(target)>>>(a, weights.data);
  check(cudaFuncSetAttribute(render_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
        "reserving shared memory");
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_multiprocessor, render_kernel, kThreads, bytes),
        "reading the occupancy of a kernel");
  const std::int64_t chunks = divide_up(a.rays.n, kRays);
  const std::int64_t blocks = min_of(chunks, std::int64_t{multiprocessors} * max_of(per_multiprocessor, 1));
  render_kernel<<<static_cast<unsigned>(blocks), kThreads, bytes, stream_of(target)>>>(a, weights.data, tile, chunks);
  check(cudaGetLastError(), "launching the renderer");
}

}  // namespace fieldlab::gpu
