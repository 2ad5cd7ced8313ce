// GPU launcher of the fused renderer: a block of threads is a team, one ray in flight a thread.
#include "launch.cuh"

namespace fieldlab::gpu {
namespace {

constexpr int kThreads = 128;
constexpr std::int64_t kRays = 512;  // a block's share at a time

template <int Features, class Table>
__global__ void render_kernel(RenderHashField a, int tile, std::int64_t chunks) {
  extern __shared__ float4 shared[];
  using Tile = HashFieldTile<Features, Table>;
  float* memory = reinterpret_cast<float*>(shared);
  const Team team{static_cast<int>(threadIdx.x), kThreads};
  const Tile field(a.field, tile, memory);
  const RenderScratch scratch(tile, memory + Tile::scratch(a.field, tile));
  field.begin(team);
  for (std::int64_t c = blockIdx.x; c < chunks; c += gridDim.x) {
    team.sync();
    render_chunk(team, a.rays, field, scratch, c * kRays, min_of((c + 1) * kRays, a.rays.n), tile);
  }
}

template <int Features, class Table>
void render(const RenderHashField& a, const Target& target) {
  if (a.rays.n <= 0) return;
  const OnDevice on(target.device);
  const auto kernel = render_kernel<Features, Table>;
  const auto bytes_of = [&](int tile) {
    return HashFieldTile<Features, Table>::scratch(a.field, tile) * std::int64_t{sizeof(float)} + RenderScratch::bytes(tile);
  };
  int limit = 0, multiprocessors = 0, per_multiprocessor = 0;
  check(cudaDeviceGetAttribute(&limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, target.device), "reading a device limit");
  check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, target.device), "reading a device limit");
  int tile = kRenderTile;
  while (tile > 32 && bytes_of(tile) > limit) tile /= 2;
  const std::int64_t bytes = bytes_of(tile);
  if (bytes > limit) throw std::runtime_error("this field is too wide for the shared memory of this device");
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
        "reserving shared memory");
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_multiprocessor, kernel, kThreads, bytes),
        "reading the occupancy of a kernel");
  const std::int64_t chunks = divide_up(a.rays.n, kRays);
  const std::int64_t blocks = min_of(chunks, std::int64_t{multiprocessors} * max_of(per_multiprocessor, 1));
  kernel<<<static_cast<unsigned>(blocks), kThreads, bytes, stream_of(target)>>>(a, tile, chunks);
  check(cudaGetLastError(), "launching the renderer");
}

}  // namespace

void render_hash_field(const RenderHashField& a, const Target& target) {
  if (a.field.half) {
    FL_WITH_FEATURES(a.field.grid.features, (render<Features, __half>(a, target)))
  } else {
    FL_WITH_FEATURES(a.field.grid.features, (render<Features, float>(a, target)))
  }
}

}  // namespace fieldlab::gpu
