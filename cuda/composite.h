// Emission-absorption compositing of packed samples (Max 1995; Mildenhall et al. 2020, equation 3), its derivatives, which
// samples are visible, dropping the others, and the distortion loss.
#pragma once
#include "group.h"

namespace fieldlab {

struct CompositeForward {
  PackedSamples samples;
  int channels;
  float early_stop;     // samples with less light than this left in front of them count for nothing
  const float* sigmas;  // [samples]
  MatrixIn values;      // [samples, channels]
  MatrixOut out;        // [rays, channels]
  float *opacity, *depth;              // [rays]
  float *weights, *transmittance;      // [samples]; the transmittance is 0 where early_stop cut
};
FL_FIELDS(CompositeForward, samples, channels, early_stop, sigmas, values, out, opacity, depth, weights,
          transmittance)
struct CompositeBackward {
  PackedSamples samples;
  int channels;
  const float* sigmas;
  MatrixIn values;
  const float *weights, *transmittance;
  MatrixIn grad_out;                                            // [rays, channels]
  const float *grad_opacity, *grad_depth, *grad_weights;        // each may be null
  float* grad_sigmas;
  MatrixOut grad_values;  // no data: not wanted
};
FL_FIELDS(CompositeBackward, samples, channels, sigmas, values, weights, transmittance, grad_out, grad_opacity,
          grad_depth, grad_weights, grad_sigmas, grad_values)
struct VisibleSamples {
  PackedSamples samples;
  const float* sigmas;
  float early_stop, least_alpha;
  unsigned char* visible;  // [samples]
};
FL_FIELDS(VisibleSamples, samples, sigmas, early_stop, least_alpha, visible)
struct KeepCount {
  std::int64_t rays;
  const std::int64_t* offsets;
  const unsigned char* mask;  // [samples]
  std::int64_t* counts;       // [rays]
};
FL_FIELDS(KeepCount, rays, offsets, mask, counts)
struct KeepFill {
  PackedSamples samples;
  const unsigned char* mask;
  const std::int64_t* kept_offsets;  // [rays+1]
  float *t_starts, *t_ends;
  std::int64_t* ray_indices;
};
FL_FIELDS(KeepFill, samples, mask, kept_offsets, t_starts, t_ends, ray_indices)
struct DistortionForward {
  PackedSamples samples;
  const float* weights;
  float* loss;  // [rays]
};
FL_FIELDS(DistortionForward, samples, weights, loss)
struct DistortionBackward {
  PackedSamples samples;
  const float* weights;
  const float* grad_loss;
  float* grad_weights;
};
FL_FIELDS(DistortionBackward, samples, weights, grad_loss, grad_weights)

#ifdef FL_ISA
inline namespace FL_ISA {
#endif

// 1 - exp(-x) without cancellation where x is small.
FL_HD Lanes opacity_of(Lanes x) {
#if FL_LANES == 1
  return -expm1f(-x);
#else
  const Lanes limit = broadcast(0.3f);
  const Lanes s = where_not_below(x, limit, limit, x);
  Lanes series = s * (-1.f / 5040.f) + 1.f / 720.f;
  series = 1.f / 120.f - s * series;
  series = 1.f / 24.f - s * series;
  series = 1.f / 6.f - s * series;
  series = 0.5f - s * series;
  series = s * (1.f - s * series);
  return where_not_below(x, limit, 1.f - exp_of(-x), series);
#endif
}

// Whether lanes are better spent on a ray's samples or on a sample's channels.
FL_HD bool channels_adjoin(std::int64_t stride_channel, int channels) { return stride_channel == 1 && channels >= 8; }

// sum of weights times values over samples [begin, end), for all channels.
FL_HD void blend(const MatrixIn& values, const float* weights, std::int64_t begin, std::int64_t end, int channels,
                 const MatrixOut& out, std::int64_t ray, const Group& group) {
  if (channels_adjoin(values.stride_channel, channels)) {
    group.sync();
    group.forwards(0, channels, [&](std::int64_t c, int count) {
      Lanes total = broadcast(0.f);
      for (std::int64_t i = begin; i < end; ++i) total += weights[i] * load_part(values.data + i * values.stride_sample + c, count);
      store_channel({out.data + ray * out.stride_sample, out.stride_channel, 0}, c, 0, count, total);
    });
    return;
  }
  for (int c = 0; c < channels; ++c) {
    Lanes total = broadcast(0.f);
    group.forwards(begin, end, [&](std::int64_t i, int count) {
      total += load_part(weights + i, count) * load_channel(values, i, c, count);
    });
    const float sum = group.sum(total);
    if (group.leader()) out.at(ray, c) = sum;
  }
}

FL_HD void composite_forward_ray(const CompositeForward& a, std::int64_t ray, const Group& group) {
  const std::int64_t begin = a.samples.offsets[ray], end = a.samples.offsets[ray + 1];
  // Beyond this optical depth nothing can count any more; 0.01 more than exact, so that rounding decides nothing here.
  const float deepest = a.early_stop > 0.f ? 0.01f - logf(a.early_stop) : INFINITY;
  float before = 0.f;
  Lanes opacity = broadcast(0.f), depth = broadcast(0.f);
  group.forwards(begin, end, [&](std::int64_t i, int count) {
    Lanes weight = broadcast(0.f), light = broadcast(0.f);
    if (before <= deepest) {
      const Lanes t0 = load_part(a.samples.t_starts + i, count), t1 = load_part(a.samples.t_ends + i, count);
      const Lanes x = load_part(a.sigmas + i, count) * (t1 - t0);
      light = exp_of(-group.sum_before(x, before));
      light = where_not_below(light, broadcast(a.early_stop), light, broadcast(0.f));
      weight = light * opacity_of(x);
      opacity += weight;
      depth += weight * (0.5f * (t0 + t1));
    }
    store_part(a.weights + i, count, weight);
    store_part(a.transmittance + i, count, light);
  });
  const float total_opacity = group.sum(opacity), total_depth = group.sum(depth);
  if (group.leader()) {
    a.opacity[ray] = total_opacity;
    a.depth[ray] = total_depth;
  }
  blend(a.values, a.weights, begin, end, a.channels, a.out, ray, group);
}

// With g_i the derivative to weight i: d/dsigma_i = dt_i (T_{i+1} g_i - sum_{j>i} w_j g_j).
FL_HD void composite_backward_ray(const CompositeBackward& a, std::int64_t ray, const Group& group) {
  const std::int64_t begin = a.samples.offsets[ray], end = a.samples.offsets[ray + 1];
  const MatrixIn& go = a.grad_out;
  const bool adjoin = channels_adjoin(a.values.stride_channel, a.channels);
  if (adjoin) {  // the gradients' sums over channels, kept for a moment where the result will be
    for (std::int64_t i = begin; i < end; ++i) {
      Lanes total = broadcast(0.f);
      group.forwards(0, a.channels, [&](std::int64_t c, int count) {
        total += load_channel({go.data + ray * go.stride_sample, go.stride_channel, 0}, c, 0, count) *
                 load_part(a.values.data + i * a.values.stride_sample + c, count);
      });
      const float sum = group.sum(total);
      if (group.leader()) a.grad_sigmas[i] = sum;
    }
    group.sync();
  }
  const float grad_opacity = a.grad_opacity ? a.grad_opacity[ray] : 0.f;
  const float grad_depth = a.grad_depth ? a.grad_depth[ray] : 0.f;
  float behind = 0.f;
  group.backwards(begin, end, [&](std::int64_t i, int count) {
    const Lanes t0 = load_part(a.samples.t_starts + i, count), t1 = load_part(a.samples.t_ends + i, count);
    const Lanes weight = load_part(a.weights + i, count), light = load_part(a.transmittance + i, count);
    Lanes g = grad_opacity + grad_depth * (0.5f * (t0 + t1));
    if (a.grad_weights) g += load_part(a.grad_weights + i, count);
    if (adjoin) g += load_part(a.grad_sigmas + i, count);
    for (int c = 0; !adjoin && c < a.channels; ++c) g += go.at(ray, c) * load_channel(a.values, i, c, count);
    const Lanes left = light * exp_of(-load_part(a.sigmas + i, count) * (t1 - t0));
    const Lanes rest = group.sum_after(weight * g, behind);
    // A sample that was cut, and what lies behind it, neither gains nor loses by being denser.
    store_part(a.grad_sigmas + i, count, (t1 - t0) * (left * g - rest));
    if (a.grad_values.data)
      for (int c = 0; c < a.channels; ++c) store_channel(a.grad_values, i, c, count, weight * go.at(ray, c));
  });
}

FL_HD void visible_samples_ray(const VisibleSamples& a, std::int64_t ray, const Group& group) {
  float before = 0.f;
  group.forwards(a.samples.offsets[ray], a.samples.offsets[ray + 1], [&](std::int64_t i, int count) {
    const Lanes x = load_part(a.sigmas + i, count) *
                    (load_part(a.samples.t_ends + i, count) - load_part(a.samples.t_starts + i, count));
    const Lanes light = exp_of(-group.sum_before(x, before));
    const Lanes one = broadcast(1.f), none = broadcast(0.f);
    const Lanes lit = where_not_below(light, broadcast(a.early_stop), one, none);
    float seen[FL_LANES];
    store(seen, where_not_below(opacity_of(x), broadcast(a.least_alpha), lit, none));
    for (int k = 0; k < count; ++k) a.visible[i + k] = seen[k] > 0.f;
  });
}

FL_HD Lanes mask_part(const unsigned char* mask, int count) {
  float v[FL_LANES] = {};
  for (int k = 0; k < count; ++k) v[k] = mask[k] ? 1.f : 0.f;
  return load(v);
}

FL_HD void keep_count_ray(const KeepCount& a, std::int64_t ray, const Group& group) {
  Lanes total = broadcast(0.f);
  group.forwards(a.offsets[ray], a.offsets[ray + 1],
                 [&](std::int64_t i, int count) { total += mask_part(a.mask + i, count); });
  const float sum = group.sum(total);
  if (group.leader()) a.counts[ray] = static_cast<std::int64_t>(sum);
}

FL_HD void keep_fill_ray(const KeepFill& a, std::int64_t ray, const Group& group) {
  float before = 0.f;
  group.forwards(a.samples.offsets[ray], a.samples.offsets[ray + 1], [&](std::int64_t i, int count) {
    float place[FL_LANES];
    store(place, group.sum_before(mask_part(a.mask + i, count), before));
    for (int k = 0; k < count; ++k) {
      if (!a.mask[i + k]) continue;
      const std::int64_t to = a.kept_offsets[ray] + static_cast<std::int64_t>(place[k]);
      a.t_starts[to] = a.samples.t_starts[i + k];
      a.t_ends[to] = a.samples.t_ends[i + k];
      a.ray_indices[to] = ray;
    }
  });
}

// Distances are taken from the ray's first sample: the sums below subtract numbers of the size of these distances.
struct Middles {
  const PackedSamples& samples;
  float origin;
  FL_HD Middles(const PackedSamples& s, std::int64_t first) : samples(s), origin(s.t_starts[first]) {}
  FL_HD Lanes at(std::int64_t i, int count) const {
    return 0.5f * ((load_part(samples.t_starts + i, count) - origin) + (load_part(samples.t_ends + i, count) - origin));
  }
  FL_HD Lanes length(std::int64_t i, int count) const {
    return load_part(samples.t_ends + i, count) - load_part(samples.t_starts + i, count);
  }
};

// sum_ij w_i w_j |m_i - m_j| + 1/3 sum_i w_i^2 dt_i (Barron et al. 2022, equation 15), with m in order along the ray.
FL_HD void distortion_forward_ray(const DistortionForward& a, std::int64_t ray, const Group& group) {
  const std::int64_t begin = a.samples.offsets[ray], end = a.samples.offsets[ray + 1];
  if (begin == end) {
    if (group.leader()) a.loss[ray] = 0.f;
    return;
  }
  const Middles middles(a.samples, begin);
  float weight_before = 0.f, moment_before = 0.f;
  Lanes total = broadcast(0.f);
  group.forwards(begin, end, [&](std::int64_t i, int count) {
    const Lanes w = load_part(a.weights + i, count), m = middles.at(i, count);
    const Lanes weights = group.sum_before(w, weight_before), moments = group.sum_before(w * m, moment_before);
    total += w * (2.f * (m * weights - moments) + w * middles.length(i, count) * (1.f / 3.f));
  });
  const float sum = group.sum(total);
  if (group.leader()) a.loss[ray] = sum;
}

FL_HD void distortion_backward_ray(const DistortionBackward& a, std::int64_t ray, const Group& group) {
  const std::int64_t begin = a.samples.offsets[ray], end = a.samples.offsets[ray + 1];
  if (begin == end) return;
  const Middles middles(a.samples, begin);
  const float grad = a.grad_loss[ray];
  float weight_before = 0.f, moment_before = 0.f, weight_after = 0.f, moment_after = 0.f;
  group.forwards(begin, end, [&](std::int64_t i, int count) {
    const Lanes w = load_part(a.weights + i, count), m = middles.at(i, count);
    const Lanes weights = group.sum_before(w, weight_before), moments = group.sum_before(w * m, moment_before);
    store_part(a.grad_weights + i, count,
               grad * (2.f * (m * weights - moments) + w * middles.length(i, count) * (2.f / 3.f)));
  });
  group.backwards(begin, end, [&](std::int64_t i, int count) {
    const Lanes w = load_part(a.weights + i, count), m = middles.at(i, count);
    const Lanes weights = group.sum_after(w, weight_after), moments = group.sum_after(w * m, moment_after);
    store_part(a.grad_weights + i, count, load_part(a.grad_weights + i, count) + grad * 2.f * (moments - m * weights));
  });
}

#ifdef FL_ISA
}  // namespace FL_ISA
#endif
}  // namespace fieldlab
