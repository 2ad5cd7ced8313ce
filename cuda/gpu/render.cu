// GPU launcher of the fused renderer: a block of threads is a team, one ray in flight a thread.
#include "launch.cuh"

namespace fieldlab::gpu {
namespace {

constexpr int kThreads = 128;
constexpr std::int64_t kRays = 512;  // a block's share at a time

static_assert(sizeof(RenderField) < 32000, "the arguments of a kernel are limited");

__global__ void render_kernel(const __grid_constant__ RenderField a, int tile, std::int64_t chunks) {
  extern __shared__ float4 shared[];
  float* memory = reinterpret_cast<float*>(shared);
  const Team team{static_cast<int>(threadIdx.x), kThreads};
  const FieldTile field(a.field, tile, memory);
  const RenderScratch scratch(tile, memory + FieldTile::scratch(a.field, tile));
  field.begin(team);
  for (std::int64_t c = blockIdx.x; c < chunks; c += gridDim.x) {
    team.sync();
    render_chunk(team, a.rays, field, scratch, c * kRays, min_of((c + 1) * kRays, a.rays.n), tile);
  }
}

}  // namespace

void render_field(const RenderField& a, const Target& target) {
  if (a.rays.n <= 0) return;
  const OnDevice on(target.device);
  const auto bytes_of = [&](int tile) {
    return FieldTile::scratch(a.field, tile) * std::int64_t{sizeof(float)} + RenderScratch::bytes(tile);
  };
  int limit = 0, multiprocessors = 0, per_multiprocessor = 0;
  check(cudaDeviceGetAttribute(&limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, target.device), "reading a device limit");
  check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, target.device), "reading a device limit");
  int tile = kRenderTile;
  while (tile > 32 && bytes_of(tile) > limit) tile /= 2;
  const std::int64_t bytes = bytes_of(tile);
  if (bytes > limit) throw std::runtime_error("this field is too wide for the shared memory of this device");
  check(cudaFuncSetAttribute(render_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
        "reserving shared memory");
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_multiprocessor, render_kernel, kThreads, bytes),
        "reading the occupancy of a kernel");
  const std::int64_t chunks = divide_up(a.rays.n, kRays);
  const std::int64_t blocks = min_of(chunks, std::int64_t{multiprocessors} * max_of(per_multiprocessor, 1));
  render_kernel<<<static_cast<unsigned>(blocks), kThreads, bytes, stream_of(target)>>>(a, tile, chunks);
  check(cudaGetLastError(), "launching the renderer");
}

}  // namespace fieldlab::gpu
