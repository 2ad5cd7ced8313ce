// The backward pass of the fused perceptrons: gradients of the inputs and weights of one tile after another. Narrow networks
// compute their activations again, which is cheaper than storing and reading them; wide ones take what the forward pass
// saved.
#pragma once
#include "mlp.h"

namespace fieldlab {

struct MlpBackward {
  std::int64_t n;
  MlpShape shape;
  MatrixIn first;
  MatrixIn second;
  const float* params;
  const float* saved;  // by the forward pass; nullptr: computed again
  MatrixIn out;
  MatrixIn grad_out;
  MatrixOut grad_first;   // data == nullptr: not wanted
  MatrixOut grad_second;  // likewise
  float* grad_params;     // added to
};
FL_FIELDS(MlpBackward, n, shape, first, second, params, saved, out, grad_out, grad_first, grad_second, grad_params)

#ifdef FL_ISA
inline namespace FL_ISA {
#endif

constexpr int kPanel = kSpan * FL_LANES;

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

// Transposes tile rows [channels][tile] to [tile][stride]; columns up to `stride` are zero. On a CPU the columns lie in
// panels of kPanel, one panel after another, because rows a power of two apart would evict each other from the cache.
FL_HD void transpose_tile(const Team& team, const float* x, int channels, int tile, int stride, float* out) {
#if FL_LANES == 1
  for (int i = team.rank; i < stride * tile; i += team.size)
    out[i] = i % stride < channels ? x[i % stride * tile + i / stride] : 0.f;
#else
  (void)team;
  for (int k = 0; k < stride; k += FL_LANES) {
    const int panel = k / kPanel * kPanel, width = min_of(kPanel, stride - panel);
    for (int s = 0; s < tile; s += FL_LANES) {
      Lanes v[FL_LANES];
#pragma GCC unroll 16
      for (int i = 0; i < FL_LANES; ++i) v[i] = k + i < channels ? load(x + (k + i) * tile + s) : broadcast(0.f);
      transpose(v);
#pragma GCC unroll 16
      for (int i = 0; i < FL_LANES; ++i) store(out + panel * tile + (s + i) * width + k - panel, v[i]);
    }
  }
#endif
}

// gradient[row][k] += sum over samples of d[row][sample] * xt[sample][k], a block of Rows by Span lane groups.
template <int Rows, int Span>
FL_HD void outer_product(const float* d, const float* xt, int tile, int xt_stride, int stride, float* gradient) {
  Lanes acc[Rows][Span];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int c = 0; c < Span; ++c) acc[r][c] = broadcast(0.f);
  for (int s = 0; s < tile; ++s) {
    Lanes v[Span];
#pragma GCC unroll 4
    for (int c = 0; c < Span; ++c) v[c] = load(xt + s * xt_stride + c * FL_LANES);
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
  const int panels = (stride + kPanel - 1) / kPanel, row_blocks = (rows + kRows - 1) / kRows;
  // GPU neighbours take neighbouring columns; a CPU core keeps one panel in its first-level cache if not all fit.
  const bool by_rows = FL_LANES == 1 || panels * kPanel <= 64;
  for (int item = team.rank; item < row_blocks * panels; item += team.size) {
    const int row = (by_rows ? item / panels : item % row_blocks) * kRows;
    const int k = (by_rows ? item % panels : item / row_blocks) * kPanel;
    const bool narrow = kRows == 8 && rows - row <= 4, single = FL_LANES > 1 && stride - k < kPanel;
    const int xt_stride = FL_LANES == 1 ? stride : min_of(kPanel, stride - k);
    const float *dr = d + row * tile, *x = xt + (FL_LANES == 1 ? k : k * tile);
    float* to = gradient + row * stride + k;
    constexpr int kSingle = FL_LANES == 1 ? kSpan : 1;
    if (narrow && single) outer_product<4, kSingle>(dr, x, tile, xt_stride, stride, to);
    else if (narrow) outer_product<4, kSpan>(dr, x, tile, xt_stride, stride, to);
    else if (single) outer_product<kRows, kSingle>(dr, x, tile, xt_stride, stride, to);
    else outer_product<kRows, kSpan>(dr, x, tile, xt_stride, stride, to);
  }
  if (!bias) return;
  for (int row = team.rank; row < rows; row += team.size) {
    Lanes total = broadcast(0.f);
    for (int s = 0; s < tile; s += FL_LANES) total += load(d + row * tile + s);
    gradient[pad4(rows) * stride + row] += sum_of(total);
  }
}

// A team's memory for the backward pass, in three regions: packed weights, which teams may share; the gradients and
// activations of one team; and what it uses most. On a GPU the first two lie in main memory when a network is wide.
struct MlpBackwardScratch {
  float *packed, *packed_transposed;
  float *gradient, *activations;
  float *d, *d_next, *d_inputs, *xt;

  FL_HD static std::int64_t weights_size(const MlpShape& s) { return packed_size(s) + packed_transposed_size(s); }
  FL_HD static std::int64_t own_size(const MlpShape& s, int tile) { return gradient_size(s) + saved_size(s, tile); }
  FL_HD static std::int64_t fast_size(const MlpShape& s, int tile) {
    return (2 * std::int64_t{tile_rows(s)} + (s.skip > 0 ? s.inputs() : 0) + pad_lanes(s.widest())) * tile;
  }
  FL_HD static std::int64_t size(const MlpShape& s, int tile) {
    return weights_size(s) + own_size(s, tile) + fast_size(s, tile);
  }
  FL_HD MlpBackwardScratch(const MlpShape& s, int tile, float* weights, float* own, float* fast) {
    packed = weights;
    packed_transposed = packed + packed_size(s);
    gradient = own;
    activations = gradient + gradient_size(s);
    d = fast;
    d_next = d + tile_rows(s) * tile;
    xt = d_next + tile_rows(s) * tile;
    d_inputs = xt + pad_lanes(s.widest()) * tile;
  }
  FL_HD MlpBackwardScratch(const MlpShape& s, int tile, float* memory)
      : MlpBackwardScratch(s, tile, memory, memory + weights_size(s), memory + weights_size(s) + own_size(s, tile)) {}
};

FL_HD void mlp_backward_pack(const Team& team, const MlpBackward& a, float* packed, float* packed_transposed) {
  pack_weights(team, a.shape, a.params, false, packed);
  pack_weights(team, a.shape, a.params, true, packed_transposed);
}
// Once per team: clears the gradients.
FL_HD void mlp_backward_begin(const Team& team, const MlpBackward& a, const MlpBackwardScratch& m) {
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

// d_next = W^T d, the gradient at a layer's inputs; before the activation of the layer that made them, if one did.
FL_LARGE void layer_backward(const Team& team, const MlpShape& s, int layer, const float* packed_transposed, const float* x,
                            const float* slope, const MlpBackwardScratch& m, const float* d, float* d_next, int tile) {
  const int rows = s.in_of(layer), depth = s.out_of(layer);
  const bool skip = layer > 0 && layer == s.skip, sine = layer == 1 && s.sine();
  if (layer > 0 && !skip && !sine)
    return multiply_tile(team, packed_transposed, rows, depth, d, tile, tile, [&](int row, int column, Lanes value) {
      const int at = row * tile + column;
      store(d_next + at, where_positive(load(x + at), value));
    });
  multiply_tile(team, packed_transposed, rows, depth, d, tile, tile, [&](int row, int column, Lanes value) {
    const int at = row * tile + column;
    if (layer == 0) store(d_next + at, s.skip > 0 ? value + load(m.d_inputs + at) : value);
    else if (skip && row >= s.width) store(m.d_inputs + at - s.width * tile, value);
    else store(d_next + at, sine ? value * load(slope + at) : where_positive(load(x + at), value));
  });
}

FL_HD void mlp_backward_tile(const Team& team, const MlpBackward& a, const MlpBackwardScratch& m, std::int64_t start,
                             int tile) {
  const MlpShape& s = a.shape;
  const int count = static_cast<int>(min_of<std::int64_t>(tile, a.n - start));
  load_output_gradient(team, a, start, count, tile, m.d);
  const float* kept = m.activations;
  if (a.saved != nullptr) {
    kept = a.saved + start / tile * saved_size(s, tile);
  } else {
    load_inputs(team, s, a.first, a.second, start, count, tile, m.activations);
    forward_keeping(team, s, m.packed, a.params, m.activations, tile);
  }
  const float* slope = kept + saved_size(s, tile) - s.width * tile;

  const float *x = kept, *packed_transposed = m.packed_transposed;
  float* gradient = m.gradient;
  for (int l = 0; l <= s.hidden; ++l) {
    x += s.in_of(l) * tile;
    packed_transposed += pad4(s.in_of(l)) * s.out_of(l);
    gradient += pad4(s.out_of(l)) * (pad_lanes(s.in_of(l)) + 1);
  }
  float *d = m.d, *d_next = m.d_next;
  for (int l = s.hidden; l >= 0; --l) {
    const int n_in = s.in_of(l), n_out = s.out_of(l), stride = pad_lanes(n_in);
    x -= n_in * tile;
    packed_transposed -= pad4(n_in) * n_out;
    gradient -= pad4(n_out) * (stride + 1);
    team.sync();
    transpose_tile(team, x, n_in, tile, stride, m.xt);
    if (l > 0 || a.grad_first.data != nullptr || a.grad_second.data != nullptr)
      layer_backward(team, s, l, packed_transposed, x, slope, m, d, d_next, tile);
    team.sync();
    accumulate_weights(team, d, m.xt, n_out, stride, tile, s.bias, gradient);
    team.sync();
    float* swap = d;
    d = d_next;
    d_next = swap;
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
