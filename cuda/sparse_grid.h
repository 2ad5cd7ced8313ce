// Values at the vertices of a lattice over the unit cube, stored only where they are needed (Plenoxels, Fridovich-Keil,
// Yu et al. 2022). The index is made of bricks of 8x8x8 vertices: a coarse table of bricks, and in each brick a bit per
// vertex; the row of a vertex is the number of bits before its own. See fieldlab/ops/sparse_index.py.
#pragma once
#include "bits.h"
#include "lanes.h"

namespace fieldlab {

constexpr int kBrickSide = FL_BRICK;
static_assert(kBrickSide == 8, "a slice of a brick is a word of 64 bits");

struct SparseIndex {
  int resolution;               // vertices along an axis, at least 2
  std::int64_t n_bricks;
  const std::int32_t* coarse;   // [B,B,B], z slowest: number of the brick there, or -1
  const std::int32_t* bricks;   // [n_bricks] flat place of each brick in `coarse`, ascending
  const std::uint64_t* words;   // [n_bricks,8]: a word a z slice, bit y * 8 + x
  const std::int32_t* first;    // [n_bricks,8]: row of the slice's first vertex
};
FL_FIELDS(SparseIndex, resolution, n_bricks, coarse, bricks, words, first)

struct SparseCorners {
  std::int64_t n;
  SparseIndex index;
  MatrixIn x;             // [n,3] in [0,1]
  std::int32_t* corners;  // [8,n]: rows of the eight vertices around each sample, corner bit 0 is x; -1 where none is stored
};
FL_FIELDS(SparseCorners, n, index, x, corners)
// What is interpolated: rows of `channels` values; a vertex that is not stored counts as `empty` in every channel.
struct SparseRows {
  int resolution;
  int channels;
  float empty;
  const float* values;  // [rows,channels]
};
FL_FIELDS(SparseRows, resolution, channels, empty, values)
struct SparseGridForward {
  std::int64_t n;
  SparseRows rows;
  MatrixIn x;
  const std::int32_t* corners;
  MatrixOut out;  // [n,channels]
};
FL_FIELDS(SparseGridForward, n, rows, x, corners, out)
struct SparseGridBackwardInput {
  std::int64_t n;
  SparseRows rows;
  MatrixIn x;
  const std::int32_t* corners;
  MatrixIn grad_out;
  MatrixOut grad_x;  // [n,3]
};
FL_FIELDS(SparseGridBackwardInput, n, rows, x, corners, grad_out, grad_x)
// Rows some sample touches: a bit each in `touched`, and in `before` how many are touched before each word of 64.
struct SparseTouched {
  std::int64_t n_corners;
  const std::int32_t* corners;
  std::int64_t n_words;
  std::uint64_t* touched;  // [n_words], zero at first
  std::int32_t* before;    // [n_words + 1]; the last one counts all
};
FL_FIELDS(SparseTouched, n_corners, corners, n_words, touched, before)
struct SparseTouchedRows {
  std::int64_t n_words;
  const std::uint64_t* touched;
  const std::int32_t* before;
  std::int64_t* rows;  // [before[n_words]], ascending
};
FL_FIELDS(SparseTouchedRows, n_words, touched, before, rows)
struct SparseGridBackwardValues {
  std::int64_t n;
  int resolution;
  int channels;
  MatrixIn x;
  const std::int32_t* corners;
  const std::uint64_t* touched;
  const std::int32_t* before;
  MatrixIn grad_out;
  float* grad_values;  // [touched rows, channels], added to
};
FL_FIELDS(SparseGridBackwardValues, n, resolution, channels, x, corners, touched, before, grad_out, grad_values)
struct SparseGridVariation {
  std::int64_t n;
  SparseIndex index;
  int channels;
  float weight;
  float softness;
  const std::int64_t* rows;  // [n] rows to treat
  const float* values;       // [all rows, channels]
  float* grad;  // [n,channels], added to
};
FL_FIELDS(SparseGridVariation, n, index, channels, weight, softness, rows, values, grad)

// Everything a renderer needs to interpolate raw log-density (channel 0) and features (the other channels).
struct SparseGridEncoder {
  SparseIndex index;
  SparseRows density;   // one channel
  SparseRows features;
};
FL_FIELDS(SparseGridEncoder, index, density, features)

#ifdef FL_ISA
inline namespace FL_ISA {
#endif

// Place of a touched row among the touched ones.
FL_HD std::int64_t touched_slot(const std::uint64_t* touched, const std::int32_t* before, std::int64_t row) {
  return before[row >> 6] + count_bits(touched[row >> 6] & ((std::uint64_t{1} << (row & 63)) - 1));
}

FL_HD int bricks_per_side(const SparseIndex& index) { return (index.resolution + kBrickSide - 1) / kBrickSide; }

// Rows of vertices (x,y,z) and (x+1,y,z), of which the second is often the next bit of the same word.
FL_HD void find_pair(const SparseIndex& index, int x, int y, int z, std::int32_t row[2]) {
  const int side = bricks_per_side(index);
  const std::int32_t* coarse = index.coarse + (std::int64_t{z >> 3} * side + (y >> 3)) * side;
  const int shift = (y & 7) * 8;
  row[0] = row[1] = -1;
  const std::int32_t brick = coarse[x >> 3];
  if (brick >= 0) {
    const std::int64_t slice = std::int64_t{brick} * 8 + (z & 7);
    const std::uint64_t word = index.words[slice];
    const int bit = shift + (x & 7);
    const std::uint64_t from = word >> bit;
    const std::int32_t at = index.first[slice] + count_bits(word & ((std::uint64_t{1} << bit) - 1));
    const int stored = static_cast<int>(from & 1);
    if (stored) row[0] = at;
    if ((x & 7) != 7 && (from & 2)) row[1] = at + stored;
  }
  if ((x & 7) != 7) return;
  const std::int32_t next = coarse[(x >> 3) + 1];
  if (next < 0) return;
  const std::int64_t slice = std::int64_t{next} * 8 + (z & 7);
  const std::uint64_t word = index.words[slice];
  if (word >> shift & 1) row[1] = index.first[slice] + count_bits(word & ((std::uint64_t{1} << shift) - 1));
}

// Row of one vertex, -1 where none is stored or outside the lattice.
FL_HD std::int32_t find_row(const SparseIndex& index, int x, int y, int z) {
  const int r = index.resolution, side = bricks_per_side(index);
  if (x < 0 || y < 0 || z < 0 || x >= r || y >= r || z >= r) return -1;
  const std::int32_t brick = index.coarse[(std::int64_t{z >> 3} * side + (y >> 3)) * side + (x >> 3)];
  if (brick < 0) return -1;
  const std::int64_t slice = std::int64_t{brick} * 8 + (z & 7);
  const std::uint64_t word = index.words[slice];
  const int bit = (y & 7) * 8 + (x & 7);
  if (!(word >> bit & 1)) return -1;
  return index.first[slice] + count_bits(word & ((std::uint64_t{1} << bit) - 1));
}

// The vertex of a row: the slice by bisection, in it the bit with that many before it.
FL_HD void find_vertex(const SparseIndex& index, std::int64_t row, int vertex[3]) {
  std::int64_t low = 0, high = index.n_bricks * 8;  // first[low] <= row, and first[high] > row
  while (high - low > 1) {
    const std::int64_t middle = (low + high) / 2;
    if (index.first[middle] <= row) low = middle; else high = middle;
  }
  std::uint64_t word = index.words[low];
  for (std::int64_t i = index.first[low]; i < row; ++i) word &= word - 1;
  const int bit = lowest_bit(word), side = bricks_per_side(index), place = index.bricks[low >> 3];
  vertex[0] = place % side * 8 + (bit & 7);
  vertex[1] = place / side % side * 8 + (bit >> 3);
  vertex[2] = place / side / side * 8 + static_cast<int>(low & 7);
}

// Where samples lie: lower vertex and the weight of the upper one, along each axis.
struct SparseCell {
  LanesU vertex[3];
  Lanes upper[3];
};
FL_HD SparseCell locate_cell(int resolution, const Lanes x[3]) {
  SparseCell cell;
  const float last = static_cast<float>(resolution - 2);
  for (int axis = 0; axis < 3; ++axis) {
    const Lanes position = between(x[axis], 0.f, 1.f) * (last + 1.f);
    const Lanes lower = at_most(floor_of(position), last);  // x = 1 lies in the last cell
    cell.vertex[axis] = to_unsigned(lower);
    cell.upper[axis] = position - lower;
  }
  return cell;
}
FL_HD void load_point(const MatrixIn& m, std::int64_t start, int count, Lanes x[3]) {
  for (int axis = 0; axis < 3; ++axis) x[axis] = load_some(&m.at(start, axis), m.stride_sample, count);
}

// Rows and weights of the eight corners of each lane's cell.
struct SparseCell8 {
  std::int32_t row[8][FL_LANES];
  float weight[8][FL_LANES];
};
FL_HD void cell_rows(const SparseIndex& index, const SparseCell& cell, int count, std::int32_t (&row)[8][FL_LANES]) {
  std::uint32_t v[3][FL_LANES];
  for (int axis = 0; axis < 3; ++axis) std::memcpy(v[axis], &cell.vertex[axis], sizeof cell.vertex[axis]);
  for (int i = 0; i < count; ++i)
    for (int c = 0; c < 8; c += 2) {
      std::int32_t pair[2];
      find_pair(index, static_cast<int>(v[0][i]), static_cast<int>(v[1][i]) + (c >> 1 & 1),
                static_cast<int>(v[2][i]) + (c >> 2), pair);
      row[c][i] = pair[0];
      row[c + 1][i] = pair[1];
    }
}
FL_HD void cell_weights(const SparseCell& cell, float (&weight)[8][FL_LANES]) {
  const Lanes x[2] = {1.f - cell.upper[0], cell.upper[0]};
  const Lanes y[2] = {1.f - cell.upper[1], cell.upper[1]};
  const Lanes z[2] = {1.f - cell.upper[2], cell.upper[2]};
  for (int c = 0; c < 8; ++c) store(weight[c], x[c & 1] * y[c >> 1 & 1] * z[c >> 2]);
}
FL_HD void load_rows(const std::int32_t* corners, std::int64_t n, std::int64_t start, int count,
                     std::int32_t (&row)[8][FL_LANES]) {
  for (int c = 0; c < 8; ++c)
    for (int i = 0; i < count; ++i) row[c][i] = corners[c * n + start + i];
}

FL_HD void sparse_corners(const SparseCorners& a, std::int64_t start, int count) {
  Lanes x[3];
  std::int32_t row[8][FL_LANES];
  load_point(a.x, start, count, x);
  cell_rows(a.index, locate_cell(a.index.resolution, x), count, row);
  for (int c = 0; c < 8; ++c)
    for (int i = 0; i < count; ++i) a.corners[c * a.n + start + i] = row[c][i];
}

// Channels [first, first + FL_LANES) of a row; beyond the last channel zero.
FL_HD Lanes load_channels(const float* row, int first, int channels) {
#if FL_LANES == 1
  (void)channels;
  return row[first];
#else
  return first + FL_LANES <= channels ? load(row + first) : load_some(row + first, 1, channels - first);
#endif
}

// The interpolated channels of up to FL_LANES samples. Vertices that are not stored are replaced by a stored row with
// no weight, and their weights times `empty` added.
FL_HD void interpolate(const SparseRows& rows, const SparseCell8& cell, int count, const MatrixOut& out,
                       std::int64_t start) {
  const float* at[8][FL_LANES];
  float weight[8][FL_LANES], missing[FL_LANES];
  for (int i = 0; i < FL_LANES; ++i) {
    missing[i] = 0.f;
    const float* any = nullptr;
    for (int c = 0; i < count && c < 8; ++c) {
      const bool stored = cell.row[c][i] >= 0;
      at[c][i] = stored ? rows.values + std::int64_t{cell.row[c][i]} * rows.channels : nullptr;
      weight[c][i] = stored ? cell.weight[c][i] : 0.f;
      if (stored) any = at[c][i]; else missing[i] += cell.weight[c][i] * rows.empty;
#if FL_LANES > 1
      __builtin_prefetch(at[c][i]);
      if (rows.channels > 16) __builtin_prefetch(at[c][i] + rows.channels - 1);
#endif
    }
    for (int c = 0; c < 8; ++c)
      if (i >= count || !at[c][i]) at[c][i] = any;
  }
#if FL_LANES > 1
  if (rows.channels == 1) {
    Lanes total = load(missing);
    for (int c = 0; c < 8; ++c) {
      float value[FL_LANES];
      for (int i = 0; i < FL_LANES; ++i) value[i] = at[c][i] ? *at[c][i] : 0.f;
      total += load(weight[c]) * load(value);
    }
    return store_some(&out.at(start, 0), out.stride_sample, count, total);
  }
#endif
  // The last channels are taken together with some before them, so that whole registers are read.
  for (int group = 0; group < rows.channels; group += FL_LANES) {
    const int first = group + FL_LANES <= rows.channels ? group : max_of(rows.channels - FL_LANES, 0);
    Lanes value[FL_LANES];
    for (int i = 0; i < FL_LANES; ++i) {
      value[i] = broadcast(i < count ? missing[i] : 0.f);
      if (i >= count || !at[0][i]) continue;
      for (int c = 0; c < 8; ++c) value[i] += weight[c][i] * load_channels(at[c][i], first, rows.channels);
    }
#if FL_LANES > 1
    transpose(value);
#endif
    for (int k = 0; k < FL_LANES && first + k < rows.channels; ++k)
      store_some(&out.at(start, first + k), out.stride_sample, count, value[k]);
  }
}

FL_HD void sparse_grid_forward(const SparseGridForward& a, std::int64_t start, int count) {
  Lanes x[3];
  SparseCell8 cell;
  load_point(a.x, start, count, x);
  cell_weights(locate_cell(a.rows.resolution, x), cell.weight);
  load_rows(a.corners, a.n, start, count, cell.row);
  interpolate(a.rows, cell, count, a.out, start);
}

FL_HD void sparse_grid_backward_input(const SparseGridBackwardInput& a, std::int64_t start, int count) {
  Lanes x[3];
  std::int32_t row[8][FL_LANES];
  float dot[8][FL_LANES] = {};  // of each corner's row with the gradient
  load_point(a.x, start, count, x);
  load_rows(a.corners, a.n, start, count, row);
  for (int i = 0; i < count; ++i)
    for (int k = 0; k < a.rows.channels; ++k) {
      const float g = a.grad_out.at(start + i, k);
      for (int c = 0; c < 8; ++c)
        dot[c][i] += g * (row[c][i] < 0 ? a.rows.empty : a.rows.values[std::int64_t{row[c][i]} * a.rows.channels + k]);
    }
  Lanes v[8];
  for (int c = 0; c < 8; ++c) v[c] = load(dot[c]);
  const SparseCell cell = locate_cell(a.rows.resolution, x);
  const Lanes ux = cell.upper[0], uy = cell.upper[1], uz = cell.upper[2];
  const Lanes lx = 1.f - ux, ly = 1.f - uy, lz = 1.f - uz;
  const float slope = static_cast<float>(a.rows.resolution - 1);
  const Lanes grad[3] = {
      lz * (ly * (v[1] - v[0]) + uy * (v[3] - v[2])) + uz * (ly * (v[5] - v[4]) + uy * (v[7] - v[6])),
      lz * (lx * (v[2] - v[0]) + ux * (v[3] - v[1])) + uz * (lx * (v[6] - v[4]) + ux * (v[7] - v[5])),
      ly * (lx * (v[4] - v[0]) + ux * (v[5] - v[1])) + uy * (lx * (v[6] - v[2]) + ux * (v[7] - v[3]))};
  for (int axis = 0; axis < 3; ++axis)
    store_some(&a.grad_x.at(start, axis), a.grad_x.stride_sample, count, grad[axis] * slope);
}

// The i-th of the treated rows gets weight * sum over its stored neighbors of d / sqrt(d^2 + softness^2), the derivative
// of the (softened) total variation in all channels but with each row only writing its own gradient.
FL_HD void sparse_grid_variation(const SparseGridVariation& a, std::int64_t i) {
  const std::int64_t row = a.rows[i];
  int p[3];
  find_vertex(a.index, row, p);
  const float* mine = a.values + row * a.channels;
  float* grad = a.grad + i * a.channels;
  const float soft2 = a.softness * a.softness;
  for (int side = 0; side < 6; ++side) {
    int q[3] = {p[0], p[1], p[2]};
    q[side >> 1] += side & 1 ? 1 : -1;
    const std::int32_t other = find_row(a.index, q[0], q[1], q[2]);
    if (other < 0) continue;
    const float* theirs = a.values + std::int64_t{other} * a.channels;
    for (int k = 0; k < a.channels; ++k) {
      const float d = mine[k] - theirs[k];
      grad[k] += a.weight * d / sqrtf(d * d + soft2);
    }
  }
}

// For the fused renderer.
FL_HD int channels(const SparseGridEncoder& e) { return 1 + e.features.channels; }
FL_HD std::int64_t encode_scratch(const SparseGridEncoder&, int) { return 0; }
FL_HD void encode_tile(const Team& team, const SparseGridEncoder& e, const float* x, int tile, float* out, float*) {
  for (int at = team.rank * FL_LANES; at < tile; at += team.size * FL_LANES) {
    const Lanes p[3] = {load(x + at), load(x + tile + at), load(x + 2 * tile + at)};
    const SparseCell where = locate_cell(e.index.resolution, p);
    SparseCell8 cell;
    cell_weights(where, cell.weight);
    cell_rows(e.index, where, FL_LANES, cell.row);
    interpolate(e.density, cell, FL_LANES, {out, 1, tile}, at);
    interpolate(e.features, cell, FL_LANES, {out + tile, 1, tile}, at);
  }
}

#ifdef FL_ISA
}  // namespace FL_ISA
#endif
}  // namespace fieldlab
