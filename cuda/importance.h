// Importance sampling along rays: new samples where the weights of others are (Mildenhall et al. 2020, section 5.2), with
// the edges of nerfacc's importance_sampling (Li et al. 2023), except that no sample reaches into a gap between the given
// ones, where nothing is.
#pragma once
#include "composite.h"

namespace fieldlab {

struct ImportanceSample {
  PackedSamples samples;
  const float* weights;         // [S], at least 0
  float padding;                // added to every weight
  int n;                        // new samples per ray
  const float* jitter;          // [N] in [0,1): where in its n-th of the weight each new sample lies; nullptr: the middle
  const std::int64_t* offsets;  // [N+1] of the new samples: n for rays that have samples, 0 for others
  float* t_starts;
  float* t_ends;
  std::int64_t* ray_indices;
};
FL_FIELDS(ImportanceSample, samples, weights, padding, n, jitter, offsets, t_starts, t_ends, ray_indices)

#ifdef FL_ISA
inline namespace FL_ISA {
#endif

// Walks along one ray's samples by the weight gone past. A run is a stretch of samples without gaps.
struct WeightWalker {
  const ImportanceSample& a;
  std::int64_t at, end;
  bool uniform = false;
  double total = 0.0, before = 0.0;  // weight of all samples, and of those in front of `at`
  float run_start, left_run_end = 0.f;
  bool left_run = false;  // whether the last move went into another run; the end of the one it left is then known

  FL_HD WeightWalker(const ImportanceSample& a_, std::int64_t ray)
      : a(a_), at(a_.samples.offsets[ray]), end(a_.samples.offsets[ray + 1]), run_start(a_.samples.t_starts[at]) {
    for (std::int64_t i = at; i < end; ++i) total += mass(i);
    uniform = !(total > 0.0);  // a ray that sees nothing is sampled all along
    if (uniform) total = static_cast<double>(end - at);
  }
  FL_HD double mass(std::int64_t i) const { return uniform ? 1.0 : static_cast<double>(a.weights[i]) + a.padding; }
  FL_HD bool gap_after(std::int64_t i) const { return a.samples.t_starts[i + 1] > a.samples.t_ends[i]; }
  // The distance that the fraction `u` of the weight lies in front of; u must not decrease.
  FL_HD float move_to(double u) {
    left_run = false;
    for (; at + 1 < end && before + mass(at) < u * total; ++at) {
      before += mass(at);
      if (!gap_after(at)) continue;
      if (!left_run) left_run_end = a.samples.t_ends[at];
      left_run = true;
      run_start = a.samples.t_starts[at + 1];
    }
    const float start = a.samples.t_starts[at], length = a.samples.t_ends[at] - start;
    const float part = mass(at) > 0.0 ? static_cast<float>((u * total - before) / mass(at)) : 0.5f;
    return start + length * clamp_to(part, 0.f, 1.f);
  }
  FL_HD float run_end() const {
    std::int64_t i = at;
    while (i + 1 < end && !gap_after(i)) ++i;
    return a.samples.t_ends[i];
  }
};

FL_HD void importance_sample_ray(const ImportanceSample& a, std::int64_t ray) {
  const std::int64_t first = a.offsets[ray], last = a.offsets[ray + 1] - 1;
  if (last < first) return;
  WeightWalker walker(a, ray);
  const double shift = a.jitter == nullptr ? 0.5 : a.jitter[ray];
  float t = 0.f, first_t = 0.f, first_run = 0.f;
  for (std::int64_t i = first; i <= last; ++i) {
    const float previous = t;
    t = walker.move_to((static_cast<double>(i - first) + shift) / a.n);
    a.ray_indices[i] = ray;
    if (i == first) {
      first_t = t;
      first_run = walker.run_start;
    } else {
      const float edge = 0.5f * (previous + t);
      a.t_ends[i - 1] = walker.left_run ? walker.left_run_end : edge;
      a.t_starts[i] = walker.left_run ? walker.run_start : edge;
    }
  }
  // The outermost edges mirror the inner ones.
  const float run_end = walker.run_end();
  a.t_ends[last] = last == first ? run_end : clamp_to(2.f * t - a.t_starts[last], t, run_end);
  a.t_starts[first] = last == first ? first_run : clamp_to(2.f * first_t - a.t_ends[first], first_run, first_t);
}

#ifdef FL_ISA
}  // namespace FL_ISA
#endif
}  // namespace fieldlab
