// Multiresolution hash encoding (Müller et al. 2022), laid out as tiny-cuda-nn's HashGrid; see fieldlab/ops/hash_grid.py.
#pragma once
#include "lanes.h"
#if defined(__CUDACC__) && !defined(FL_NO_HALF)
#include <cuda_fp16.h>
#endif

namespace fieldlab {

constexpr int kMaxHashLevels = 32;

struct HashLevel {
  float scale;               // position = x * scale + 0.5
  std::uint32_t resolution;  // vertices along an axis
  std::uint32_t offset;      // first entry
  std::uint32_t entries;     // number of entries; a power of two where hashed
  bool hashed;
};
struct HashGrid {
  int levels;
  int features;  // 1, 2, 4 or 8 per level
  bool smooth;
  HashLevel level[kMaxHashLevels];
};

struct HashGridForward {
  std::int64_t n;
  HashGrid grid;
  MatrixIn x;         // [n,3] in [0,1]
  const void* table;  // float, or __half on the GPU
  bool half;
  MatrixOut out;      // [n,levels*features]
};
struct HashGridBackwardTable {
  std::int64_t n;
  HashGrid grid;
  MatrixIn x;
  MatrixIn grad_out;
  float* grad_table;  // added to
};
struct HashGridBackwardInput {
  std::int64_t n;
  HashGrid grid;
  MatrixIn x;
  const void* table;
  bool half;
  MatrixIn grad_out;
  MatrixOut grad_x;  // [n,3], overwritten
};

#ifdef FL_ISA
inline namespace FL_ISA {
#endif

// Where samples lie in a level: lower vertex, interpolation weights of the upper one, and the weights' derivatives.
struct HashCell {
  LanesU vertex[3];
  Lanes upper[3];
  Lanes slope[3];
};

FL_HD HashCell locate(const HashGrid& grid, const HashLevel& level, const Lanes x[3]) {
  HashCell cell;
  for (int axis = 0; axis < 3; ++axis) {
    const Lanes position = x[axis] * level.scale + 0.5f;
    const Lanes lower = floor_of(position);
    const Lanes fraction = position - lower;
    cell.vertex[axis] = to_unsigned(lower);
    cell.upper[axis] = grid.smooth ? fraction * fraction * (3.f - 2.f * fraction) : fraction;
    cell.slope[axis] = grid.smooth ? level.scale * 6.f * fraction * (1.f - fraction) : fraction * 0.f + level.scale;
  }
  return cell;
}

// Entries, within the level, of the eight corners; corner bit 0 is x. Dense indices exceed the level by less than its
// size (only in the last cells), so one subtraction is tiny-cuda-nn's modulo.
FL_HD void corner_entries(const HashLevel& level, const HashCell& cell, LanesU entry[8]) {
  const bool hashed = level.hashed;
  const std::uint32_t py = hashed ? 2654435761u : level.resolution;
  const std::uint32_t pz = hashed ? 805459861u : level.resolution * level.resolution;
  const LanesU x[2] = {cell.vertex[0], cell.vertex[0] + 1u};
  const LanesU y[2] = {cell.vertex[1] * py, cell.vertex[1] * py + py};
  const LanesU z[2] = {cell.vertex[2] * pz, cell.vertex[2] * pz + pz};
  for (int c = 0; c < 8; ++c) {
    if (hashed)
      entry[c] = (x[c & 1] ^ y[c >> 1 & 1] ^ z[c >> 2]) & (level.entries - 1u);
    else
      entry[c] = subtract_if_not_below(x[c & 1] + y[c >> 1 & 1] + z[c >> 2], level.entries);
  }
}

FL_HD void corner_weights(const HashCell& cell, Lanes weight[8]) {
  const Lanes x[2] = {1.f - cell.upper[0], cell.upper[0]};
  const Lanes y[2] = {1.f - cell.upper[1], cell.upper[1]};
  const Lanes z[2] = {1.f - cell.upper[2], cell.upper[2]};
  for (int c = 0; c < 8; ++c) weight[c] = x[c & 1] * y[c >> 1 & 1] * z[c >> 2];
}

FL_HD float table_value(const float* table, std::int64_t i) { return table[i]; }
#if defined(__CUDACC__) && !defined(FL_NO_HALF)
FL_HD float table_value(const __half* table, std::int64_t i) { return __half2float(table[i]); }
#endif

// The features of one entry per lane.
template <int Features, class T>
FL_HD void fetch(const T* table, LanesU entry, Lanes value[Features]) {
#if FL_LANES == 1
  for (int f = 0; f < Features; ++f) value[f] = table_value(table, std::int64_t{entry} * Features + f);
#else
  // With two features an entry, the usual case, both travel as one double.
#if FL_LANES == 16
  if constexpr (Features == 2) {
    const __m512i index = (__m512i)entry;
    const double* base = reinterpret_cast<const double*>(table);
    const __m512 low = _mm512_castpd_ps(_mm512_i32gather_pd(_mm512_castsi512_si256(index), base, 8));
    const __m512 high = _mm512_castpd_ps(_mm512_i32gather_pd(_mm512_extracti64x4_epi64(index, 1), base, 8));
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    value[0] = (Lanes)_mm512_permutex2var_ps(low, even, high);
    value[1] = (Lanes)_mm512_permutex2var_ps(low, odd, high);
    return;
  }
#elif FL_LANES == 8
  if constexpr (Features == 2) {
    const __m256i index = (__m256i)entry;
    const double* base = reinterpret_cast<const double*>(table);
    const __m256 low = _mm256_castpd_ps(_mm256_i32gather_pd(base, _mm256_castsi256_si128(index), 8));
    const __m256 high = _mm256_castpd_ps(_mm256_i32gather_pd(base, _mm256_extracti128_si256(index, 1), 8));
    const __m256d even = _mm256_castps_pd(_mm256_shuffle_ps(low, high, 0x88));
    const __m256d odd = _mm256_castps_pd(_mm256_shuffle_ps(low, high, 0xdd));
    value[0] = (Lanes)_mm256_permute4x64_pd(even, 0xd8);
    value[1] = (Lanes)_mm256_permute4x64_pd(odd, 0xd8);
    return;
  }
#endif
  float v[Features][FL_LANES];
  for (int i = 0; i < FL_LANES; ++i)
    for (int f = 0; f < Features; ++f) v[f][i] = table[std::int64_t{entry[i]} * Features + f];
  for (int f = 0; f < Features; ++f) value[f] = load(v[f]);
#endif
}

// The features of one level at up to FL_LANES positions.
template <int Features, class T>
FL_HD void encode_level(const HashGrid& grid, const HashLevel& level, const T* table, const Lanes x[3],
                        Lanes total[Features]) {
  const HashCell cell = locate(grid, level, x);
  LanesU entry[8];
  Lanes weight[8];
  corner_entries(level, cell, entry);
  corner_weights(cell, weight);
  const T* base = table + std::int64_t{level.offset} * Features;
  for (int f = 0; f < Features; ++f) total[f] = broadcast(0.f);
  for (int c = 0; c < 8; ++c) {
    Lanes value[Features];
    fetch<Features>(base, entry[c], value);
    for (int f = 0; f < Features; ++f) total[f] += weight[c] * value[f];
  }
}

template <int Features, class T>
FL_HD void hash_forward(const HashGridForward& a, int level, std::int64_t start, int count) {
  Lanes x[3], total[Features];
  load_position(a.x, start, count, x);
  encode_level<Features>(a.grid, a.grid.level[level], static_cast<const T*>(a.table), x, total);
  for (int f = 0; f < Features; ++f)
    store_some(&a.out.at(start, level * Features + f), a.out.stride_sample, count, total[f]);
}

// Adds one level's share of the gradient to the table. `add(pointer, value)` is atomic on the GPU; on the CPU a level
// belongs to one thread, so that plain additions in a fixed order do.
template <int Features, class Add>
FL_HD void hash_backward_table(const HashGridBackwardTable& a, int level, std::int64_t start, int count, Add add) {
  const HashLevel& l = a.grid.level[level];
  Lanes x[3], weight[8];
  LanesU entry[8];
  load_position(a.x, start, count, x);
  const HashCell cell = locate(a.grid, l, x);
  corner_entries(l, cell, entry);
  corner_weights(cell, weight);
  float* base = a.grad_table + std::int64_t{l.offset} * Features;
#if FL_LANES == 1
  (void)count;
  for (int f = 0; f < Features; ++f) {
    const float g = a.grad_out.at(start, level * Features + f);
    for (int c = 0; c < 8; ++c) add(base + std::int64_t{entry[c]} * Features + f, weight[c] * g);
  }
#else
  float w[8][FL_LANES], g[Features][FL_LANES];
  std::uint32_t e[8][FL_LANES];
  for (int c = 0; c < 8; ++c) {
    store(w[c], weight[c]);
    std::memcpy(e[c], &entry[c], sizeof entry[c]);
  }
  for (int f = 0; f < Features; ++f)
    store(g[f], load_some(&a.grad_out.at(start, level * Features + f), a.grad_out.stride_sample, count));
  // Corners inside, samples outside: neighbours on a ray share cells, and eight additions between two to the same place
  // hide their latency.
  for (int i = 0; i < count; ++i) add(base, e, w, g, i);
#endif
}

template <int Features, class T>
FL_HD void hash_backward_input(const HashGridBackwardInput& a, std::int64_t start, int count) {
  Lanes x[3], grad[3] = {broadcast(0.f), broadcast(0.f), broadcast(0.f)};
  load_position(a.x, start, count, x);
  for (int level = 0; level < a.grid.levels; ++level) {
    const HashLevel& l = a.grid.level[level];
    const HashCell cell = locate(a.grid, l, x);
    LanesU entry[8];
    corner_entries(l, cell, entry);
    Lanes g[Features], v[8];
    for (int f = 0; f < Features; ++f)
      g[f] = load_some(&a.grad_out.at(start, level * Features + f), a.grad_out.stride_sample, count);
    for (int c = 0; c < 8; ++c) {
      Lanes value[Features];
      fetch<Features>(static_cast<const T*>(a.table) + std::int64_t{l.offset} * Features, entry[c], value);
      v[c] = g[0] * value[0];
      for (int f = 1; f < Features; ++f) v[c] += g[f] * value[f];
    }
    const Lanes ux = cell.upper[0], uy = cell.upper[1], uz = cell.upper[2];
    const Lanes lx = 1.f - ux, ly = 1.f - uy, lz = 1.f - uz;
    grad[0] += cell.slope[0] * (lz * (ly * (v[1] - v[0]) + uy * (v[3] - v[2])) +
                                uz * (ly * (v[5] - v[4]) + uy * (v[7] - v[6])));
    grad[1] += cell.slope[1] * (lz * (lx * (v[2] - v[0]) + ux * (v[3] - v[1])) +
                                uz * (lx * (v[6] - v[4]) + ux * (v[7] - v[5])));
    grad[2] += cell.slope[2] * (ly * (lx * (v[4] - v[0]) + ux * (v[5] - v[1])) +
                                uy * (lx * (v[6] - v[2]) + ux * (v[7] - v[3])));
  }
  for (int axis = 0; axis < 3; ++axis)
    store_some(&a.grad_x.at(start, axis), a.grad_x.stride_sample, count, grad[axis]);
}

#ifdef FL_ISA
}  // namespace FL_ISA
#endif

// Calls body with an integral constant of the number of features.
#define FL_WITH_FEATURES(features, BODY) \
  switch (features) {                    \
    case 1: { constexpr int Features = 1; BODY; break; } \
    case 2: { constexpr int Features = 2; BODY; break; } \
    case 4: { constexpr int Features = 4; BODY; break; } \
    case 8: { constexpr int Features = 8; BODY; break; } \
  }

}  // namespace fieldlab
