// GPU launchers of the operations on rays and packed samples: a thread per ray where rays differ in their course, a warp
// per ray where its samples lie side by side in memory.
#include "launch.cuh"

namespace fieldlab::gpu {
namespace {

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

}  // namespace

void ray_box(const RayBox& a, const Target& target) {
  each(a.n * a.boxes, target, [a] __device__(std::int64_t i) { ray_box_one(a, i / a.boxes, i % a.boxes); });
}
void occupancy_pack(const OccupancyPack& a, const Target& target) {
  const std::int64_t side = blocks_per_side(a.resolution), coarse = coarse_per_side(a.resolution);
  each(a.levels * side * side * side, target, [a] __device__(std::int64_t i) { pack_block(a, i); });
  each(a.levels * coarse * coarse * coarse, target, [a] __device__(std::int64_t i) { pack_coarse(a, i); });
}
void occupancy_query(const OccupancyQuery& a, const Target& target) {
  each(a.n, target, [a] __device__(std::int64_t i) { query_one(a, i); });
}
void occupancy_decay(const OccupancyDecay& a, const Target& target) {
  each(a.n, target, [a] __device__(std::int64_t i) { a.values[i] *= a.decay; });
}
void occupancy_raise(const OccupancyRaise& a, const Target& target) {
  each(a.n, target, [a] __device__(std::int64_t i) { raise_one(a, i); });
}
void occupancy_points(const OccupancyPoints& a, const Target& target) {
  each(a.n, target, [a] __device__(std::int64_t i) { cell_point(a, i); });
}
void march_count(const MarchCount& a, const Target& target) {
  each(a.rays.n, target, [a] __device__(std::int64_t ray) { march_count_some(a, ray, 1); });
}
void march_fill(const MarchFill& a, const Target& target) {
  each_ray(a.rays.n, target,
           [a] __device__(std::int64_t ray, const Group& group) { march_fill_one(a, ray, group.rank, group.size); });
}
void contract_forward(const ContractForward& a, const Target& target) {
  each(a.n, target, [a] __device__(std::int64_t i) { contract_forward_some(a, i, 1); });
}
void contract_backward(const ContractBackward& a, const Target& target) {
  each(a.n, target, [a] __device__(std::int64_t i) { contract_backward_some(a, i, 1); });
}

#define FL_RAY_LAUNCHER(name, Args, rays)                                                                       \
  void name(const Args& a, const Target& target) {                                                              \
    each_ray(a.rays, target, [a] __device__(std::int64_t ray, const Group& group) { name##_ray(a, ray, group); }); \
  }
FL_RAY_LAUNCHER(ray_points_forward, RayPointsForward, samples.rays)
FL_RAY_LAUNCHER(ray_points_backward, RayPointsBackward, samples.rays)
FL_RAY_LAUNCHER(composite_forward, CompositeForward, samples.rays)
FL_RAY_LAUNCHER(composite_backward, CompositeBackward, samples.rays)
FL_RAY_LAUNCHER(visible_samples, VisibleSamples, samples.rays)
FL_RAY_LAUNCHER(keep_count, KeepCount, rays)
FL_RAY_LAUNCHER(keep_fill, KeepFill, samples.rays)
void importance_sample(const ImportanceSample& a, const Target& target) {
  each(a.samples.rays, target, [a] __device__(std::int64_t ray) { importance_sample_ray(a, ray); });
}
FL_RAY_LAUNCHER(distortion_forward, DistortionForward, samples.rays)
FL_RAY_LAUNCHER(distortion_backward, DistortionBackward, samples.rays)
#undef FL_RAY_LAUNCHER

}  // namespace fieldlab::gpu
