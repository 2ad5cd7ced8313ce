// Lanes: the arithmetic type kernels are written in. One float on a GPU thread (or an unknown CPU compiler); a SIMD
// register on a CPU, as wide as the instruction set this file is compiled for. Kernels are templates over it, so the
// very same source serves both.
#pragma once
#include <cstring>

#include "platform.h"

#if defined(__CUDACC__) || !(defined(__GNUC__) || defined(__clang__))
#define FL_LANES 1
#elif defined(__AVX512F__)
#define FL_LANES 16
#elif defined(__AVX2__)
#define FL_LANES 8
#else
#define FL_LANES 4
#endif

#if FL_LANES > 1 && (defined(__AVX2__) || defined(__AVX512F__))
#include <immintrin.h>
#endif

namespace fieldlab {
// Each instruction set gets its own namespace: were these inline functions to share names between objects compiled
// with different flags, the linker would keep one of them and run it on processors that cannot.
#ifdef FL_ISA
inline namespace FL_ISA {
#endif

#if FL_LANES == 1
using Lanes = float;
using LanesU = std::uint32_t;
using LanesI = std::int32_t;
FL_HD Lanes load(const float* p) { return *p; }
FL_HD void store(float* p, Lanes v) { *p = v; }
FL_HD Lanes broadcast(float v) { return v; }
FL_HD LanesU to_unsigned(Lanes v) { return static_cast<LanesU>(static_cast<LanesI>(v)); }
FL_HD Lanes to_float(LanesU v) { return static_cast<float>(static_cast<LanesI>(v)); }
FL_HD Lanes floor_of(Lanes v) { return floorf(v); }
FL_HD Lanes at_least(Lanes a, float b) { return fmaxf(a, b); }
FL_HD Lanes at_most(Lanes a, float b) { return fminf(a, b); }
FL_HD Lanes where_positive(Lanes test, Lanes value) { return test > 0.f ? value : 0.f; }
FL_HD Lanes where_nonzero(Lanes test, Lanes a, Lanes b) { return test != 0.f ? a : b; }
FL_HD bool all_zero(Lanes v) { return v == 0.f; }
FL_HD LanesU subtract_if_not_below(LanesU v, std::uint32_t bound) { return v >= bound ? v - bound : v; }
FL_HD Lanes exp_of(Lanes v) { return expf(v); }
FL_HD void sincos_of(Lanes v, Lanes& sine, Lanes& cosine) {
  sine = sinf(v);
  cosine = cosf(v);
}
FL_HD float sum_of(Lanes v) { return v; }
FL_HD void transpose(Lanes (&)[1]) {}
FL_HD Lanes sqrt_of(Lanes v) { return sqrtf(v); }
FL_HD Lanes gather(const float* base, LanesU index) { return base[index]; }
#else
typedef float Lanes __attribute__((vector_size(FL_LANES * 4)));
typedef std::uint32_t LanesU __attribute__((vector_size(FL_LANES * 4)));
typedef std::int32_t LanesI __attribute__((vector_size(FL_LANES * 4)));

FL_HD Lanes load(const float* p) {
  Lanes v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
FL_HD void store(float* p, Lanes v) { std::memcpy(p, &v, sizeof v); }
FL_HD Lanes broadcast(float v) { return v - Lanes{}; }
FL_HD LanesU to_unsigned(Lanes v) { return (LanesU) __builtin_convertvector(v, LanesI); }
FL_HD Lanes to_float(LanesU v) { return __builtin_convertvector((LanesI)v, Lanes); }
FL_HD Lanes floor_of(Lanes v) {
  const Lanes t = __builtin_convertvector(__builtin_convertvector(v, LanesI), Lanes);
  return t - (Lanes)((LanesI)(t > v) & (LanesI)broadcast(1.f));
}
FL_HD Lanes at_least(Lanes a, float b) {
  const Lanes bb = broadcast(b);
  const LanesI m = a > bb;
  return (Lanes)(((LanesI)a & m) | ((LanesI)bb & ~m));
}
FL_HD Lanes at_most(Lanes a, float b) {
  const Lanes bb = broadcast(b);
  const LanesI m = a < bb;
  return (Lanes)(((LanesI)a & m) | ((LanesI)bb & ~m));
}
FL_HD Lanes where_positive(Lanes test, Lanes value) { return (Lanes)((LanesI)value & (LanesI)(test > Lanes{})); }
FL_HD Lanes where_nonzero(Lanes test, Lanes a, Lanes b) {
  const LanesI m = test != Lanes{};
  return (Lanes)(((LanesI)a & m) | ((LanesI)b & ~m));
}
FL_HD bool all_zero(Lanes v) {
#if FL_LANES == 16
  return _mm512_cmp_ps_mask((__m512)v, _mm512_setzero_ps(), _CMP_NEQ_UQ) == 0;
#elif FL_LANES == 8
  return _mm256_movemask_ps(_mm256_cmp_ps((__m256)v, _mm256_setzero_ps(), _CMP_NEQ_UQ)) == 0;
#else
  bool zero = true;
  for (int i = 0; i < FL_LANES; ++i) zero &= v[i] == 0.f;
  return zero;
#endif
}
FL_HD LanesU subtract_if_not_below(LanesU v, std::uint32_t bound) {
  const LanesU b = v - v + bound;
  return v - (b & (LanesU)(v >= b));
}
FL_HD float sum_of(Lanes v) {
  float total = 0.f;
  for (int i = 0; i < FL_LANES; ++i) total += v[i];
  return total;
}

FL_HD Lanes sqrt_of(Lanes v) {
#if FL_LANES == 16
  return (Lanes)_mm512_sqrt_ps((__m512)v);
#elif FL_LANES == 8
  return (Lanes)_mm256_sqrt_ps((__m256)v);
#else
  for (int i = 0; i < FL_LANES; ++i) v[i] = sqrtf(v[i]);
  return v;
#endif
}
FL_HD Lanes gather(const float* base, LanesU index) {  // base[index] of every lane
#if FL_LANES == 16
  return (Lanes)_mm512_i32gather_ps((__m512i)index, base, 4);
#elif FL_LANES == 8
  return (Lanes)_mm256_i32gather_ps(base, (__m256i)index, 4);
#else
  Lanes v;
  for (int i = 0; i < FL_LANES; ++i) v[i] = base[index[i]];
  return v;
#endif
}

// exp to within 2 ulp: 2^n times a degree-6 polynomial on [-ln2/2, ln2/2] (Cephes' coefficients), saturating at the ends.
FL_HD Lanes exp_of(Lanes x) {
  const Lanes high = broadcast(88.3f), low = broadcast(-87.3f);
  LanesI m = x > high;
  x = (Lanes)(((LanesI)high & m) | ((LanesI)x & ~m));
  m = x < low;
  x = (Lanes)(((LanesI)low & m) | ((LanesI)x & ~m));
  const Lanes n = floor_of(x * 1.44269504088896341f + 0.5f);
  const Lanes r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Lanes p = broadcast(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.f;
  const LanesI exponent = (__builtin_convertvector(n, LanesI) + 127) << 23;
  return p * (Lanes)exponent;
}

// Sine and cosine to within 1e-7 for |x| up to 1e4: what is left of x beside the nearest multiple of pi/2, which is
// subtracted in three parts, goes through Cephes' polynomials; the quadrant says which is which.
FL_HD void sincos_of(Lanes x, Lanes& sine, Lanes& cosine) {
  const Lanes n = floor_of(x * 0.636619772367581343f + 0.5f);
  const Lanes r = ((x - n * 1.5703125f) - n * 4.837512969970703125e-4f) - n * 7.54978995489188216e-8f;
  const Lanes r2 = r * r;
  const Lanes s = r + r * r2 * (-1.6666654611e-1f + r2 * (8.3321608736e-3f - r2 * 1.9515295891e-4f));
  const Lanes c = 1.f - 0.5f * r2 +
                  r2 * r2 * (4.166664568298827e-2f + r2 * (-1.388731625493765e-3f + r2 * 2.443315711809948e-5f));
  const LanesI quadrant = __builtin_convertvector(n, LanesI), odd = -(quadrant & 1);
  sine = (Lanes)((((LanesI)c & odd) | ((LanesI)s & ~odd)) ^ ((quadrant & 2) << 30));
  cosine = (Lanes)((((LanesI)s & odd) | ((LanesI)c & ~odd)) ^ (((quadrant + 1) & 2) << 30));
}
#endif

#if FL_LANES > 1
FL_HD Lanes choose(Lanes a, Lanes b, LanesI from) {  // lane i: element from[i] of a and b side by side
#if defined(__clang__)
  Lanes v;
  for (int i = 0; i < FL_LANES; ++i) v[i] = from[i] < FL_LANES ? a[from[i]] : b[from[i] - FL_LANES];
  return v;
#else
  return __builtin_shuffle(a, b, from);
#endif
}

// Transposes a square of lanes in place, by exchanging blocks of 1, 2, 4, ... between rows that far apart.
template <int Step = 1>
FL_HD void transpose(Lanes (&v)[FL_LANES]) {
  LanesI upper, lower;
#pragma GCC unroll 16
  for (int j = 0; j < FL_LANES; ++j) {
    upper[j] = j & Step ? FL_LANES + (j ^ Step) : j;
    lower[j] = j & Step ? FL_LANES + j : j ^ Step;
  }
#pragma GCC unroll 16
  for (int i = 0; i < FL_LANES; ++i)
    if (!(i & Step)) {
      const Lanes a = v[i], b = v[i + Step];
      v[i] = choose(a, b, upper);
      v[i + Step] = choose(a, b, lower);
    }
  if constexpr (Step * 2 < FL_LANES) transpose<Step * 2>(v);
}
#endif

// The first `count` lanes from (to) memory with a stride in elements; the other lanes are zero (left alone).
FL_HD Lanes load_some(const float* p, std::int64_t stride, int count) {
#if FL_LANES == 1
  (void)stride, (void)count;
  return *p;
#else
  if (stride == 1 && count == FL_LANES) return load(p);
  float v[FL_LANES] = {};
  for (int i = 0; i < count; ++i) v[i] = p[i * stride];
  return load(v);
#endif
}
FL_HD void store_some(float* p, std::int64_t stride, int count, Lanes value) {
#if FL_LANES == 1
  (void)stride, (void)count;
  *p = value;
#else
  if (stride == 1 && count == FL_LANES) return store(p, value);
  float v[FL_LANES];
  store(v, value);
  for (int i = 0; i < count; ++i) p[i * stride] = v[i];
#endif
}

FL_HD Lanes sin_of(Lanes v) {
  Lanes sine, cosine;
  sincos_of(v, sine, cosine);
  return sine;
}
FL_HD Lanes cos_of(Lanes v) {
  Lanes sine, cosine;
  sincos_of(v, sine, cosine);
  return cosine;
}
FL_HD Lanes between(Lanes a, float low, float high) { return at_most(at_least(a, low), high); }  // low where a is NaN

// Positions clamped to the unit square or cube.
template <int Dims>
FL_HD void load_position(const MatrixIn& m, std::int64_t start, int count, Lanes (&x)[Dims]) {
  for (int axis = 0; axis < Dims; ++axis) {
    const Lanes v = load_some(&m.at(start, axis), m.stride_sample, count);
    x[axis] = between(v, 0.f, 1.f);
  }
}

FL_HD Lanes sigmoid_of(Lanes v) { return 1.f / (1.f + exp_of(-v)); }

#ifdef FL_ISA
}  // namespace FL_ISA
#endif
}  // namespace fieldlab
