// GPU launchers of those operations on rays and occupancy that are not like the others: a thread per ray where rays differ
// in their course, a warp per ray where its samples lie side by side in memory.
#include "launch.cuh"

namespace fieldlab::gpu {

void ray_box(const RayBox& a, const Target& target) {
  each(a.n * a.boxes, target, [a] __device__(std::int64_t i) { ray_box_one(a, i / a.boxes, i % a.boxes); });
}
void occupancy_pack(const OccupancyPack& a, const Target& target) {
  const std::int64_t side = blocks_per_side(a.resolution), coarse = coarse_per_side(a.resolution);
  each(a.levels * side * side * side, target, [a] __device__(std::int64_t i) { pack_block(a, i); });
  each(a.levels * coarse * coarse * coarse, target, [a] __device__(std::int64_t i) { pack_coarse(a, i); });
}
void march_count(const MarchCount& a, const Target& target) {
  each(a.rays.n, target, [a] __device__(std::int64_t ray) { march_count_some(a, ray, 1); });
}
void march_fill(const MarchFill& a, const Target& target) {
  each_ray(a.rays.n, target,
           [a] __device__(std::int64_t ray, const Group& group) { march_fill_one(a, ray, group.rank, group.size); });
}
void keep_count(const KeepCount& a, const Target& target) {
  each_ray(a.rays, target, [a] __device__(std::int64_t ray, const Group& group) { keep_count_ray(a, ray, group); });
}
void importance_sample(const ImportanceSample& a, const Target& target) {
  each(a.samples.rays, target, [a] __device__(std::int64_t ray) { importance_sample_ray(a, ray); });
}

}  // namespace fieldlab::gpu
