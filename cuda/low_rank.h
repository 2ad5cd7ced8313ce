// Low-rank tensors over the unit cube (TensoRF, Chen et al. 2022): sums of products of planes and lines (VM) or of three
// lines (CP); see fieldlab/ops/low_rank.py. Values of a vertex lie side by side, so lanes are channels while factors are
// read or written, and samples elsewhere.
#pragma once
#include "group.h"
#include "lanes.h"

namespace fieldlab {

struct LowRankFactor {
  std::int32_t offset;  // first value among the parameters
  int axis[2];          // of a plane, the faster one first; both the same of a line
};
struct LowRank {
  static constexpr int kProducts = 0, kSum = -1;
  int factors;  // in a product: 2 (VM: plane and line) or 3 (CP: lines)
  int terms;    // 3 (VM) or 1 (CP) sets of `rank` products
  int rank;
  int resolution[3];  // vertices along each axis
  int outputs;        // kSum, kProducts, or n > 0: so many linear combinations of the products
  LowRankFactor factor[3][3];
  FL_HD int products() const { return terms * rank; }
  FL_HD bool summed() const { return outputs == kSum; }
  FL_HD bool combined() const { return outputs > 0; }
  FL_HD int channels() const { return summed() ? 1 : combined() ? outputs : products(); }
};

inline std::int64_t low_rank_values(const LowRank& t, const LowRankFactor& f) {
  const std::int64_t line = std::int64_t{t.resolution[f.axis[0]]} * t.rank;
  return f.axis[0] == f.axis[1] ? line : line * t.resolution[f.axis[1]];
}
// Factors lie one after another, the planes of VM first.
inline LowRank low_rank_of(bool vm, int r0, int r1, int r2, int rank, int outputs) {
  LowRank t{vm ? 2 : 3, vm ? 3 : 1, rank, {r0, r1, r2}, outputs, {}};
  std::int64_t offset = 0;
  for (int f = 0; f < t.factors; ++f)
    for (int term = 0; term < t.terms; ++term) {
      LowRankFactor& factor = t.factor[term][f];
      const int line = vm ? 2 - term : f;
      const bool plane = vm && f == 0;
      factor = {static_cast<std::int32_t>(offset), {plane ? term / 2 : line, plane ? 1 + (term + 1) / 2 : line}};
      offset += low_rank_values(t, factor);
    }
  return t;
}

struct LowRankForward {
  std::int64_t n;
  LowRank tensor;
  MatrixIn x;  // [n,3] in [0,1]
  const float* params;
  const float* basis;  // [outputs,products] of the combinations, row-major
  MatrixOut out;  // [n,channels]
};
FL_FIELDS(LowRankForward, n, tensor, x, params, basis, out)
struct LowRankBackwardParams {
  std::int64_t n;
  LowRank tensor;
  MatrixIn x;
  const float* params;
  const float* basis;
  MatrixIn grad_out;
  float* grad_params;  // added to
  float* grad_basis;   // likewise
};
FL_FIELDS(LowRankBackwardParams, n, tensor, x, params, basis, grad_out, grad_params, grad_basis)
struct LowRankBackwardInput {
  std::int64_t n;
  LowRank tensor;
  MatrixIn x;
  const float* params;
  const float* basis;
  MatrixIn grad_out;
  MatrixOut grad_x;  // [n,3], overwritten
};
FL_FIELDS(LowRankBackwardInput, n, tensor, x, params, basis, grad_out, grad_x)
struct LowRankPenalty {
  LowRank tensor;
  const float* params;
  float l1;              // weight of each factor's mean magnitude
  float total_variation; // weight of the mean squared difference of neighbours along each axis of each factor
  float* grad_params;    // added to
};
FL_FIELDS(LowRankPenalty, tensor, params, l1, total_variation, grad_params)

#ifdef FL_ISA
inline namespace FL_ISA {
#endif

// A term's channels are worked on in parts this wide: a cache line, so that threads do not write into each other's.
constexpr int kLowRankPart = 16;
FL_HD int low_rank_parts(const LowRank& t) { return (t.rank + kLowRankPart - 1) / kLowRankPart; }

// Lower vertex and weight of the upper one along an axis; x = 0 is the first vertex and x = 1 the last.
struct AxisCell {
  LanesI lower;
  Lanes upper;
};
FL_HD AxisCell axis_cell(Lanes x, int vertices) {
  const Lanes position = x * static_cast<float>(vertices - 1);
  const float last = static_cast<float>(vertices - 2);
  const Lanes lower = at_most(floor_of(position), last);
  return {(LanesI)to_unsigned(lower), position - lower};
}

// Where up to FL_LANES samples read the factors of a term: the first value of each corner's vertex, and its weight.
template <int Factors>
struct Stencil {
  static constexpr int kPlanes = Factors == 2 ? 1 : 0;
  FL_HD static constexpr int corners(int factor) { return factor < kPlanes ? 4 : 2; }
  std::int32_t entry[Factors][4][FL_LANES];
  float weight[Factors][4][FL_LANES];
  float upper[Factors][2][FL_LANES];

  FL_HD Stencil(const LowRank& t, int term, const Lanes x[3]) {
    for (int f = 0; f < Factors; ++f) {
      const LowRankFactor& factor = t.factor[term][f];
      const int width = t.resolution[factor.axis[0]];
      const AxisCell a = axis_cell(x[factor.axis[0]], width);
      const AxisCell b = axis_cell(x[factor.axis[1]], t.resolution[factor.axis[1]]);
      const bool plane = f < kPlanes;
      const LanesI vertex = plane ? b.lower * width + a.lower : a.lower;
      keep(upper[f][0], a.upper);
      keep(upper[f][1], b.upper);
      for (int k = 0; k < corners(f); ++k) {
        const Lanes along = k & 1 ? a.upper : 1.f - a.upper;
        keep(entry[f][k], (vertex + ((k & 1) + (k >> 1) * width)) * t.rank + factor.offset);
        keep(weight[f][k], !plane ? along : along * (k & 2 ? b.upper : 1.f - b.upper));
      }
    }
  }

  // The factors' values at sample i, for `count` channels from parameter offset r on.
  FL_HD void interpolate(const float* params, int r, int count, int i, Lanes value[Factors]) const {
    for (int f = 0; f < Factors; ++f) {
      value[f] = weight[f][0][i] * load_part(params + entry[f][0][i] + r, count);
      for (int k = 1; k < corners(f); ++k) value[f] += weight[f][k][i] * load_part(params + entry[f][k][i] + r, count);
    }
  }
  FL_HD Lanes product(const float* params, int r, int count, int i) const {
    Lanes value[Factors];
    interpolate(params, r, count, i, value);
    for (int f = 1; f < Factors; ++f) value[0] *= value[f];
    return value[0];
  }

 private:
  template <class T, class V>
  FL_HD static void keep(T (&to)[FL_LANES], const V& v) { std::memcpy(to, &v, sizeof v); }
};

// body(r, channels) for channels [begin, end) of a term in groups of up to FL_LANES. Whole groups are told so by a constant,
// from which the compiler makes straight code.
template <class Body>
FL_HD void each_channels(int begin, int end, const Body& body) {
  int r = begin;
  for (; r + FL_LANES <= end; r += FL_LANES) body(r, FL_LANES);
  if (r < end) body(r, end - r);
}

// Channels [r, r + channels) of a term at up to FL_LANES samples, a row of samples for each channel.
template <int Factors>
FL_HD void low_rank_products(const LowRank& t, const Stencil<Factors>& at, const float* params, int r, int channels,
                             int count, Lanes (&v)[FL_LANES]) {
  for (int i = 0; i < count; ++i) v[i] = at.product(params, r, channels, i);
  for (int i = count; i < FL_LANES; ++i) v[i] = broadcast(0.f);
  transpose(v);
}

// The sum of all products, at up to FL_LANES samples.
template <int Factors>
FL_HD Lanes low_rank_sum(const LowRank& t, const float* params, const Lanes x[3], int count) {
  Lanes v[FL_LANES] = {};
  for (int term = 0; term < t.terms; ++term) {
    const Stencil<Factors> at(t, term, x);
    for (int i = 0; i < count; ++i)
      each_channels(0, t.rank, [&](int r, int channels) { v[i] += at.product(params, r, channels, i); });
  }
  transpose(v);
  for (int c = 1; c < FL_LANES; ++c) v[0] += v[c];
  return v[0];
}

// One part of a term's products, at up to FL_LANES samples.
template <int Factors>
FL_HD void low_rank_part(const LowRankForward& a, const Lanes x[3], int term, int part, std::int64_t start, int count) {
  const Stencil<Factors> at(a.tensor, term, x);
  const int end = min_of(a.tensor.rank, (part + 1) * kLowRankPart);
  each_channels(part * kLowRankPart, end, [&](int r, int channels) {
    Lanes v[FL_LANES];
    low_rank_products(a.tensor, at, a.params, r, channels, count, v);
    for (int c = 0; c < channels; ++c)
      store_some(&a.out.at(start, term * a.tensor.rank + r + c), a.out.stride_sample, count, v[c]);
  });
}

// Linear combinations of all products, at up to FL_LANES samples.
template <int Factors>
FL_HD void low_rank_combine(const LowRankForward& a, const Lanes x[3], std::int64_t start, int count) {
  const LowRank& t = a.tensor;
  for (int term = 0; term < t.terms; ++term) {
    const Stencil<Factors> at(t, term, x);
    each_channels(0, t.rank, [&](int r, int channels) {
      const int first = term * t.rank + r;
      Lanes v[FL_LANES];
      low_rank_products(t, at, a.params, r, channels, count, v);
      for (int o = 0; o < t.outputs; ++o) {
        const float* weight = a.basis + o * t.products() + first;
        float* to = &a.out.at(start, o);
        Lanes total = first == 0 ? broadcast(0.f) : load_some(to, a.out.stride_sample, count);
        for (int c = 0; c < channels; ++c) total += weight[c] * v[c];
        store_some(to, a.out.stride_sample, count, total);
      }
    });
  }
}

// The work of a forward pass on some samples falls into items: the parts of all terms, or everything at once.
FL_HD int low_rank_items(const LowRank& t) { return t.outputs == LowRank::kProducts ? t.terms * low_rank_parts(t) : 1; }

template <int Factors>
FL_HD void low_rank_item(const LowRankForward& a, const Lanes x[3], int item, std::int64_t start, int count) {
  const int parts = low_rank_parts(a.tensor);
  if (a.tensor.summed())
    store_some(&a.out.at(start, 0), a.out.stride_sample, count, low_rank_sum<Factors>(a.tensor, a.params, x, count));
  else if (a.tensor.combined())
    low_rank_combine<Factors>(a, x, start, count);
  else
    low_rank_part<Factors>(a, x, item / parts, item % parts, start, count);
}

// Gradients of channels [r, r + channels) of a term, a row of channels for each sample.
template <class Backward>
FL_HD void load_gradients(const Backward& a, int term, int r, int channels, std::int64_t start, int count,
                          Lanes (&g)[FL_LANES]) {
  const LowRank& t = a.tensor;
  const int first = term * t.rank + r;
  if (t.summed()) {
    for (int i = 0; i < FL_LANES; ++i) g[i] = broadcast(i < count ? a.grad_out.at(start + i, 0) : 0.f);
    return;
  }
  for (int c = 0; c < FL_LANES; ++c) g[c] = broadcast(0.f);
  if (t.combined()) {
    for (int o = 0; o < t.outputs; ++o) {
      const Lanes grad = load_some(&a.grad_out.at(start, o), a.grad_out.stride_sample, count);
      const float* weight = a.basis + o * t.products() + first;
      for (int c = 0; c < channels; ++c) g[c] += weight[c] * grad;
    }
  } else {
    for (int c = 0; c < channels; ++c)
      g[c] = load_some(&a.grad_out.at(start, first + c), a.grad_out.stride_sample, count);
  }
  transpose(g);
}

// One part of a term's gradient, added to the factors. `add(pointer, channels, value)` is atomic on the GPU; on the CPU a
// part belongs to one thread, so that plain additions in a fixed order do.
template <int Factors, class Add>
FL_HD void low_rank_scatter(const LowRankBackwardParams& a, int term, int part, std::int64_t start, int count, Add add) {
  using At = Stencil<Factors>;
  Lanes x[3], g[FL_LANES], product[FL_LANES] = {};
  load_position(a.x, start, count, x);
  const At at(a.tensor, term, x);
  const int end = min_of(a.tensor.rank, (part + 1) * kLowRankPart);
  each_channels(part * kLowRankPart, end, [&](int r, int channels) {
    load_gradients(a, term, r, channels, start, count, g);
    for (int i = 0; i < count; ++i) {
      Lanes value[Factors];
      at.interpolate(a.params, r, channels, i, value);
      for (int f = 0; f < Factors; ++f) {
        Lanes grad = g[i];
        for (int other = 0; other < Factors; ++other)
          if (other != f) grad *= value[other];
        for (int k = 0; k < At::corners(f); ++k)
          add(a.grad_params + at.entry[f][k][i] + r, channels, at.weight[f][k][i] * grad);
      }
      product[i] = value[0] * value[1];
      if (Factors == 3) product[i] *= value[Factors - 1];
    }
    for (int o = 0; o < a.tensor.outputs; ++o) {
      float grad_out[FL_LANES];
      store(grad_out, load_some(&a.grad_out.at(start, o), a.grad_out.stride_sample, count));
      Lanes grad = broadcast(0.f);
      for (int i = 0; i < FL_LANES; ++i) grad += grad_out[i] * product[i];
      add(a.grad_basis + o * a.tensor.products() + term * a.tensor.rank + r, channels, grad);
    }
  });
}

// Derivatives of a factor's values at sample i along its axes, per cell.
template <int Factors>
FL_HD void low_rank_slopes(const Stencil<Factors>& at, const float* params, int r, int channels, int f, int i,
                           Lanes slope[2]) {
  Lanes v[4];
  for (int k = 0; k < at.corners(f); ++k) v[k] = load_part(params + at.entry[f][k][i] + r, channels);
  slope[0] = v[1] - v[0];
  if (at.corners(f) == 2) return;
  const float upper = at.upper[f][1][i], across = at.upper[f][0][i];
  slope[0] += upper * (v[3] - v[2] - slope[0]);
  slope[1] = v[2] - v[0];
  slope[1] += across * (v[3] - v[1] - slope[1]);
}

template <int Factors>
FL_HD void low_rank_input_gradient(const LowRankBackwardInput& a, std::int64_t start, int count) {
  const LowRank& t = a.tensor;
  Lanes x[3], g[FL_LANES], total[3][FL_LANES] = {};
  load_position(a.x, start, count, x);
  for (int term = 0; term < t.terms; ++term) {
    const Stencil<Factors> at(t, term, x);
    each_channels(0, t.rank, [&](int r, int channels) {
      load_gradients(a, term, r, channels, start, count, g);
      for (int i = 0; i < count; ++i) {
        Lanes value[Factors];
        at.interpolate(a.params, r, channels, i, value);
        for (int f = 0; f < Factors; ++f) {
          Lanes grad = g[i], slope[2];
          for (int other = 0; other < Factors; ++other)
            if (other != f) grad *= value[other];
          low_rank_slopes(at, a.params, r, channels, f, i, slope);
          for (int s = 0; s < at.corners(f) / 2; ++s) total[t.factor[term][f].axis[s]][i] += grad * slope[s];
        }
      }
    });
  }
  for (int axis = 0; axis < 3; ++axis) {
    transpose(total[axis]);
    for (int c = 1; c < FL_LANES; ++c) total[axis][0] += total[axis][c];
    store_some(&a.grad_x.at(start, axis), a.grad_x.stride_sample, count,
               total[axis][0] * static_cast<float>(t.resolution[axis] - 1));
  }
}

// Adds the gradient of a factor's penalties at one vertex: l1 * mean |v| + total_variation * (for each axis) the mean of
// (v[i+1] - v[i])^2.
FL_HD void low_rank_penalty_gradient(const LowRankPenalty& a, const LowRankFactor& factor, std::int64_t vertex) {
  const LowRank& t = a.tensor;
  const bool plane = factor.axis[0] != factor.axis[1];
  const int size[2] = {t.resolution[factor.axis[0]], plane ? t.resolution[factor.axis[1]] : 1};
  const float n = static_cast<float>(size[0]) * static_cast<float>(size[1]) * static_cast<float>(t.rank);
  const int place[2] = {static_cast<int>(vertex % size[0]), static_cast<int>(vertex / size[0])};
  const std::int64_t stride[2] = {t.rank, std::int64_t{t.rank} * size[0]};
  const std::int64_t at = factor.offset + vertex * t.rank;
  for (int r = 0; r < t.rank; r += FL_LANES) {
    const int channels = min_of(FL_LANES, t.rank - r);
    const float* p = a.params + at + r;
    const Lanes v = load_part(p, channels), one = broadcast(a.l1 / n);
    Lanes grad = where_positive(v, one) - where_positive(-v, one);
    for (int axis = 0; axis < (plane ? 2 : 1); ++axis) {
      const float weight = 2.f * a.total_variation / (n / size[axis] * (size[axis] - 1));
      if (place[axis] > 0) grad += weight * (v - load_part(p - stride[axis], channels));
      if (place[axis] + 1 < size[axis]) grad += weight * (v - load_part(p + stride[axis], channels));
    }
    float* to = a.grad_params + at + r;
    store_part(to, channels, load_part(to, channels) + grad);
  }
}

// For the fused renderer: a team encodes a tile of positions, rows [3][tile] to rows [channels][tile]. The tensor covers a
// box of the unit cube; outside it products are those at its border and their sum is `outside`.
struct LowRankEncoder {
  LowRank tensor;
  const float* params;
  const float* basis;
  float low[3], high[3];
  float outside;
};
FL_FIELDS(LowRankEncoder, tensor, params, basis, low, high, outside)
FL_HD int channels(const LowRankEncoder& e) { return e.tensor.channels(); }
FL_HD std::int64_t encode_scratch(const LowRankEncoder&, int) { return 0; }

template <int Factors>
FL_HD void encode_lanes(const LowRankEncoder& e, const float* x, int tile, int item, int start, float* out) {
  Lanes at[3], beyond = broadcast(0.f);
  for (int axis = 0; axis < 3; ++axis) {
    const Lanes v = (load(x + axis * tile + start) - e.low[axis]) / (e.high[axis] - e.low[axis]);
    beyond += at_least(v - 1.f, 0.f) + at_least(-v, 0.f);
    at[axis] = between(v, 0.f, 1.f);
  }
  low_rank_item<Factors>({tile, e.tensor, {}, e.params, e.basis, {out, 1, tile}}, at, item, start, FL_LANES);
  if (e.tensor.summed()) store(out + start, where_nonzero(beyond, broadcast(e.outside), load(out + start)));
}

FL_HD void encode_tile(const Team& team, const LowRankEncoder& e, const float* x, int tile, float* out, float*) {
  const int groups = tile / FL_LANES;
  for (int i = team.rank; i < groups * low_rank_items(e.tensor); i += team.size) {
    if (e.tensor.factors == 2)
      encode_lanes<2>(e, x, tile, i / groups, i % groups * FL_LANES, out);
    else
      encode_lanes<3>(e, x, tile, i / groups, i % groups * FL_LANES, out);
  }
}

#ifdef FL_ISA
}  // namespace FL_ISA
#endif

// Calls body with an integral constant of the number of factors in a product.
#define FL_WITH_FACTORS(factors, BODY)   \
  if (factors == 2) {                    \
    constexpr int Factors = 2;           \
    BODY;                                \
  } else {                               \
    constexpr int Factors = 3;           \
    BODY;                                \
  }

}  // namespace fieldlab
