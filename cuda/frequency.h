// Frequency encoding (Mildenhall et al. 2020, eq. 4) in tiny-cuda-nn's order: per input dimension, for k = 0 ... n-1,
// sin(pi 2^k x) and then cos(pi 2^k x); on request the inputs themselves come first.
#pragma once
#include "lanes.h"

namespace fieldlab {

struct FrequencyForward {
  std::int64_t n;
  int dimensions;
  int frequencies;
  bool include_input;
  MatrixIn x;     // [n,dimensions]
  MatrixOut out;  // [n,dimensions*(2*frequencies + include_input)]
};
FL_FIELDS(FrequencyForward, n, dimensions, frequencies, include_input, x, out)
struct FrequencyBackward {
  std::int64_t n;
  int dimensions;
  int frequencies;
  bool include_input;
  MatrixIn x;
  MatrixIn grad_out;
  MatrixOut grad_x;
};
FL_FIELDS(FrequencyBackward, n, dimensions, frequencies, include_input, x, grad_out, grad_x)

// The encoding of 2 x - 1 with the inputs themselves, as the fused renderer takes it.
struct FrequencyEncoder {
  int frequencies;
};
FL_FIELDS(FrequencyEncoder, frequencies)

#ifdef FL_ISA
inline namespace FL_ISA {
#endif

// sin(pi x) and cos(pi x). The argument is reduced to |r| <= 1/4 exactly, in units of pi, so that high frequencies lose
// nothing to the rounding of pi; Taylor polynomials then stay within 1e-7.
template <class F>
FL_HD void sin_cos_pi(F x, F& sine, F& cosine) {
  const F quarter = floor_of(x * 2.f + 0.5f);
  const F r = (x - quarter * 0.5f) * 3.14159265358979324f;
  const F r2 = r * r;
  F s = r2 * 2.7557319e-6f - 1.9841270e-4f;
  s = s * r2 + 8.3333333e-3f;
  s = s * r2 - 1.6666667e-1f;
  s = s * r2 * r + r;
  F c = r2 * 2.4801587e-5f - 1.3888889e-3f;
  c = c * r2 + 4.1666667e-2f;
  c = c * r2 - 0.5f;
  c = c * r2 + 1.f;
  const F half = floor_of(quarter * 0.5f);            // quadrant = quarter mod 4, found in floats
  const F odd = quarter - half * 2.f;                 // 1 in quadrants 1 and 3: sine and cosine trade places
  const F turn = half - floor_of(half * 0.5f) * 2.f;  // 1 in quadrants 2 and 3: both change sign
  const F sign = 1.f - 2.f * turn;
  sine = sign * (s + odd * (c - s));
  cosine = sign * (c - odd * (c + s));
}

// emit(2 k, sin(pi 2^k x)) and emit(2 k + 1, cos(pi 2^k x)) for all k.
template <class Emit>
FL_HD void each_frequency(int frequencies, Lanes x, const Emit& emit) {
  for (int k = 0; k < frequencies; ++k, x = x * 2.f) {
    Lanes sine, cosine;
    sin_cos_pi(x, sine, cosine);
    emit(2 * k, sine);
    emit(2 * k + 1, cosine);
  }
}

FL_HD void frequency_forward(const FrequencyForward& a, std::int64_t start, int count) {
  const auto put = [&](int column, Lanes value) {
    store_some(&a.out.at(start, column), a.out.stride_sample, count, value);
  };
  for (int d = 0; d < a.dimensions; ++d) {
    const Lanes x = load_some(&a.x.at(start, d), a.x.stride_sample, count);
    if (a.include_input) put(d, x);
    const int first = (a.include_input ? a.dimensions : 0) + 2 * d * a.frequencies;
    each_frequency(a.frequencies, x, [&](int i, Lanes value) { put(first + i, value); });
  }
}

FL_HD int channels(const FrequencyEncoder& e) { return 3 * (1 + 2 * e.frequencies); }
FL_HD std::int64_t encode_scratch(const FrequencyEncoder&, int) { return 0; }
FL_HD void encode_tile(const Team& team, const FrequencyEncoder& e, const float* x, int tile, float* out, float*) {
  const int groups = tile / FL_LANES;
  for (int i = team.rank; i < 3 * groups; i += team.size) {
    const int d = i / groups, at = i % groups * FL_LANES;
    const Lanes u = load(x + d * tile + at) * 2.f - 1.f;
    store(out + d * tile + at, u);
    float* to = out + (3 + 2 * d * e.frequencies) * tile + at;
    each_frequency(e.frequencies, u, [&](int k, Lanes value) { store(to + k * tile, value); });
  }
}

FL_HD void frequency_backward(const FrequencyBackward& a, std::int64_t start, int count) {
  for (int d = 0; d < a.dimensions; ++d) {
    Lanes x = load_some(&a.x.at(start, d), a.x.stride_sample, count);
    const std::int64_t s = a.grad_out.stride_sample;
    Lanes total = a.include_input ? load_some(&a.grad_out.at(start, d), s, count) : broadcast(0.f);
    float slope = 3.14159265358979324f;
    for (int k = 0; k < a.frequencies; ++k, x = x * 2.f, slope *= 2.f) {
      Lanes sine, cosine;
      sin_cos_pi(x, sine, cosine);
      const int column = (a.include_input ? a.dimensions : 0) + (d * a.frequencies + k) * 2;
      total += slope * (load_some(&a.grad_out.at(start, column), s, count) * cosine -
                        load_some(&a.grad_out.at(start, column + 1), s, count) * sine);
    }
    store_some(&a.grad_x.at(start, d), a.grad_x.stride_sample, count, total);
  }
}

#ifdef FL_ISA
}  // namespace FL_ISA
#endif
}  // namespace fieldlab
