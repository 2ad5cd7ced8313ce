// The GPU's code for rays, run by 32 CPU threads that stand for a warp: a thread per GPU thread, shuffles through shared
// memory.
#include "gpu_emulation.h"

#include "composite.h"
#include "contract.h"
#include "march.h"

using namespace fieldlab;

namespace {
template <class Body>
void each_ray(std::int64_t rays, const Body& body) {
  pthread_barrier_init(&barrier, nullptr, 32);
  std::vector<std::thread> threads;
  for (int i = 0; i < 32; ++i)
    threads.emplace_back([&, i] {
      lane = i;
      for (std::int64_t ray = 0; ray < rays; ++ray) body(ray, Group{i, 32});
    });
  for (std::thread& t : threads) t.join();
  pthread_barrier_destroy(&barrier);
}
}  // namespace

struct Packed {
  std::int64_t rays;
  const std::int64_t* offsets;
  const float *t_starts, *t_ends;
  PackedSamples get() const { return {rays, offsets, t_starts, t_ends}; }
};
struct Strided {
  float* data;
  std::int64_t sample, channel;
  MatrixIn in() const { return {data, sample, channel}; }
  MatrixOut out() const { return {data, sample, channel}; }
};

extern "C" {
void composite_forward(Packed s, int channels, float early_stop, float* sigmas, Strided values, Strided out, float* opacity,
                       float* depth, float* weights, float* light) {
  const CompositeForward a{s.get(), channels, early_stop, sigmas, values.in(), out.out(), opacity, depth, weights, light};
  each_ray(s.rays, [&](std::int64_t ray, const Group& g) { composite_forward_ray(a, ray, g); });
}
void composite_backward(Packed s, int channels, float* sigmas, Strided values, float* weights, float* light, Strided grad_out,
                        float* grad_opacity, float* grad_depth, float* grad_weights, float* grad_sigmas,
                        Strided grad_values) {
  const CompositeBackward a{s.get(),         channels,     sigmas,     values.in(),  weights,     light,
                            grad_out.in(),   grad_opacity, grad_depth, grad_weights, grad_sigmas, grad_values.out()};
  each_ray(s.rays, [&](std::int64_t ray, const Group& g) { composite_backward_ray(a, ray, g); });
}
void visible_samples(Packed s, float* sigmas, float early_stop, unsigned char* visible) {
  const VisibleSamples a{s.get(), sigmas, early_stop, 0.f, visible};
  each_ray(s.rays, [&](std::int64_t ray, const Group& g) { visible_samples_ray(a, ray, g); });
}
void keep_count(Packed s, unsigned char* mask, std::int64_t* counts) {
  const KeepCount a{s.rays, s.offsets, mask, counts};
  each_ray(s.rays, [&](std::int64_t ray, const Group& g) { keep_count_ray(a, ray, g); });
}
void keep_fill(Packed s, unsigned char* mask, std::int64_t* kept, float* t_starts, float* t_ends, std::int64_t* indices) {
  const KeepFill a{s.get(), mask, kept, t_starts, t_ends, indices};
  each_ray(s.rays, [&](std::int64_t ray, const Group& g) { keep_fill_ray(a, ray, g); });
}
void distortion_forward(Packed s, float* weights, float* loss) {
  const DistortionForward a{s.get(), weights, loss};
  each_ray(s.rays, [&](std::int64_t ray, const Group& g) { distortion_forward_ray(a, ray, g); });
}
void distortion_backward(Packed s, float* weights, float* grad_loss, float* grad_weights) {
  const DistortionBackward a{s.get(), weights, grad_loss, grad_weights};
  each_ray(s.rays, [&](std::int64_t ray, const Group& g) { distortion_backward_ray(a, ray, g); });
}
void ray_points_forward(Packed s, float* aabb, Strided origins, Strided directions, Strided points, Strided seen) {
  const RayPointsForward a{s.get(), true, aabb, origins.in(), directions.in(), points.out(), seen.out()};
  each_ray(s.rays, [&](std::int64_t ray, const Group& g) { ray_points_forward_ray(a, ray, g); });
}
void ray_points_backward(Packed s, float* aabb, Strided origins, Strided directions, Strided grad_points, Strided grad_seen,
                         Strided grad_origins, Strided grad_directions) {
  const RayPointsBackward a{s.get(),        true,          aabb, origins.in(), directions.in(), grad_points.in(), grad_seen.in(),
                            grad_origins.out(), grad_directions.out()};
  each_ray(s.rays, [&](std::int64_t ray, const Group& g) { ray_points_backward_ray(a, ray, g); });
}
void march(std::int64_t n, std::uint64_t* bits, std::uint64_t* coarse, float* aabb, int resolution, int levels,
           Strided origins, Strided directions, float* near, float* far, float step, float cone, std::int64_t most,
           std::int32_t* runs, int capacity, std::int64_t* counts, std::int64_t* offsets, float* t_starts, float* t_ends,
           std::int64_t* indices) {
  const MarchRays rays{n,       {bits, coarse, aabb, resolution, levels}, origins.in(), directions.in(), near, far, nullptr, step,
                       cone,    most,                                     runs,         capacity};
  if (!offsets) {
    for (std::int64_t ray = 0; ray < n; ++ray) march_count_some({rays, counts}, ray, 1);
    return;
  }
  const MarchFill a{rays, offsets, t_starts, t_ends, indices};
  each_ray(n, [&](std::int64_t ray, const Group& g) { march_fill_one(a, ray, g.rank, g.size); });
}
}
