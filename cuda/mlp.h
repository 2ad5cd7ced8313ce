// Fused small multilayer perceptrons (Müller et al. 2021): a team takes a tile of samples through all layers in fast
// memory. A team is one CPU core with SIMD lanes over samples, or a block of GPU threads sharing on-chip memory; the
// register-blocked products below are the same source for both. The backward pass recomputes the forward one, which is
// cheaper than storing and reading hidden layers.
#pragma once
#include "lanes.h"

namespace fieldlab {

struct MlpShape {
  int first;   // channels of the first input
  int second;  // channels of the second input, concatenated after the first; 0 if absent
  int out;
  int width;
  int hidden;  // hidden layers
  bool bias;
  bool sigmoid;  // on the outputs
  FL_HD int inputs() const { return first + second; }
  FL_HD int in_of(int layer) const { return layer == 0 ? inputs() : width; }
  FL_HD int out_of(int layer) const { return layer == hidden ? out : width; }
  FL_HD int widest() const { return max_of(max_of(inputs(), width), out); }
  FL_HD int weights() const {
    int n = 0;
    for (int l = 0; l <= hidden; ++l) n += in_of(l) * out_of(l);
    return n;
  }
};

struct MlpForward {
  std::int64_t n;
  MlpShape shape;
  MatrixIn first;
  MatrixIn second;
  const float* params;
  MatrixOut out;
};
struct MlpBackward {
  std::int64_t n;
  MlpShape shape;
  MatrixIn first;
  MatrixIn second;
  const float* params;
  MatrixIn out;
  MatrixIn grad_out;
  MatrixOut grad_first;   // data == nullptr: not wanted
  MatrixOut grad_second;  // likewise
  float* grad_params;     // added to
};

#ifdef FL_ISA
inline namespace FL_ISA {
#endif

// Register blocks: kRows outputs by kColumns lane groups of samples; for weight gradients kRows by kSpan lane groups of
// inputs. Chosen so that accumulators and operands fill, and do not overflow, the registers.
#if FL_LANES == 16
constexpr int kRows = 8, kColumns = 3, kSpan = 2, kTile = 96;
#elif FL_LANES == 1
constexpr int kRows = 8, kColumns = 4, kSpan = 4, kTile = 64;
#else
constexpr int kRows = 4, kColumns = 3, kSpan = 2, kTile = 96;
#endif

constexpr int kColumnBlock = kColumns * FL_LANES;

FL_HD int pad4(int n) { return (n + 3) / 4 * 4; }
FL_HD int pad_lanes(int n) {
  constexpr int unit = FL_LANES == 1 ? kSpan : FL_LANES;
  return (n + unit - 1) / unit * unit;
}

// Sizes, in floats, of the pieces of a team's fast memory; whole cache lines, so that rows stay aligned.
FL_HD int whole_lines(int n) { return (n + 15) / 16 * 16; }
FL_HD int packed_size(const MlpShape& s) {
  int n = 0;
  for (int l = 0; l <= s.hidden; ++l) n += pad4(s.out_of(l)) * s.in_of(l);
  return whole_lines(n);
}
FL_HD int packed_transposed_size(const MlpShape& s) {
  int n = 0;
  for (int l = 0; l <= s.hidden; ++l) n += pad4(s.in_of(l)) * s.out_of(l);
  return whole_lines(n);
}
FL_HD int gradient_size(const MlpShape& s) {
  int n = 0;
  for (int l = 0; l <= s.hidden; ++l) n += pad4(s.out_of(l)) * (pad_lanes(s.in_of(l)) + 1);
  return whole_lines(n);
}
FL_HD int activations_size(const MlpShape& s, int tile) {
  int rows = 0;
  for (int l = 0; l <= s.hidden; ++l) rows += s.in_of(l);
  return rows * tile;
}
FL_HD std::int64_t forward_scratch(const MlpShape& s, int tile) {
  return packed_size(s) + 2 * std::int64_t{pad4(s.widest())} * tile;
}
FL_HD std::int64_t backward_scratch(const MlpShape& s, int tile) {
  return packed_size(s) + packed_transposed_size(s) + gradient_size(s) + activations_size(s, tile) +
         2 * std::int64_t{pad4(s.widest())} * tile + std::int64_t{tile} * pad_lanes(s.widest());
}

// Weights in blocks of four outputs, [outputs/4][inputs][4], zero-padded; or, transposed, in blocks of four inputs,
// [inputs/4][outputs][4]. Products then read them in order.
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

// One layer of the forward pass: y = activation(W x + b).
FL_HD void layer_forward(const Team& team, const MlpShape& s, int layer, const float* packed, const float* bias,
                         const float* x, float* y, int tile, int used) {
  const bool last = layer == s.hidden;
  const bool sigmoid = last && s.sigmoid;
  multiply_tile(team, packed, s.out_of(layer), s.in_of(layer), x, tile, used, [&](int row, int column, Lanes value) {
    if (bias != nullptr) value = value + bias[row];
    if (!last) value = at_least(value, 0.f);
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

// All layers of the forward pass on the first `used` samples of a tile that lies in `x`; the result is in the returned one
// of the two buffers.
FL_HD float* forward_tile(const Team& team, const MlpShape& s, const float* packed, const float* params, float* x,
                          float* y, int tile, int used) {
  const float* bias = s.bias ? params + s.weights() : nullptr;
  for (int l = 0; l <= s.hidden; ++l) {
    team.sync();
    layer_forward(team, s, l, packed, bias, x, y, tile, used);
    packed += pad4(s.out_of(l)) * s.in_of(l);
    if (bias != nullptr) bias += s.out_of(l);
    float* swap = x;
    x = y;
    y = swap;
  }
  team.sync();
  return x;
}

FL_HD void mlp_forward_tile(const Team& team, const MlpForward& a, const float* packed, float* buffers,
                            std::int64_t start, int tile) {
  const int count = static_cast<int>(min_of<std::int64_t>(tile, a.n - start));
  float* other = buffers + pad4(a.shape.widest()) * tile;
  load_tile(team, a.first, a.shape.first, start, count, tile, buffers);
  load_tile(team, a.second, a.shape.second, start, count, tile, buffers + a.shape.first * tile);
  const float* y = forward_tile(team, a.shape, packed, a.params, buffers, other, tile, tile);
  store_tile(team, y, a.shape.out, start, count, tile, a.out);
  team.sync();
}

// Transposes tile rows [channels][tile] to [tile][stride]; columns up to `stride` are zero.
FL_HD void transpose_tile(const Team& team, const float* x, int channels, int tile, int stride, float* out) {
#if FL_LANES == 1
  for (int i = team.rank; i < stride * tile; i += team.size)
    out[i] = i % stride < channels ? x[i % stride * tile + i / stride] : 0.f;
#else
  (void)team;
  for (int k = 0; k < stride; k += FL_LANES)
    for (int s = 0; s < tile; s += FL_LANES) {
      Lanes v[FL_LANES];
#pragma GCC unroll 16
      for (int i = 0; i < FL_LANES; ++i) v[i] = k + i < channels ? load(x + (k + i) * tile + s) : broadcast(0.f);
      transpose(v);
#pragma GCC unroll 16
      for (int i = 0; i < FL_LANES; ++i) store(out + (s + i) * stride + k, v[i]);
    }
#endif
}

// gradient[row][k] += sum over samples of d[row][sample] * xt[sample][k], a block of Rows by Span lane groups.
template <int Rows, int Span>
FL_HD void outer_product(const float* d, const float* xt, int tile, int stride, float* gradient) {
  Lanes acc[Rows][Span];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int c = 0; c < Span; ++c) acc[r][c] = broadcast(0.f);
  for (int s = 0; s < tile; ++s) {
    Lanes v[Span];
#pragma GCC unroll 4
    for (int c = 0; c < Span; ++c) v[c] = load(xt + s * stride + c * FL_LANES);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const Lanes w = broadcast(d[r * tile + s]);
#pragma GCC unroll 4
      for (int c = 0; c < Span; ++c) acc[r][c] += w * v[c];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int c = 0; c < Span; ++c) {
      float* to = gradient + r * stride + c * FL_LANES;
      store(to, load(to) + acc[r][c]);
    }
}

// The weight gradient of one layer, [pad4(rows)][stride], and after it the bias gradient [pad4(rows)].
FL_HD void accumulate_weights(const Team& team, const float* d, const float* xt, int rows, int stride, int tile,
                              bool bias, float* gradient) {
  const int spans = (stride + kSpan * FL_LANES - 1) / (kSpan * FL_LANES), row_blocks = (rows + kRows - 1) / kRows;
  for (int item = team.rank; item < row_blocks * spans; item += team.size) {
    const int row = item / spans * kRows, k = item % spans * kSpan * FL_LANES;
    const bool narrow = kRows == 8 && rows - row <= 4, single = FL_LANES > 1 && stride - k < kSpan * FL_LANES;
    const float* dr = d + row * tile;
    float* to = gradient + row * stride + k;
    if (narrow && single) outer_product<4, FL_LANES == 1 ? kSpan : 1>(dr, xt + k, tile, stride, to);
    else if (narrow) outer_product<4, kSpan>(dr, xt + k, tile, stride, to);
    else if (single) outer_product<kRows, FL_LANES == 1 ? kSpan : 1>(dr, xt + k, tile, stride, to);
    else outer_product<kRows, kSpan>(dr, xt + k, tile, stride, to);
  }
  if (!bias) return;
  for (int row = team.rank; row < rows; row += team.size) {
    Lanes total = broadcast(0.f);
    for (int s = 0; s < tile; s += FL_LANES) total += load(d + row * tile + s);
    gradient[pad4(rows) * stride + row] += sum_of(total);
  }
}

// A team's fast memory for the backward pass.
struct MlpBackwardScratch {
  float *packed, *packed_transposed, *gradient, *activations, *d, *d_next, *xt;
  FL_HD MlpBackwardScratch(const MlpShape& s, int tile, float* memory) {
    packed = memory;
    packed_transposed = packed + packed_size(s);
    gradient = packed_transposed + packed_transposed_size(s);
    activations = gradient + gradient_size(s);
    d = activations + activations_size(s, tile);
    d_next = d + pad4(s.widest()) * tile;
    xt = d_next + pad4(s.widest()) * tile;
  }
};

// Once per team: packs the weights and clears the gradients.
FL_HD void mlp_backward_begin(const Team& team, const MlpBackward& a, const MlpBackwardScratch& m) {
  pack_weights(team, a.shape, a.params, false, m.packed);
  pack_weights(team, a.shape, a.params, true, m.packed_transposed);
  for (int i = team.rank; i < gradient_size(a.shape); i += team.size) m.gradient[i] = 0.f;
  team.sync();
}

// The gradient at the outputs, before their activation; rows padded to four with zeros.
FL_HD void load_output_gradient(const Team& team, const MlpBackward& a, std::int64_t start, int count, int tile,
                                float* d) {
  load_tile(team, a.grad_out, a.shape.out, start, count, tile, d);
  for (int i = team.rank + a.shape.out * tile; i < pad4(a.shape.out) * tile; i += team.size) d[i] = 0.f;
  if (!a.shape.sigmoid) return;
  const int groups = tile / FL_LANES;
  for (int i = team.rank; i < a.shape.out * groups; i += team.size) {
    const int channel = i / groups, at = i % groups * FL_LANES, here = min_of(FL_LANES, count - at);
    if (here <= 0) continue;
    const Lanes y = load_some(&a.out.at(start + at, channel), a.out.stride_sample, here);
    float* to = d + channel * tile + at;
    store(to, load(to) * y * (1.f - y));
  }
}

FL_HD void mlp_backward_tile(const Team& team, const MlpBackward& a, const MlpBackwardScratch& m, std::int64_t start,
                             int tile) {
  const MlpShape& s = a.shape;
  const int count = static_cast<int>(min_of<std::int64_t>(tile, a.n - start));
  load_tile(team, a.first, s.first, start, count, tile, m.activations);
  load_tile(team, a.second, s.second, start, count, tile, m.activations + s.first * tile);
  load_output_gradient(team, a, start, count, tile, m.d);

  const float* packed = m.packed;
  const float* bias = s.bias ? a.params + s.weights() : nullptr;
  float* x = m.activations;
  for (int l = 0; l < s.hidden; ++l) {
    team.sync();
    layer_forward(team, s, l, packed, bias, x, x + s.in_of(l) * tile, tile, tile);
    x += s.in_of(l) * tile;
    packed += pad4(s.out_of(l)) * s.in_of(l);
    if (bias != nullptr) bias += s.out_of(l);
  }

  const float* packed_transposed = m.packed_transposed;
  float* gradient = m.gradient;
  for (int l = 0; l <= s.hidden; ++l) {
    packed_transposed += pad4(s.in_of(l)) * s.out_of(l);
    gradient += pad4(s.out_of(l)) * (pad_lanes(s.in_of(l)) + 1);
  }
  float *d = m.d, *d_next = m.d_next;
  for (int l = s.hidden; l >= 0; --l) {
    const int n_in = s.in_of(l), n_out = s.out_of(l), stride = pad_lanes(n_in);
    packed_transposed -= pad4(n_in) * n_out;
    gradient -= pad4(n_out) * (stride + 1);
    team.sync();
    transpose_tile(team, x, n_in, tile, stride, m.xt);
    if (l > 0 || a.grad_first.data != nullptr || a.grad_second.data != nullptr)
      multiply_tile(team, packed_transposed, n_in, n_out, d, tile, tile, [&](int row, int column, Lanes value) {
        if (l > 0) value = where_positive(load(x + row * tile + column), value);
        store(d_next + row * tile + column, value);
      });
    team.sync();
    accumulate_weights(team, d, m.xt, n_out, stride, tile, s.bias, gradient);
    team.sync();
    float* swap = d;
    d = d_next;
    d_next = swap;
    if (l > 0) x -= s.in_of(l - 1) * tile;
  }
  if (a.grad_first.data != nullptr) store_tile(team, d, s.first, start, count, tile, a.grad_first);
  if (a.grad_second.data != nullptr) store_tile(team, d + s.first * tile, s.second, start, count, tile, a.grad_second);
  team.sync();
}

// Adds the team's gradients to the flat array; `add(pointer, value)` is safe between teams.
template <class Add>
FL_HD void mlp_backward_end(const Team& team, const MlpBackward& a, const MlpBackwardScratch& m, const Add& add) {
  const MlpShape& s = a.shape;
  const float* gradient = m.gradient;
  float* weights = a.grad_params;
  float* biases = a.grad_params + s.weights();
  for (int l = 0; l <= s.hidden; ++l) {
    const int n_in = s.in_of(l), n_out = s.out_of(l), stride = pad_lanes(n_in);
    for (int i = team.rank; i < n_in * n_out; i += team.size) add(weights + i, gradient[i / n_in * stride + i % n_in]);
    gradient += pad4(n_out) * stride;
    if (s.bias)
      for (int i = team.rank; i < n_out; i += team.size) add(biases + i, gradient[i]);
    gradient += pad4(n_out);
    weights += n_in * n_out;
    biases += n_out;
  }
}

#ifdef FL_ISA
}  // namespace FL_ISA
#endif
}  // namespace fieldlab
