// Walking one ray's samples together: with the lanes of a CPU register, or with the 32 threads of a GPU warp.
#pragma once
#include "lanes.h"

namespace fieldlab {

// What every operation on packed samples is given: ray r owns samples [offsets[r], offsets[r+1]).
struct PackedSamples {
  std::int64_t rays = 0;
  const std::int64_t* offsets = nullptr;  // [rays+1]
  const float* t_starts = nullptr;        // [samples]
  const float* t_ends = nullptr;
};
FL_FIELDS(PackedSamples, rays, offsets, t_starts, t_ends)

#ifdef FL_ISA
inline namespace FL_ISA {
#endif

// a >= b ? x : y, lane by lane.
FL_HD Lanes where_not_below(Lanes a, Lanes b, Lanes x, Lanes y) {
#if FL_LANES == 1
  return a >= b ? x : y;
#else
  const LanesI m = (LanesI)(a >= b);
  return (Lanes)(((LanesI)x & m) | ((LanesI)y & ~m));
#endif
}
FL_HD Lanes larger_of(Lanes a, Lanes b) { return where_not_below(a, b, a, b); }
FL_HD Lanes magnitude_of(Lanes a) { return larger_of(a, -a); }

#if FL_LANES == 8 && defined(__AVX2__)
FL_HD __m256i first_lanes(int count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
#endif

// The first `count` lanes of successive floats, zeros for the rest; nothing is read when count is 0.
FL_HD Lanes load_part(const float* p, int count) {
#if FL_LANES == 1
  return count > 0 ? *p : 0.f;
#else
  if (count == FL_LANES) return load(p);
#if defined(__AVX512F__)
  return (Lanes)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1u), p);
#elif defined(__AVX2__)
  return (Lanes)_mm256_maskload_ps(p, first_lanes(count));
#else
  return load_some(p, 1, count);
#endif
#endif
}
FL_HD void store_part(float* p, int count, Lanes v) {
#if FL_LANES == 1
  if (count > 0) *p = v;
#else
  if (count == FL_LANES) return store(p, v);
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << count) - 1u), (__m512)v);
#elif defined(__AVX2__)
  _mm256_maskstore_ps(p, first_lanes(count), (__m256)v);
#else
  store_some(p, 1, count, v);
#endif
#endif
}
// The same for one channel of a matrix.
FL_HD Lanes load_channel(const MatrixIn& m, std::int64_t sample, std::int64_t channel, int count) {
  if (m.stride_sample == 1 || count == 0) return load_part(m.data + sample + channel * m.stride_channel, count);
  return load_some(&m.at(sample, channel), m.stride_sample, count);
}
FL_HD void store_channel(const MatrixOut& m, std::int64_t sample, std::int64_t channel, int count, Lanes v) {
  if (m.stride_sample == 1) return store_part(m.data + sample + channel * m.stride_channel, count, v);
  if (count > 0) store_some(&m.at(sample, channel), m.stride_sample, count, v);
}

struct Group {
  int rank = 0;  // this thread among the threads that share the ray
  int size = 1;

  FL_HD int width() const { return FL_LANES * size; }
  FL_HD bool leader() const { return rank == 0; }
  // body(first sample, lanes in use) for this thread's part of every stretch of [begin, end), front to back or back to
  // front. All threads take the same number of turns, because the sums below need all of them.
  template <class Body>
  FL_HD void forwards(std::int64_t begin, std::int64_t end, Body body) const {
    for (std::int64_t base = begin; base < end; base += width()) turn(base, end, body);
  }
  template <class Body>
  FL_HD void backwards(std::int64_t begin, std::int64_t end, Body body) const {
    for (std::int64_t base = begin + (end - begin - 1) / width() * width(); base >= begin && begin < end; base -= width())
      turn(base, end, body);
  }
  template <class Body>
  FL_HD void turn(std::int64_t base, std::int64_t end, Body body) const {
    const std::int64_t i = base + rank * FL_LANES;
    const std::int64_t left = end - i;
    body(i, static_cast<int>(left < 0 ? 0 : left > FL_LANES ? FL_LANES : left));
  }
  // Makes what one thread of the group wrote visible to the others.
  FL_HD void sync() const {
#ifdef __CUDA_ARCH__
    __syncwarp();
#endif
  }
  FL_HD float sum(Lanes v) const {
#ifdef __CUDA_ARCH__
    for (int d = 16; d > 0; d >>= 1) v += __shfl_xor_sync(0xffffffffu, v, d);
    return v;
#else
    return sum_of(v);
#endif
  }
  // carry plus the sum of all lanes in front of each lane; the carry then grows by the sum of all.
  FL_HD Lanes sum_before(Lanes v, float& carry) const {
#ifdef __CUDA_ARCH__
    float running = v;
    for (int d = 1; d < 32; d <<= 1) {
      const float other = __shfl_up_sync(0xffffffffu, running, d);
      if (rank >= d) running += other;
    }
    const float before = __shfl_up_sync(0xffffffffu, running, 1);
    const float result = carry + (rank > 0 ? before : 0.f);
    carry += __shfl_sync(0xffffffffu, running, 31);
    return result;
#elif FL_LANES == 1
    const float result = carry;
    carry += v;
    return result;
#else
    for (int i = 0; i < FL_LANES; ++i) {
      const float x = v[i];
      v[i] = carry;
      carry += x;
    }
    return v;
#endif
  }
  // The same from the other end.
  FL_HD Lanes sum_after(Lanes v, float& carry) const {
#ifdef __CUDA_ARCH__
    float running = v;
    for (int d = 1; d < 32; d <<= 1) {
      const float other = __shfl_down_sync(0xffffffffu, running, d);
      if (rank + d < 32) running += other;
    }
    const float after = __shfl_down_sync(0xffffffffu, running, 1);
    const float result = carry + (rank < 31 ? after : 0.f);
    carry += __shfl_sync(0xffffffffu, running, 0);
    return result;
#elif FL_LANES == 1
    const float result = carry;
    carry += v;
    return result;
#else
    for (int i = FL_LANES - 1; i >= 0; --i) {
      const float x = v[i];
      v[i] = carry;
      carry += x;
    }
    return v;
#endif
  }
};

#ifdef FL_ISA
}  // namespace FL_ISA
#endif
}  // namespace fieldlab
