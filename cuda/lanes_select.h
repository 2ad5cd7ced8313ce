// Arithmetic for algorithms in which lanes take different ways: the same names for one float (or int) and for lanes of
// them, with choices made by picking instead of branching.
#pragma once
#include "lanes.h"

namespace fieldlab {
#ifdef FL_ISA
inline namespace FL_ISA {
#endif

template <class F>
struct IntegerFor {
  using Type = std::int32_t;
};
template <class F>
using IntegerOf = typename IntegerFor<F>::Type;

FL_HD float pick(bool test, float a, float b) { return test ? a : b; }
FL_HD std::int32_t pick(bool test, std::int32_t a, std::int32_t b) { return test ? a : b; }
FL_HD bool any_of(bool test) { return test; }
FL_HD float larger(float a, float b) { return a > b ? a : b; }
FL_HD float smaller(float a, float b) { return a < b ? a : b; }
FL_HD std::int32_t larger(std::int32_t a, std::int32_t b) { return a > b ? a : b; }
FL_HD std::int32_t smaller(std::int32_t a, std::int32_t b) { return a < b ? a : b; }
FL_HD float absolute(float a) { return fabsf(a); }
FL_HD std::int32_t to_integer(float a) { return static_cast<std::int32_t>(a); }
FL_HD float to_real(std::int32_t a) { return static_cast<float>(a); }
FL_HD float clamp_of(float a, float low, float high) { return smaller(larger(a, low), high); }
FL_HD float exp2_of(float a) { return exp2f(a); }
FL_HD float log2_of(float a) { return log2f(a); }
FL_HD std::int32_t bits_of(float a) {
#ifdef __CUDA_ARCH__
  return __float_as_int(a);
#else
  std::int32_t v;
  std::memcpy(&v, &a, sizeof v);
  return v;
#endif
}
FL_HD float real_from_bits(std::int32_t a) {
#ifdef __CUDA_ARCH__
  return __int_as_float(a);
#else
  float v;
  std::memcpy(&v, &a, sizeof v);
  return v;
#endif
}
// Half a word of 64 bits, the low halves at even places.
FL_HD std::int32_t gather(const std::uint64_t* words, std::int32_t half) {
  return static_cast<std::int32_t>(words[half >> 1] >> (32 * (half & 1)));
}
FL_HD std::int32_t lane_of(std::int32_t v, int) { return v; }
FL_HD void set_lane(std::int32_t& v, int, std::int32_t value) { v = value; }
FL_HD void load_rays(const float* p, std::int64_t, int, float& v) { v = *p; }

#if FL_LANES > 1
template <>
struct IntegerFor<Lanes> {
  using Type = LanesI;
};
FL_HD Lanes pick(LanesI test, Lanes a, Lanes b) { return (Lanes)(((LanesI)a & test) | ((LanesI)b & ~test)); }
FL_HD LanesI pick(LanesI test, LanesI a, LanesI b) { return (a & test) | (b & ~test); }
FL_HD bool any_of(LanesI test) {
#if defined(__AVX512F__)
  return _mm512_test_epi32_mask((__m512i)test, (__m512i)test) != 0;
#elif defined(__AVX2__)
  return !_mm256_testz_si256((__m256i)test, (__m256i)test);
#else
  std::int32_t any = 0;
  for (int i = 0; i < FL_LANES; ++i) any |= test[i];
  return any != 0;
#endif
}
FL_HD Lanes larger(Lanes a, Lanes b) { return pick((LanesI)(a > b), a, b); }
FL_HD Lanes smaller(Lanes a, Lanes b) { return pick((LanesI)(a < b), a, b); }
FL_HD LanesI larger(LanesI a, LanesI b) { return pick((LanesI)(a > b), a, b); }
FL_HD LanesI smaller(LanesI a, LanesI b) { return pick((LanesI)(a < b), a, b); }
FL_HD Lanes absolute(Lanes a) { return (Lanes)((LanesI)a & 0x7fffffff); }
FL_HD LanesI to_integer(Lanes a) { return __builtin_convertvector(a, LanesI); }
FL_HD Lanes to_real(LanesI a) { return __builtin_convertvector(a, Lanes); }
FL_HD Lanes clamp_of(Lanes a, float low, float high) { return smaller(larger(a, broadcast(low)), broadcast(high)); }
FL_HD LanesI bits_of(Lanes a) { return (LanesI)a; }
FL_HD Lanes real_from_bits(LanesI a) { return (Lanes)a; }
FL_HD Lanes exp2_of(Lanes a) {
  const Lanes n = floor_of(a);
  return exp_of((a - n) * 0.693147180559945309f) * real_from_bits((to_integer(n) + 127) << 23);
}
// To within 1e-7 of the logarithm, or of 1 where that is more.
FL_HD Lanes log2_of(Lanes a) {
  const LanesI e = (bits_of(a) - 0x3f3504f3) >> 23;  // so that the rest lies between sqrt(1/2) and sqrt(2)
  const Lanes m = real_from_bits(bits_of(a) - (e << 23));
  const Lanes s = (m - 1.f) / (m + 1.f), q = s * s;
  const Lanes series = 2.88539008f + q * (0.961796694f + q * (0.577078016f + q * (0.412198583f + q * 0.320598898f)));
  return to_real(e) + s * series;
}
FL_HD LanesI gather(const std::uint64_t* words, LanesI half) {
  const int* p = reinterpret_cast<const int*>(words);
#if defined(__AVX512F__)
  return (LanesI)_mm512_i32gather_epi32((__m512i)half, p, 4);
#elif defined(__AVX2__)
  return (LanesI)_mm256_i32gather_epi32(p, (__m256i)half, 4);
#else
  LanesI v;
  for (int i = 0; i < FL_LANES; ++i) v[i] = static_cast<std::int32_t>(words[half[i] >> 1] >> (32 * (half[i] & 1)));
  return v;
#endif
}
FL_HD std::int32_t lane_of(LanesI v, int i) { return v[i]; }
FL_HD void set_lane(LanesI& v, int i, std::int32_t value) { v[i] = value; }
FL_HD void load_rays(const float* p, std::int64_t stride, int count, Lanes& v) { v = load_some(p, stride, count); }
#endif

#ifdef FL_ISA
}  // namespace FL_ISA
#endif
}  // namespace fieldlab
