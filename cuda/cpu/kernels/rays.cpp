// CPU launchers of those operations on rays and occupancy that are not like the others.
#include "cpu/parallel.h"
#include "operations.h"

namespace fieldlab::FL_ISA::cpu {
namespace {

constexpr std::int64_t kRays = 128, kItems = 4096;  // a thread's share at a time

}  // namespace

void ray_box(const RayBox& a, int threads) {
  parallel_each(a.n * a.boxes, kItems, threads, [&](std::int64_t i) { ray_box_one(a, i / a.boxes, i % a.boxes); });
}
void occupancy_pack(const OccupancyPack& a, int threads) {
  const std::int64_t side = blocks_per_side(a.resolution), coarse = coarse_per_side(a.resolution);
  parallel_each(a.levels * side * side * side, kItems, threads, [&](std::int64_t i) { pack_block(a, i); });
  parallel_each(a.levels * coarse * coarse * coarse, kItems, threads, [&](std::int64_t i) { pack_coarse(a, i); });
}
void march_count(const MarchCount& a, int threads) {
  parallel_lanes(a.rays.n, threads, [&](std::int64_t ray, int count) { march_count_some(a, ray, count); });
}
void march_fill(const MarchFill& a, int threads) {
  parallel_each(a.rays.n, kRays, threads, [&](std::int64_t ray) { march_fill_one(a, ray, 0, 1); });
}
void keep_count(const KeepCount& a, int threads) {
  parallel_each(a.rays, kRays, threads, [&](std::int64_t ray) { keep_count_ray(a, ray, Group()); });
}
void importance_sample(const ImportanceSample& a, int threads) {
  parallel_each(a.samples.rays, kRays, threads, [&](std::int64_t ray) { importance_sample_ray(a, ray); });
}

}  // namespace fieldlab::FL_ISA::cpu
