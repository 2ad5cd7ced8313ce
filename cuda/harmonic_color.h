// Color without a network (Plenoxels, Fridovich-Keil, Yu et al. 2022, section 3.1): each channel is the sigmoid of a sum
// of spherical harmonics of the direction, with coefficients interpolated from a grid.
#pragma once
#include "spherical_harmonics.h"

namespace fieldlab {

struct HarmonicColorForward {
  std::int64_t n;
  int degree;
  MatrixIn coefficients;  // [n,3*degree^2], channel by channel
  MatrixIn directions;    // [n,3], unit
  MatrixOut out;          // [n,3] in [0,1]
};
FL_FIELDS(HarmonicColorForward, n, degree, coefficients, directions, out)
struct HarmonicColorBackward {
  std::int64_t n;
  int degree;
  MatrixIn coefficients;
  MatrixIn directions;
  MatrixIn out;
  MatrixIn grad_out;
  MatrixOut grad_coefficients;
  MatrixOut grad_directions;  // data null: not wanted
};
FL_FIELDS(HarmonicColorBackward, n, degree, coefficients, directions, out, grad_out, grad_coefficients,
          grad_directions)

#ifdef FL_ISA
inline namespace FL_ISA {
#endif

FL_HD void harmonic_color_forward(const HarmonicColorForward& a, std::int64_t start, int count) {
  const int bands = a.degree * a.degree;
  const float* d = &a.directions.at(start, 0);
  const std::int64_t s = a.directions.stride_sample, c = a.directions.stride_channel;
  Lanes sum[3] = {broadcast(0.f), broadcast(0.f), broadcast(0.f)};
  each_harmonic(a.degree, load_some(d, s, count), load_some(d + c, s, count), load_some(d + 2 * c, s, count),
                [&](int k, Lanes value, Lanes, Lanes, Lanes) {
                  for (int channel = 0; channel < 3; ++channel)
                    sum[channel] += value * load_some(&a.coefficients.at(start, channel * bands + k),
                                                      a.coefficients.stride_sample, count);
                });
  for (int channel = 0; channel < 3; ++channel)
    store_some(&a.out.at(start, channel), a.out.stride_sample, count, sigmoid_of(sum[channel]));
}

FL_HD void harmonic_color_backward(const HarmonicColorBackward& a, std::int64_t start, int count) {
  const int bands = a.degree * a.degree;
  const float* d = &a.directions.at(start, 0);
  const std::int64_t s = a.directions.stride_sample, c = a.directions.stride_channel;
  Lanes grad[3], gx = broadcast(0.f), gy = gx, gz = gx;
  for (int channel = 0; channel < 3; ++channel) {
    const Lanes y = load_some(&a.out.at(start, channel), a.out.stride_sample, count);
    grad[channel] = load_some(&a.grad_out.at(start, channel), a.grad_out.stride_sample, count) * y * (1.f - y);
  }
  const bool wanted = a.grad_directions.data != nullptr;
  each_harmonic(a.degree, load_some(d, s, count), load_some(d + c, s, count), load_some(d + 2 * c, s, count),
                [&](int k, Lanes value, Lanes dx, Lanes dy, Lanes dz) {
                  Lanes g = broadcast(0.f);
                  for (int channel = 0; channel < 3; ++channel) {
                    const int at = channel * bands + k;
                    store_some(&a.grad_coefficients.at(start, at), a.grad_coefficients.stride_sample, count,
                               grad[channel] * value);
                    if (wanted)
                      g += grad[channel] *
                           load_some(&a.coefficients.at(start, at), a.coefficients.stride_sample, count);
                  }
                  gx += g * dx;
                  gy += g * dy;
                  gz += g * dz;
                });
  if (!wanted) return;
  const std::int64_t so = a.grad_directions.stride_sample;
  store_some(&a.grad_directions.at(start, 0), so, count, gx);
  store_some(&a.grad_directions.at(start, 1), so, count, gy);
  store_some(&a.grad_directions.at(start, 2), so, count, gz);
}

#ifdef FL_ISA
}  // namespace FL_ISA
#endif
}  // namespace fieldlab
