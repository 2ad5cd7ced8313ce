// From world points to a field's coordinates in the unit cube: linear in a box, or with all of space drawn into the cube
// by the contraction of mip-NeRF 360 (Barron et al. 2022, equation 10), here in the maximum norm so that the cube is full.
#pragma once
#include "group.h"

namespace fieldlab {

struct ContractForward {
  std::int64_t n;
  bool contracted;
  const float* aabb;  // [2,3]
  MatrixIn points;    // [n,3]
  MatrixOut out;
};
FL_FIELDS(ContractForward, n, contracted, aabb, points, out)
struct ContractBackward {
  std::int64_t n;
  bool contracted;
  const float* aabb;
  MatrixIn points;
  MatrixIn grad_out;
  MatrixOut grad_points;
};
FL_FIELDS(ContractBackward, n, contracted, aabb, points, grad_out, grad_points)
struct RayPointsForward {
  PackedSamples samples;
  bool contracted;
  const float* aabb;
  MatrixIn origins, directions;  // [rays,3]
  MatrixOut points;              // [samples,3]
  MatrixOut sample_directions;   // [samples,3]
};
FL_FIELDS(RayPointsForward, samples, contracted, aabb, origins, directions, points, sample_directions)
struct RayPointsBackward {
  PackedSamples samples;
  bool contracted;
  const float* aabb;
  MatrixIn origins, directions;
  MatrixIn grad_points, grad_sample_directions;  // each may have no data
  MatrixOut grad_origins, grad_directions;
};
FL_FIELDS(RayPointsBackward, samples, contracted, aabb, origins, directions, grad_points, grad_sample_directions,
          grad_origins, grad_directions)

#ifdef FL_ISA
inline namespace FL_ISA {
#endif

struct FieldBox {
  bool contracted;
  float low[3], inverse[3];
  FL_HD FieldBox(const float* aabb, bool contracted_) : contracted(contracted_) {
    for (int i = 0; i < 3; ++i) low[i] = aabb[i], inverse[i] = 1.f / (aabb[3 + i] - aabb[i]);
  }

  FL_HD void forward(const Lanes (&p)[3], Lanes (&out)[3]) const {
    for (int i = 0; i < 3; ++i) out[i] = (p[i] - low[i]) * inverse[i];
    if (!contracted) return;
    const Lanes one = broadcast(1.f);
    for (int i = 0; i < 3; ++i) out[i] = 2.f * out[i] - 1.f;
    const Lanes m = larger_of(larger_of(magnitude_of(out[0]), magnitude_of(out[1])), larger_of(magnitude_of(out[2]), one));
    const Lanes shrink = (2.f - 1.f / m) / m;  // 1 inside the box, where m is 1
    for (int i = 0; i < 3; ++i) out[i] = out[i] * shrink * 0.25f + 0.5f;
  }

  // Derivative to p from that to the result. Outside the box, with u the point and m = |u_a| its largest coordinate,
  // v = u s(m) has dv_i/du_j = s if i = j, plus u_i s'(m) sign(u_a) if j = a.
  FL_HD void backward(const Lanes (&p)[3], const Lanes (&grad)[3], Lanes (&grad_p)[3]) const {
    if (!contracted) {
      for (int i = 0; i < 3; ++i) grad_p[i] = grad[i] * inverse[i];
      return;
    }
    const Lanes one = broadcast(1.f), none = broadcast(0.f);
    Lanes u[3];
    for (int i = 0; i < 3; ++i) u[i] = 2.f * ((p[i] - low[i]) * inverse[i]) - 1.f;
    const Lanes size[3] = {magnitude_of(u[0]), magnitude_of(u[1]), magnitude_of(u[2])};
    const Lanes largest = larger_of(larger_of(size[0], size[1]), size[2]);
    const Lanes m = larger_of(largest, one), r = 1.f / m;
    const Lanes shrink = (2.f - r) * r;
    const Lanes slope = 2.f * r * r * (r - 1.f);  // 0 inside the box
    const Lanes along = (u[0] * grad[0] + u[1] * grad[1] + u[2] * grad[2]) * slope;
    Lanes open = one;  // the first of equal largest coordinates takes it all
    for (int i = 0; i < 3; ++i) {
      const Lanes here = where_not_below(size[i], largest, open, none);
      open -= here;
      const Lanes sign = where_not_below(u[i], none, one, -one);
      grad_p[i] = (grad[i] * shrink + here * sign * along) * (0.5f * inverse[i]);
    }
  }
};

FL_HD void contract_forward(const ContractForward& a, std::int64_t i, int count) {
  const FieldBox box(a.aabb, a.contracted);
  const Lanes p[3] = {load_channel(a.points, i, 0, count), load_channel(a.points, i, 1, count),
                      load_channel(a.points, i, 2, count)};
  Lanes out[3];
  box.forward(p, out);
  for (int k = 0; k < 3; ++k) store_channel(a.out, i, k, count, out[k]);
}

FL_HD void contract_backward(const ContractBackward& a, std::int64_t i, int count) {
  const FieldBox box(a.aabb, a.contracted);
  Lanes p[3], grad[3], grad_p[3];
  for (int k = 0; k < 3; ++k) p[k] = load_channel(a.points, i, k, count), grad[k] = load_channel(a.grad_out, i, k, count);
  box.backward(p, grad, grad_p);
  for (int k = 0; k < 3; ++k) store_channel(a.grad_points, i, k, count, grad_p[k]);
}

FL_HD void ray_points_forward_ray(const RayPointsForward& a, std::int64_t ray, const Group& group) {
  const FieldBox box(a.aabb, a.contracted);
  const float o[3] = {a.origins.at(ray, 0), a.origins.at(ray, 1), a.origins.at(ray, 2)};
  const float d[3] = {a.directions.at(ray, 0), a.directions.at(ray, 1), a.directions.at(ray, 2)};
  group.forwards(a.samples.offsets[ray], a.samples.offsets[ray + 1], [&](std::int64_t i, int count) {
    const Lanes t = 0.5f * (load_part(a.samples.t_starts + i, count) + load_part(a.samples.t_ends + i, count));
    const Lanes p[3] = {o[0] + d[0] * t, o[1] + d[1] * t, o[2] + d[2] * t};
    Lanes out[3];
    box.forward(p, out);
    for (int k = 0; k < 3; ++k) {
      store_channel(a.points, i, k, count, out[k]);
      store_channel(a.sample_directions, i, k, count, broadcast(d[k]));
    }
  });
}

FL_HD void ray_points_backward_ray(const RayPointsBackward& a, std::int64_t ray, const Group& group) {
  const FieldBox box(a.aabb, a.contracted);
  const float o[3] = {a.origins.at(ray, 0), a.origins.at(ray, 1), a.origins.at(ray, 2)};
  const float d[3] = {a.directions.at(ray, 0), a.directions.at(ray, 1), a.directions.at(ray, 2)};
  Lanes to_origin[3], to_direction[3];
  for (int k = 0; k < 3; ++k) to_origin[k] = to_direction[k] = broadcast(0.f);
  group.forwards(a.samples.offsets[ray], a.samples.offsets[ray + 1], [&](std::int64_t i, int count) {
    if (a.grad_sample_directions.data)
      for (int k = 0; k < 3; ++k) to_direction[k] += load_channel(a.grad_sample_directions, i, k, count);
    if (!a.grad_points.data) return;
    const Lanes t = 0.5f * (load_part(a.samples.t_starts + i, count) + load_part(a.samples.t_ends + i, count));
    const Lanes p[3] = {o[0] + d[0] * t, o[1] + d[1] * t, o[2] + d[2] * t};
    Lanes grad[3], grad_p[3];
    for (int k = 0; k < 3; ++k) grad[k] = load_channel(a.grad_points, i, k, count);
    box.backward(p, grad, grad_p);
    for (int k = 0; k < 3; ++k) {
      to_origin[k] += grad_p[k];
      to_direction[k] += grad_p[k] * t;
    }
  });
  for (int k = 0; k < 3; ++k) {
    const float origin = group.sum(to_origin[k]), direction = group.sum(to_direction[k]);
    if (!group.leader()) continue;
    a.grad_origins.at(ray, k) = origin;
    a.grad_directions.at(ray, k) = direction;
  }
}

#ifdef FL_ISA
}  // namespace FL_ISA
#endif
}  // namespace fieldlab
