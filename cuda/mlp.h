// Fused multilayer perceptrons (Müller et al. 2021): a team takes a tile of samples through all layers in fast memory. A
// team is one CPU core with SIMD lanes over samples, or a block of GPU threads sharing on-chip memory; the
// register-blocked products below are the same source for both.
//
// Inference on a tile, for instance in the fused renderer: `packed_size` floats filled once by `pack_weights`, two buffers
// of `tile_rows(shape) * tile` floats each, inputs in the first rows of one of them, then `forward_tile`. `tile` is a
// multiple of kColumnBlock. Weights too large for a GPU's fast memory may lie in its main memory; nothing else changes.
#pragma once
#include "lanes.h"

namespace fieldlab {

struct MlpShape {
  int first;   // channels of the first input
  int second;  // channels of the second input, concatenated after the first; 0 if absent
  int out;
  int width;
  int hidden;  // hidden layers; none: one linear map
  bool bias;
  bool sigmoid;  // on the outputs
  int skip = 0;  // hidden layer that sees the inputs again, after its width other ones; 0: none
  float sine_low = 0.f, sine_high = 0.f;  // frequencies of the first hidden layer's sines; 0: ReLU as elsewhere
  FL_HD int inputs() const { return first + second; }
  FL_HD int in_of(int layer) const { return layer == 0 ? inputs() : layer == skip ? width + inputs() : width; }
  FL_HD int out_of(int layer) const { return layer == hidden ? out : width; }
  FL_HD int widest() const { return max_of(max_of(inputs(), in_of(skip)), max_of(width, out)); }
  FL_HD bool sine() const { return sine_high > 0.f; }
  FL_HD int weights() const {
    int n = 0;
    for (int l = 0; l <= hidden; ++l) n += in_of(l) * out_of(l);
    return n;
  }
};
FL_FIELDS(MlpShape, first, second, out, width, hidden, bias, sigmoid, skip, sine_low, sine_high)

struct MlpForward {
  std::int64_t n;
  MlpShape shape;
  MatrixIn first;
  MatrixIn second;
  const float* params;
  MatrixOut out;
  float* saved;  // activations for the backward pass, `saved_size` floats a tile of kTile samples; nullptr: not wanted
};
FL_FIELDS(MlpForward, n, shape, first, second, params, out, saved)

#ifdef FL_ISA
inline namespace FL_ISA {
#endif

// Register blocks: kRows outputs by kColumns lane groups of samples; for weight gradients kRows by kSpan lane groups of
// inputs. Chosen so that accumulators and operands fill, and do not overflow, the registers.
#if FL_LANES == 16
constexpr int kRows = 8, kColumns = 3, kSpan = 2;
#elif FL_LANES == 1
constexpr int kRows = 8, kColumns = 4, kSpan = 4;
#else
constexpr int kRows = 4, kColumns = 3, kSpan = 2;
#endif

constexpr int kTile = FL_LANES == 1 ? 64 : 96;
constexpr int kColumnBlock = kColumns * FL_LANES;

FL_HD int pad4(int n) { return (n + 3) / 4 * 4; }
FL_HD int pad_lanes(int n) {
  constexpr int unit = FL_LANES == 1 ? kSpan : FL_LANES;
  return (n + unit - 1) / unit * unit;
}

// Sizes, in floats, of the pieces of a team's fast memory; whole cache lines, so that rows stay aligned.
FL_HD int whole_lines(int n) { return (n + 15) / 16 * 16; }
FL_HD int packed_weights(const MlpShape& s) {
  int n = 0;
  for (int l = 0; l <= s.hidden; ++l) n += pad4(s.out_of(l)) * s.in_of(l);
  return n;
}
FL_HD int packed_size(const MlpShape& s) { return whole_lines(packed_weights(s) + (s.sine() ? s.width : 0)); }
FL_HD int tile_rows(const MlpShape& s) { return pad4(s.widest()); }
FL_HD std::int64_t forward_scratch(const MlpShape& s, int tile) {
  return packed_size(s) + 2 * std::int64_t{tile_rows(s)} * tile;
}

// What the backward pass needs of the forward one: the inputs of every layer, and the slopes of the sines.
FL_HD std::int64_t saved_size(const MlpShape& s, int tile) {
  int rows = s.sine() ? s.width : 0;
  for (int l = 0; l <= s.hidden; ++l) rows += s.in_of(l);
  return std::int64_t{rows} * tile;
}

// Weights in blocks of four outputs, [outputs/4][inputs][4], zero-padded; or, transposed, in blocks of four inputs,
// [inputs/4][outputs][4]. Products then read them in order. After them the frequencies of the sines, if there are any.
FL_HD void pack_weights(const Team& team, const MlpShape& s, const float* params, bool transposed, float* packed) {
  for (int l = 0; l <= s.hidden; ++l) {
    const int n_in = s.in_of(l), n_out = s.out_of(l);
    const int rows = transposed ? n_in : n_out, depth = transposed ? n_out : n_in;
    for (int i = team.rank; i < pad4(rows) * depth; i += team.size) {
      const int row = i / (4 * depth) * 4 + i % 4, k = i / 4 % depth;
      packed[i] = row >= rows ? 0.f : transposed ? params[k * n_in + row] : params[row * n_in + k];
    }
    params += n_in * n_out;
    packed += pad4(rows) * depth;
  }
  if (!s.sine() || transposed) return;
  const float octaves = s.width > 1 ? log2f(s.sine_high / s.sine_low) / (s.width - 1) : 0.f;
  for (int j = team.rank; j < s.width; j += team.size) packed[j] = s.sine_low * exp2f(octaves * j);
}

// acc[r][c] = sum over k of weight(r,k) * x[k][c], for `Rows` rows starting at a block of four.
template <int Rows>
FL_HD void product(const float* packed, int depth, const float* x, int tile, Lanes (&acc)[kRows][kColumns]) {
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c) acc[r][c] = broadcast(0.f);
  for (int k = 0; k < depth; ++k) {
    Lanes v[kColumns];
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c) v[c] = load(x + k * tile + c * FL_LANES);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const Lanes w = broadcast(packed[(r / 4 * depth + k) * 4 + r % 4]);
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c) acc[r][c] += w * v[c];
    }
  }
}

// For every (row, lane group) of a weights-times-tile product, calls finish(row, offset in the tile row, value). Rows of
// x are `tile` apart; the first `used` samples, a multiple of kColumnBlock, are worked on.
template <class Finish>
FL_HD void multiply_tile(const Team& team, const float* packed, int rows, int depth, const float* x, int tile, int used,
                         const Finish& finish) {
  const int row_blocks = (rows + kRows - 1) / kRows, column_blocks = used / kColumnBlock;
  for (int item = team.rank; item < row_blocks * column_blocks; item += team.size) {
    // A CPU core keeps a column block of x in its first-level cache; GPU neighbours take neighbouring columns.
    const int row = (FL_LANES == 1 ? item / column_blocks : item % row_blocks) * kRows;
    const int column = (FL_LANES == 1 ? item % column_blocks : item / row_blocks) * kColumnBlock;
    Lanes acc[kRows][kColumns];
    const int left = rows - row;
    if (kRows == 4 || left > 4)
      product<kRows>(packed + row * depth, depth, x + column, tile, acc);
    else
      product<4>(packed + row * depth, depth, x + column, tile, acc);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r)
      if (r < left)
#pragma GCC unroll 4
        for (int c = 0; c < kColumns; ++c) finish(row + r, column + c * FL_LANES, acc[r][c]);
  }
}

// h <- h + sin(f h) on rows of hidden units, each with its frequency f; the slope 1 + f cos(f h) on request.
FL_HD void add_sines(const Team& team, int width, const float* frequencies, float* h, float* slope, int tile, int used) {
  const int groups = used / FL_LANES;
  for (int i = team.rank; i < width * groups; i += team.size) {
    const int row = i / groups, at = row * tile + i % groups * FL_LANES;
    const Lanes value = load(h + at);
    Lanes sine, cosine;
    sincos_of(value * frequencies[row], sine, cosine);
    store(h + at, value + sine);
    if (slope != nullptr) store(slope + at, 1.f + frequencies[row] * cosine);
  }
}

// One layer of the forward pass: y = activation(W x + b).
FL_LARGE void layer_forward(const Team& team, const MlpShape& s, int layer, const float* packed, const float* bias,
                         const float* x, float* y, int tile, int used) {
  const bool last = layer == s.hidden;
  const bool relu = !last && !(layer == 0 && s.sine()), sigmoid = last && s.sigmoid;
  multiply_tile(team, packed, s.out_of(layer), s.in_of(layer), x, tile, used, [&](int row, int column, Lanes value) {
    if (bias != nullptr) value = value + bias[row];
    if (relu) value = at_least(value, 0.f);
    if (sigmoid) value = sigmoid_of(value);
    store(y + row * tile + column, value);
  });
}

// Copies samples [start, start+count) of a matrix into tile rows, and back; samples beyond are zero (left alone).
FL_HD void load_tile(const Team& team, const MatrixIn& m, int channels, std::int64_t start, int count, int tile,
                     float* x) {
  const int groups = tile / FL_LANES;
  for (int i = team.rank; i < channels * groups; i += team.size) {
    const int channel = i / groups, at = i % groups * FL_LANES;
    const int here = min_of(FL_LANES, max_of(count - at, 0));
    store(x + channel * tile + at,
          here > 0 ? load_some(&m.at(start + at, channel), m.stride_sample, here) : broadcast(0.f));
  }
}
FL_HD void store_tile(const Team& team, const float* x, int channels, std::int64_t start, int count, int tile,
                      const MatrixOut& m) {
  const int groups = tile / FL_LANES;
  for (int i = team.rank; i < channels * groups; i += team.size) {
    const int channel = i / groups, at = i % groups * FL_LANES;
    const int here = min_of(FL_LANES, count - at);
    if (here > 0) store_some(&m.at(start + at, channel), m.stride_sample, here, load(x + channel * tile + at));
  }
}

FL_HD void copy_rows(const Team& team, const float* from, float* to, int rows, int tile) {
  for (int i = team.rank * FL_LANES; i < rows * tile; i += team.size * FL_LANES) store(to + i, load(from + i));
}

// All layers of the forward pass on the first `used` samples (a multiple of kColumnBlock) of a tile that lies in `x`; the
// result is in the returned one of the two buffers.
FL_HD float* forward_tile(const Team& team, const MlpShape& s, const float* packed, const float* params, float* x,
                          float* y, int tile, int used) {
  const float* bias = s.bias ? params + s.weights() : nullptr;
  const float* frequencies = packed + packed_weights(s);
  team.sync();
  // The inputs that are to come back wait in y below the rows that layers write, until the buffer they are wanted in is free.
  if (s.skip > 0) copy_rows(team, x, y + s.width * tile, s.inputs(), tile);
  for (int l = 0; l <= s.hidden; ++l) {
    team.sync();
    if (l == s.skip - 1 && l % 2 == 1) copy_rows(team, x + s.width * tile, y + s.width * tile, s.inputs(), tile);
    layer_forward(team, s, l, packed, bias, x, y, tile, used);
    if (l == 0 && s.sine()) {
      team.sync();
      add_sines(team, s.width, frequencies, y, nullptr, tile, used);
    }
    packed += pad4(s.out_of(l)) * s.in_of(l);
    if (bias != nullptr) bias += s.out_of(l);
    float* swap = x;
    x = y;
    y = swap;
  }
  team.sync();
  return x;
}

// The hidden layers, every layer's inputs kept one after another as in `saved_size`; those of the first are there already.
// Returns the inputs of the last layer.
FL_LARGE float* forward_keeping(const Team& team, const MlpShape& s, const float* packed, const float* params, float* x,
                               int tile) {
  const float* inputs = x;
  const float* bias = s.bias ? params + s.weights() : nullptr;
  const float* frequencies = packed + packed_weights(s);
  float* slope = x + saved_size(s, tile) - s.width * tile;
  for (int l = 0; l < s.hidden; ++l) {
    float* y = x + s.in_of(l) * tile;
    team.sync();
    if (l == s.skip - 1) copy_rows(team, inputs, y + s.width * tile, s.inputs(), tile);
    layer_forward(team, s, l, packed, bias, x, y, tile, tile);
    if (l == 0 && s.sine()) {
      team.sync();
      add_sines(team, s.width, frequencies, y, slope, tile, tile);
    }
    packed += pad4(s.out_of(l)) * s.in_of(l);
    if (bias != nullptr) bias += s.out_of(l);
    x = y;
  }
  team.sync();
  return x;
}

FL_HD void load_inputs(const Team& team, const MlpShape& s, const MatrixIn& first, const MatrixIn& second,
                       std::int64_t start, int count, int tile, float* x) {
  load_tile(team, first, s.first, start, count, tile, x);
  load_tile(team, second, s.second, start, count, tile, x + s.first * tile);
}

// Samples [start, start + tile), keeping every layer's inputs; the results are put in `y`.
FL_LARGE void forward_saving(const Team& team, const MlpForward& a, const float* packed, float* y, std::int64_t start,
                            int count, int tile) {
  const MlpShape& s = a.shape;
  float* kept = a.saved + start / tile * saved_size(s, tile);
  load_inputs(team, s, a.first, a.second, start, count, tile, kept);
  const float* x = forward_keeping(team, s, packed, a.params, kept, tile);
  const float* bias = s.bias ? a.params + s.weights() + s.hidden * s.width : nullptr;
  layer_forward(team, s, s.hidden, packed + packed_weights(s) - pad4(s.out) * s.in_of(s.hidden), bias, x, y, tile, tile);
  team.sync();
}

// Samples [start, start + tile); `buffers` has room for two times tile_rows.
FL_HD void mlp_forward_tile(const Team& team, const MlpForward& a, const float* packed, float* buffers,
                            std::int64_t start, int tile) {
  const int count = static_cast<int>(min_of<std::int64_t>(tile, a.n - start));
  float* y = buffers + tile_rows(a.shape) * tile;
  if (a.saved != nullptr) {
    forward_saving(team, a, packed, y, start, count, tile);
  } else {
    load_inputs(team, a.shape, a.first, a.second, start, count, tile, buffers);
    y = forward_tile(team, a.shape, packed, a.params, buffers, y, tile, tile);
  }
  store_tile(team, y, a.shape.out, start, count, tile, a.out);
  team.sync();
}

#ifdef FL_ISA
}  // namespace FL_ISA
#endif
}  // namespace fieldlab
