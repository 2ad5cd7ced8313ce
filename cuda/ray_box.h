// Rays against axis-aligned boxes: the slab test.
#pragma once
#include "platform.h"

namespace fieldlab {

struct RayBox {
  std::int64_t n, boxes;
  MatrixIn origins, directions;  // [n,3]
  const float* aabbs;            // [boxes,2,3]
  float *t_min, *t_max;          // [n,boxes]; infinite where the box is missed
  unsigned char* hit;            // [n,boxes]
};
FL_FIELDS(RayBox, n, boxes, origins, directions, aabbs, t_min, t_max, hit)

#ifdef FL_ISA
inline namespace FL_ISA {
#endif

// Narrows [t_min, t_max] to the part of a ray between two parallel planes; a ray that runs along them is between them
// everywhere or nowhere.
FL_HD void clip_to_slab(float origin, float direction, float low, float high, float& t_min, float& t_max) {
  if (direction == 0.f) {
    if (origin < low || origin > high) t_max = -INFINITY;
    return;
  }
  const float inverse = 1.f / direction;
  const float a = (low - origin) * inverse, b = (high - origin) * inverse;
  t_min = max_of(t_min, min_of(a, b));
  t_max = min_of(t_max, max_of(a, b));
}

FL_HD void ray_box_one(const RayBox& a, std::int64_t ray, std::int64_t box) {
  const float* aabb = a.aabbs + 6 * box;
  float t_min = -INFINITY, t_max = INFINITY;
  for (int i = 0; i < 3; ++i)
    clip_to_slab(a.origins.at(ray, i), a.directions.at(ray, i), aabb[i], aabb[3 + i], t_min, t_max);
  const bool hit = t_max > 0.f && t_min <= t_max;
  const std::int64_t at = ray * a.boxes + box;
  a.t_min[at] = hit ? t_min : INFINITY;
  a.t_max[at] = hit ? t_max : INFINITY;
  a.hit[at] = hit;
}

#ifdef FL_ISA
}  // namespace FL_ISA
#endif
}  // namespace fieldlab
