// Multiresolution hash encoding (Müller et al. 2022), laid out as tiny-cuda-nn's HashGrid; see fieldlab/ops/hash_grid.py.
#pragma once
#include "lanes.h"
#if defined(__CUDACC__) && !defined(FL_NO_HALF)
#include <cuda_fp16.h>
#endif

namespace fieldlab {

constexpr int kMaxHashLevels = FL_MAX_HASH_LEVELS;

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
  int dims;  // of space: 2 or 3
};

struct HashGridForward {
  std::int64_t n;
  HashGrid grid;
  MatrixIn x;         // [n,dims] in [0,1]
  const void* table;  // float, or __half on the GPU
  bool half;
  MatrixOut out;      // [n,levels*features]
};
FL_FIELDS(HashGridForward, n, grid, x, table, half, out)
struct HashGridBackwardTable {
  std::int64_t n;
  HashGrid grid;
  MatrixIn x;
  MatrixIn grad_out;
  float* grad_table;  // added to
};
FL_FIELDS(HashGridBackwardTable, n, grid, x, grad_out, grad_table)
struct HashGridBackwardInput {
  std::int64_t n;
  HashGrid grid;
  MatrixIn x;
  const void* table;
  bool half;
  MatrixIn grad_out;
  MatrixOut grad_x;  // [n,dims], overwritten
};
FL_FIELDS(HashGridBackwardInput, n, grid, x, table, half, grad_out, grad_x)
// The encoding as the fused renderer takes it.
struct HashGridEncoder {
  HashGrid grid;
  const void* table;
  bool half;
};
FL_FIELDS(HashGridEncoder, grid, table, half)

#ifdef FL_ISA
inline namespace FL_ISA {
#endif

// Where samples lie in a level: lower vertex, interpolation weights of the upper one, and the weights' derivatives.
template <int Dims>
struct HashCell {
  LanesU vertex[Dims];
  Lanes upper[Dims];
  Lanes slope[Dims];
};

template <int Dims>
FL_HD HashCell<Dims> locate(const HashGrid& grid, const HashLevel& level, const Lanes (&x)[Dims]) {
  HashCell<Dims> cell;
  for (int axis = 0; axis < Dims; ++axis) {
    const Lanes position = x[axis] * level.scale + 0.5f;
    const Lanes lower = floor_of(position);
    const Lanes fraction = position - lower;
    cell.vertex[axis] = to_unsigned(lower);
    cell.upper[axis] = grid.smooth ? fraction * fraction * (3.f - 2.f * fraction) : fraction;
    cell.slope[axis] = grid.smooth ? level.scale * 6.f * fraction * (1.f - fraction) : fraction * 0.f + level.scale;
  }
  return cell;
}

// Entries, within the level, of the cell's corners; corner bit 0 is x. Dense indices exceed the level by less than its
// size (only in the last cells), so one subtraction is tiny-cuda-nn's modulo.
template <int Dims>
FL_HD void corner_entries(const HashLevel& level, const HashCell<Dims>& cell, LanesU (&entry)[1 << Dims]) {
  const bool hashed = level.hashed;
  const std::uint32_t factor[3] = {1u, hashed ? 2654435761u : level.resolution,
                                   hashed ? 805459861u : level.resolution * level.resolution};
  LanesU side[Dims][2];
  for (int axis = 0; axis < Dims; ++axis) {
    side[axis][0] = cell.vertex[axis] * factor[axis];
    side[axis][1] = side[axis][0] + factor[axis];
  }
  for (int c = 0; c < 1 << Dims; ++c) {
    LanesU e = side[0][c & 1];
    if (hashed) {
      for (int axis = 1; axis < Dims; ++axis) e ^= side[axis][c >> axis & 1];
      entry[c] = e & (level.entries - 1u);
    } else {
      for (int axis = 1; axis < Dims; ++axis) e += side[axis][c >> axis & 1];
      entry[c] = subtract_if_not_below(e, level.entries);
    }
  }
}

template <int Dims>
FL_HD void corner_weights(const HashCell<Dims>& cell, Lanes (&weight)[1 << Dims]) {
  for (int c = 0; c < 1 << Dims; ++c) {
    weight[c] = c & 1 ? cell.upper[0] : 1.f - cell.upper[0];
    for (int axis = 1; axis < Dims; ++axis) weight[c] *= c >> axis & 1 ? cell.upper[axis] : 1.f - cell.upper[axis];
  }
}

// Derivative along an axis of what interpolates the corners' values v: differences along it, interpolated along the
// other axes in turn.
template <int Axis, int Dims>
FL_HD Lanes derivative_along(const HashCell<Dims>& cell, const Lanes (&v)[1 << Dims]) {
  Lanes d[1 << (Dims - 1)];
  for (int i = 0; i < 1 << (Dims - 1); ++i) {
    const int low = (i >> Axis << (Axis + 1)) | (i & ((1 << Axis) - 1));
    d[i] = v[low | 1 << Axis] - v[low];
  }
  int left = 1 << (Dims - 1);
  for (int other = 0; other < Dims; ++other) {
    if (other == Axis) continue;
    left /= 2;
    for (int i = 0; i < left; ++i) d[i] = (1.f - cell.upper[other]) * d[2 * i] + cell.upper[other] * d[2 * i + 1];
  }
  return cell.slope[Axis] * d[0];
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
template <int Features, int Dims, class T>
FL_HD void encode_level(const HashGrid& grid, const HashLevel& level, const T* table, const Lanes (&x)[Dims],
                        Lanes total[Features]) {
  const HashCell<Dims> cell = locate(grid, level, x);
  LanesU entry[1 << Dims];
  Lanes weight[1 << Dims];
  corner_entries(level, cell, entry);
  corner_weights(cell, weight);
  const T* base = table + std::int64_t{level.offset} * Features;
  for (int f = 0; f < Features; ++f) total[f] = broadcast(0.f);
  for (int c = 0; c < 1 << Dims; ++c) {
    Lanes value[Features];
    fetch<Features>(base, entry[c], value);
    for (int f = 0; f < Features; ++f) total[f] += weight[c] * value[f];
  }
}

template <int Features, int Dims, class T>
FL_HD void hash_forward(const HashGridForward& a, int level, std::int64_t start, int count) {
  Lanes x[Dims], total[Features];
  load_position(a.x, start, count, x);
  encode_level<Features>(a.grid, a.grid.level[level], static_cast<const T*>(a.table), x, total);
  for (int f = 0; f < Features; ++f)
    store_some(&a.out.at(start, level * Features + f), a.out.stride_sample, count, total[f]);
}

// Adds one level's share of the gradient to the table. `add(pointer, value)` is atomic on the GPU; on the CPU a level
// belongs to one thread, so that plain additions in a fixed order do.
template <int Features, int Dims, class Add>
FL_HD void hash_backward_table(const HashGridBackwardTable& a, int level, std::int64_t start, int count, Add add) {
  const HashLevel& l = a.grid.level[level];
  constexpr int Corners = 1 << Dims;
  Lanes x[Dims], weight[Corners];
  LanesU entry[Corners];
  load_position(a.x, start, count, x);
  const HashCell<Dims> cell = locate(a.grid, l, x);
  corner_entries(l, cell, entry);
  corner_weights(cell, weight);
  float* base = a.grad_table + std::int64_t{l.offset} * Features;
#if FL_LANES == 1
  (void)count;
  for (int f = 0; f < Features; ++f) {
    const float g = a.grad_out.at(start, level * Features + f);
    for (int c = 0; c < Corners; ++c) add(base + std::int64_t{entry[c]} * Features + f, weight[c] * g);
  }
#else
  float w[Corners][FL_LANES], g[Features][FL_LANES];
  std::uint32_t e[Corners][FL_LANES];
  for (int c = 0; c < Corners; ++c) {
    store(w[c], weight[c]);
    std::memcpy(e[c], &entry[c], sizeof entry[c]);
  }
  for (int f = 0; f < Features; ++f)
    store(g[f], load_some(&a.grad_out.at(start, level * Features + f), a.grad_out.stride_sample, count));
  // Corners inside, samples outside: neighbours on a ray share cells, and the additions between two to the same place
  // hide their latency.
  for (int i = 0; i < count; ++i) add(base, e, w, g, i);
#endif
}

template <int Features, int Dims, class T>
FL_HD void hash_backward_input(const HashGridBackwardInput& a, std::int64_t start, int count) {
  Lanes x[Dims], grad[Dims];
  for (int axis = 0; axis < Dims; ++axis) grad[axis] = broadcast(0.f);
  load_position(a.x, start, count, x);
  for (int level = 0; level < a.grid.levels; ++level) {
    const HashLevel& l = a.grid.level[level];
    const HashCell<Dims> cell = locate(a.grid, l, x);
    LanesU entry[1 << Dims];
    corner_entries(l, cell, entry);
    Lanes g[Features], v[1 << Dims];
    for (int f = 0; f < Features; ++f)
      g[f] = load_some(&a.grad_out.at(start, level * Features + f), a.grad_out.stride_sample, count);
    for (int c = 0; c < 1 << Dims; ++c) {
      Lanes value[Features];
      fetch<Features>(static_cast<const T*>(a.table) + std::int64_t{l.offset} * Features, entry[c], value);
      v[c] = g[0] * value[0];
      for (int f = 1; f < Features; ++f) v[c] += g[f] * value[f];
    }
    grad[0] += derivative_along<0>(cell, v);
    grad[1] += derivative_along<1>(cell, v);
    if constexpr (Dims == 3) grad[2] += derivative_along<2>(cell, v);
  }
  for (int axis = 0; axis < Dims; ++axis)
    store_some(&a.grad_x.at(start, axis), a.grad_x.stride_sample, count, grad[axis]);
}

FL_HD int channels(const HashGridEncoder& e) { return e.grid.levels * e.grid.features; }
FL_HD std::int64_t encode_scratch(const HashGridEncoder&, int) { return 0; }

template <int Features, class T>
FL_HD void encode_tile(const Team& team, const HashGrid& grid, const T* table, const float* x, int tile, float* out) {
  const int groups = tile / FL_LANES;
  for (int i = team.rank; i < grid.levels * groups; i += team.size) {
    const int level = i / groups, at = i % groups * FL_LANES;
    const Lanes p[3] = {load(x + at), load(x + tile + at), load(x + 2 * tile + at)};
    Lanes value[Features];
    encode_level<Features>(grid, grid.level[level], table, p, value);
    for (int f = 0; f < Features; ++f) store(out + (level * Features + f) * tile + at, value[f]);
  }
}

#ifdef FL_ISA
}  // namespace FL_ISA
#endif

// Calls body with an integral constant of the number of features.
#define FL_WITH_FEATURES(features, ...) \
  switch (features) {                   \
    case 1: { constexpr int Features = 1; __VA_ARGS__; break; } \
    case 2: { constexpr int Features = 2; __VA_ARGS__; break; } \
    case 4: { constexpr int Features = 4; __VA_ARGS__; break; } \
    case 8: { constexpr int Features = 8; __VA_ARGS__; break; } \
  }

// The same for the features and the dimensions of a grid.
#define FL_WITH_GRID(grid, ...)                        \
  if ((grid).dims == 2) {                              \
    constexpr int Dims = 2;                            \
    FL_WITH_FEATURES((grid).features, __VA_ARGS__)     \
  } else {                                             \
    constexpr int Dims = 3;                            \
    FL_WITH_FEATURES((grid).features, __VA_ARGS__)     \
  }

#ifdef FL_ISA
inline namespace FL_ISA {
#endif

FL_HD void encode_tile(const Team& team, const HashGridEncoder& e, const float* x, int tile, float* out, float*) {
#if defined(__CUDACC__) && !defined(FL_NO_HALF)
  if (e.half) {
    FL_WITH_FEATURES(e.grid.features,
                     (encode_tile<Features>(team, e.grid, static_cast<const __half*>(e.table), x, tile, out)))
    return;
  }
#endif
  FL_WITH_FEATURES(e.grid.features,
                   (encode_tile<Features>(team, e.grid, static_cast<const float*>(e.table), x, tile, out)))
}

#ifdef FL_ISA
}  // namespace FL_ISA
#endif
}  // namespace fieldlab
