// CPU launchers of the operations on rays and packed samples: each ray is one core's.
#include "cpu/parallel.h"
#include "operations.h"

namespace fieldlab::FL_ISA::cpu {
namespace {

template <class Body>
void each_ray(std::int64_t rays, int threads, const Body& body) {
  parallel_chunks(rays, 128, threads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t ray = begin; ray < end; ++ray) body(ray);
  });
}

template <class Body>
void each_item(std::int64_t n, int threads, const Body& body) {
  parallel_chunks(n, 4096, threads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) body(i);
  });
}

}  // namespace

void ray_box(const RayBox& a, int threads) {
  each_item(a.n * a.boxes, threads, [&](std::int64_t i) { ray_box_one(a, i / a.boxes, i % a.boxes); });
}
void occupancy_pack(const OccupancyPack& a, int threads) {
  const std::int64_t side = blocks_per_side(a.resolution), coarse = coarse_per_side(a.resolution);
  each_item(a.levels * side * side * side, threads, [&](std::int64_t i) { pack_block(a, i); });
  each_item(a.levels * coarse * coarse * coarse, threads, [&](std::int64_t i) { pack_coarse(a, i); });
}
void occupancy_query(const OccupancyQuery& a, int threads) {
  each_item(a.n, threads, [&](std::int64_t i) { query_one(a, i); });
}
void occupancy_decay(const OccupancyDecay& a, int threads) {
  each_item(a.n, threads, [&](std::int64_t i) { a.values[i] *= a.decay; });
}
void occupancy_raise(const OccupancyRaise& a, int threads) {
  each_item(a.n, threads, [&](std::int64_t i) { raise_one(a, i); });
}
void occupancy_points(const OccupancyPoints& a, int threads) {
  each_item(a.n, threads, [&](std::int64_t i) { cell_point(a, i); });
}
void march_count(const MarchCount& a, int threads) {
  parallel_lanes(a.rays.n, threads, [&](std::int64_t ray, int count) { march_count_some(a, ray, count); });
}
void march_fill(const MarchFill& a, int threads) {
  each_ray(a.rays.n, threads, [&](std::int64_t ray) { march_fill_one(a, ray, 0, 1); });
}
void contract_forward(const ContractForward& a, int threads) {
  parallel_lanes(a.n, threads, [&](std::int64_t i, int count) { contract_forward_some(a, i, count); });
}
void contract_backward(const ContractBackward& a, int threads) {
  parallel_lanes(a.n, threads, [&](std::int64_t i, int count) { contract_backward_some(a, i, count); });
}
void ray_points_forward(const RayPointsForward& a, int threads) {
  each_ray(a.samples.rays, threads, [&](std::int64_t ray) { ray_points_forward_ray(a, ray, Group()); });
}
void ray_points_backward(const RayPointsBackward& a, int threads) {
  each_ray(a.samples.rays, threads, [&](std::int64_t ray) { ray_points_backward_ray(a, ray, Group()); });
}
void composite_forward(const CompositeForward& a, int threads) {
  each_ray(a.samples.rays, threads, [&](std::int64_t ray) { composite_forward_ray(a, ray, Group()); });
}
void composite_backward(const CompositeBackward& a, int threads) {
  each_ray(a.samples.rays, threads, [&](std::int64_t ray) { composite_backward_ray(a, ray, Group()); });
}
void visible_samples(const VisibleSamples& a, int threads) {
  each_ray(a.samples.rays, threads, [&](std::int64_t ray) { visible_samples_ray(a, ray, Group()); });
}
void keep_count(const KeepCount& a, int threads) {
  each_ray(a.rays, threads, [&](std::int64_t ray) { keep_count_ray(a, ray, Group()); });
}
void keep_fill(const KeepFill& a, int threads) {
  each_ray(a.samples.rays, threads, [&](std::int64_t ray) { keep_fill_ray(a, ray, Group()); });
}
void importance_sample(const ImportanceSample& a, int threads) {
  each_ray(a.samples.rays, threads, [&](std::int64_t ray) { importance_sample_ray(a, ray); });
}
void distortion_forward(const DistortionForward& a, int threads) {
  each_ray(a.samples.rays, threads, [&](std::int64_t ray) { distortion_forward_ray(a, ray, Group()); });
}
void distortion_backward(const DistortionBackward& a, int threads) {
  each_ray(a.samples.rays, threads, [&](std::int64_t ray) { distortion_backward_ray(a, ray, Group()); });
}

}  // namespace fieldlab::FL_ISA::cpu
