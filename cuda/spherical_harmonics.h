// Real spherical harmonics of a unit direction, degrees 1 to 4 (1, 4, 9 or 16 values), in tiny-cuda-nn's order and signs.
#pragma once
#include "lanes.h"

namespace fieldlab {

struct SphericalHarmonicsForward {
  std::int64_t n;
  int degree;
  MatrixIn directions;  // [n,3], unit
  MatrixOut out;        // [n,degree^2]
};
FL_FIELDS(SphericalHarmonicsForward, n, degree, directions, out)
struct SphericalHarmonicsBackward {
  std::int64_t n;
  int degree;
  MatrixIn directions;
  MatrixIn grad_out;
  MatrixOut grad_directions;
};
FL_FIELDS(SphericalHarmonicsBackward, n, degree, directions, grad_out, grad_directions)

#ifdef FL_ISA
inline namespace FL_ISA {
#endif

// Calls emit(index, value, d/dx, d/dy, d/dz) for every harmonic. With x^2+y^2+z^2 = 1 assumed in the values, the
// derivatives are those of the polynomials as they stand here.
template <class F, class Emit>
FL_HD void each_harmonic(int degree, F x, F y, F z, Emit emit) {
  const F zero = x * 0.f, one = zero + 1.f;
  emit(0, one * 0.28209479177387814f, zero, zero, zero);
  if (degree <= 1) return;
  emit(1, -0.48860251190291987f * y, zero, one * -0.48860251190291987f, zero);
  emit(2, 0.48860251190291987f * z, zero, zero, one * 0.48860251190291987f);
  emit(3, -0.48860251190291987f * x, one * -0.48860251190291987f, zero, zero);
  if (degree <= 2) return;
  const F x2 = x * x, y2 = y * y, z2 = z * z;
  emit(4, 1.0925484305920792f * x * y, 1.0925484305920792f * y, 1.0925484305920792f * x, zero);
  emit(5, -1.0925484305920792f * y * z, zero, -1.0925484305920792f * z, -1.0925484305920792f * y);
  emit(6, 0.94617469575755997f * z2 - 0.31539156525251999f, zero, zero, 1.89234939151511994f * z);
  emit(7, -1.0925484305920792f * x * z, -1.0925484305920792f * z, zero, -1.0925484305920792f * x);
  emit(8, 0.54627421529603959f * (x2 - y2), 1.09254843059207918f * x, -1.09254843059207918f * y, zero);
  if (degree <= 3) return;
  emit(9, 0.59004358992664352f * y * (y2 - 3.f * x2), -3.54026153955986112f * x * y,
       1.77013076977993056f * (y2 - x2), zero);
  emit(10, 2.8906114426405538f * x * y * z, 2.8906114426405538f * y * z, 2.8906114426405538f * x * z,
       2.8906114426405538f * x * y);
  emit(11, 0.45704579946446572f * y * (1.f - 5.f * z2), zero, 0.45704579946446572f * (1.f - 5.f * z2),
       -4.5704579946446572f * y * z);
  emit(12, 0.3731763325901154f * z * (5.f * z2 - 3.f), zero, zero, 0.3731763325901154f * (15.f * z2 - 3.f));
  emit(13, 0.45704579946446572f * x * (1.f - 5.f * z2), 0.45704579946446572f * (1.f - 5.f * z2), zero,
       -4.5704579946446572f * x * z);
  emit(14, 1.4453057213202769f * z * (x2 - y2), 2.8906114426405538f * x * z, -2.8906114426405538f * y * z,
       1.4453057213202769f * (x2 - y2));
  emit(15, 0.59004358992664352f * x * (3.f * y2 - x2), 1.77013076977993056f * (y2 - x2),
       3.54026153955986112f * x * y, zero);
}

// One call handles samples [start, start + count), count <= FL_LANES.
FL_HD void spherical_harmonics_forward(const SphericalHarmonicsForward& a, std::int64_t start, int count) {
  const float* d = &a.directions.at(start, 0);
  const std::int64_t s = a.directions.stride_sample, c = a.directions.stride_channel;
  each_harmonic(a.degree, load_some(d, s, count), load_some(d + c, s, count), load_some(d + 2 * c, s, count),
                [&](int i, Lanes value, Lanes, Lanes, Lanes) {
                  store_some(&a.out.at(start, i), a.out.stride_sample, count, value);
                });
}

FL_HD void spherical_harmonics_backward(const SphericalHarmonicsBackward& a, std::int64_t start, int count) {
  const float* d = &a.directions.at(start, 0);
  const std::int64_t s = a.directions.stride_sample, c = a.directions.stride_channel;
  Lanes gx = broadcast(0.f), gy = broadcast(0.f), gz = broadcast(0.f);
  each_harmonic(a.degree, load_some(d, s, count), load_some(d + c, s, count), load_some(d + 2 * c, s, count),
                [&](int i, Lanes, Lanes dx, Lanes dy, Lanes dz) {
                  const Lanes g = load_some(&a.grad_out.at(start, i), a.grad_out.stride_sample, count);
                  gx += g * dx;
                  gy += g * dy;
                  gz += g * dz;
                });
  const std::int64_t so = a.grad_directions.stride_sample;
  store_some(&a.grad_directions.at(start, 0), so, count, gx);
  store_some(&a.grad_directions.at(start, 1), so, count, gy);
  store_some(&a.grad_directions.at(start, 2), so, count, gz);
}

#ifdef FL_ISA
}  // namespace FL_ISA
#endif
}  // namespace fieldlab
