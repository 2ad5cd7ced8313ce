// Radial basis functions with adaptive shapes and sinusoids composed on them (Chen et al. 2023, NeuRBF, section 3); the
// formulas are in fieldlab/ops/rbf.py. Two steps: the basis phi [n,k] of each sample's neighbors, with lanes over samples,
// and the mixture of those neighbors' features, with lanes over channels, so that a kernel's features are read as they lie.
#pragma once
#include "lanes_select.h"
#include "rbf_tree.h"

namespace fieldlab {

enum class RbfKernel : int { inverse_quadratic, inverse_multiquadric, gaussian, markov, tent };
enum class RbfShape : int { isotropic, axes, full };

struct RbfBasis {
  int dims;
  RbfKernel kernel;
  RbfShape shape;
  bool normalized;
  const float* centers;  // [N,dims]
  const float* shapes;   // [N, 1 | dims | dims*(dims+1)/2] of the inverse covariance: scale, diagonal, upper triangle
  const float* support;  // [N] 1 / radius^2 of the window, or null: no window
};
FL_FIELDS(RbfBasis, dims, kernel, shape, normalized, centers, shapes, support)
struct RbfBasisForward {
  std::int64_t n;
  int k;
  RbfBasis basis;
  MatrixIn x;                      // [n,dims]
  Matrix<const std::int32_t> ids;  // [n,k]; negative: none
  MatrixOut phi;                   // [n,k]
};
FL_FIELDS(RbfBasisForward, n, k, basis, x, ids, phi)
struct RbfBasisBackward {
  std::int64_t n;
  int k;
  RbfBasis basis;
  MatrixIn x;
  Matrix<const std::int32_t> ids;
  MatrixIn grad_phi;
  MatrixOut grad_x;  // [n,dims], overwritten
};
FL_FIELDS(RbfBasisBackward, n, k, basis, x, ids, grad_phi, grad_x)
struct RbfMixture {
  int features;
  const float* weights;      // [N,features]
  const float* frequencies;  // [features] of the sines, or null: none
};
FL_FIELDS(RbfMixture, features, weights, frequencies)
struct RbfMixForward {
  std::int64_t n;
  int k;
  RbfMixture mixture;
  MatrixIn phi;
  Matrix<const std::int32_t> ids;
  MatrixOut out;  // [n,features]
};
FL_FIELDS(RbfMixForward, n, k, mixture, phi, ids, out)
struct RbfMixBackwardWeights {
  std::int64_t n;
  int k;
  RbfMixture mixture;
  MatrixIn phi;
  Matrix<const std::int32_t> ids;
  MatrixIn grad_out;
  float* grad_weights;  // [N,features], added to
};
FL_FIELDS(RbfMixBackwardWeights, n, k, mixture, phi, ids, grad_out, grad_weights)
struct RbfMixBackwardBasis {
  std::int64_t n;
  int k;
  RbfMixture mixture;
  MatrixIn phi;
  Matrix<const std::int32_t> ids;
  MatrixIn grad_out;
  MatrixOut grad_phi;  // [n,k], overwritten
};
FL_FIELDS(RbfMixBackwardBasis, n, k, mixture, phi, ids, grad_out, grad_phi)

#ifdef FL_ISA
inline namespace FL_ISA {
#endif

FL_HD LanesU ids_of(const Matrix<const std::int32_t>& ids, std::int64_t start, int k, int count, Lanes& exists) {
#if FL_LANES == 1
  (void)count;
  const std::int32_t id = ids.at(start, k);
  exists = id < 0 ? 0.f : 1.f;
  return static_cast<LanesU>(max_of(id, 0));
#else
  LanesI id = LanesI{} - 1;
  if (count == FL_LANES && ids.stride_sample == 1)
    std::memcpy(&id, &ids.at(start, k), sizeof id);
  else
    for (int i = 0; i < count; ++i) id[i] = ids.at(start + i, k);
  exists = (Lanes)((LanesI)broadcast(1.f) & (id >= 0));
  return (LanesU)(id & (id >= 0));
#endif
}

// phi and d phi / d q of the kernels that depend on q = d^T A d.
FL_HD Lanes radial_profile(RbfKernel kernel, Lanes q, Lanes& slope) {
  switch (kernel) {
    case RbfKernel::inverse_quadratic: {
      const Lanes p = 1.f / (1.f + q);
      slope = -p * p;
      return p;
    }
    case RbfKernel::inverse_multiquadric: {
      const Lanes p = 1.f / sqrt_of(1.f + q);
      slope = -0.5f * p * p * p;
      return p;
    }
    case RbfKernel::gaussian: {
      const Lanes p = exp_of(-0.5f * q);
      slope = -0.5f * p;
      return p;
    }
    default: {  // markov; its cusp at the center has slope 0 by way of A d = 0
      const Lanes r = sqrt_of(q), p = exp_of(-r);
      slope = -0.5f * p / at_least(r, 1e-6f);
      return p;
    }
  }
}

// A d for the shape stored in `row`s: an entry per component.
template <int Dims>
FL_HD void shaped(RbfShape shape, const float* shapes, LanesU id, const Lanes* d, Lanes* product) {
  if (shape == RbfShape::isotropic) {
    const Lanes s = gather(shapes, id);
    for (int i = 0; i < Dims; ++i) product[i] = s * d[i];
  } else if (shape == RbfShape::axes) {
    for (int i = 0; i < Dims; ++i) product[i] = gather(shapes, id * Dims + i) * d[i];
  } else {
    constexpr int entries = Dims * (Dims + 1) / 2;
    for (int i = 0; i < Dims; ++i) product[i] = broadcast(0.f);
    int e = 0;
    for (int i = 0; i < Dims; ++i)
      for (int j = i; j < Dims; ++j, ++e) {
        const Lanes a = gather(shapes, id * entries + e);
        product[i] += a * d[j];
        if (j > i) product[j] += a * d[i];
      }
  }
}

// One kernel's phi at x, and its derivative there when wanted.
template <int Dims, bool Derivative>
FL_HD Lanes kernel_value(const RbfBasis& b, const Lanes* x, LanesU id, Lanes* grad) {
  Lanes d[Dims], phi;
  for (int i = 0; i < Dims; ++i) d[i] = x[i] - gather(b.centers, id * Dims + i);
  if (b.kernel == RbfKernel::tent) {
    Lanes side[Dims], k[Dims];
    phi = broadcast(1.f);
    for (int i = 0; i < Dims; ++i) {
      k[i] = sqrt_of(gather(b.shapes, b.shape == RbfShape::isotropic ? id : id * Dims + i));
      side[i] = at_least(1.f - k[i] * absolute(d[i]), 0.f);
      phi *= side[i];
    }
    if (Derivative)
      for (int i = 0; i < Dims; ++i) {
        grad[i] = where_positive(side[i], where_positive(-d[i], k[i]) - where_positive(d[i], k[i]));
        for (int j = 0; j < Dims; ++j)
          if (j != i) grad[i] *= side[j];
      }
  } else {
    Lanes product[Dims], slope, q = broadcast(0.f);
    shaped<Dims>(b.shape, b.shapes, id, d, product);
    for (int i = 0; i < Dims; ++i) q += d[i] * product[i];
    phi = radial_profile(b.kernel, at_least(q, 0.f), slope);
    if (Derivative)
      for (int i = 0; i < Dims; ++i) grad[i] = 2.f * slope * product[i];
  }
  if (b.support) {  // times (1 - |d|^2 / radius^2)^2 inside the radius
    const Lanes s = gather(b.support, id);
    Lanes squared = broadcast(0.f);
    for (int i = 0; i < Dims; ++i) squared += d[i] * d[i];
    const Lanes u = at_least(1.f - squared * s, 0.f);
    if (Derivative)
      for (int i = 0; i < Dims; ++i) grad[i] = u * u * grad[i] - 4.f * u * s * d[i] * phi;
    phi *= u * u;
  }
  return phi;
}

// phi of a group's neighbors; `store_phi(j, value)`.
template <int Dims, class Store>
FL_HD void basis_group(const RbfBasis& b, const Lanes* x, int k, const Matrix<const std::int32_t>& ids,
                       std::int64_t start, int count, const Store& store_phi) {
  Lanes phi[kMaxNeighbors], total = broadcast(0.f);
  for (int j = 0; j < k; ++j) {
    Lanes exists;
    const LanesU id = ids_of(ids, start, j, count, exists);
    phi[j] = exists * kernel_value<Dims, false>(b, x, id, nullptr);
    total += phi[j];
  }
  const Lanes scale = b.normalized ? 1.f / (total + 1e-8f) : broadcast(1.f);
  for (int j = 0; j < k; ++j) store_phi(j, phi[j] * scale);
}

template <int Dims>
FL_HD void load_point(const MatrixIn& m, std::int64_t start, int count, Lanes* x) {
  for (int axis = 0; axis < Dims; ++axis) {
    const Lanes v = load_some(&m.at(start, axis), m.stride_sample, count);
    x[axis] = between(v, 0.f, 1.f);
  }
}

template <int Dims>
FL_HD void rbf_basis_forward(const RbfBasisForward& a, std::int64_t start, int count) {
  Lanes x[Dims];
  load_point<Dims>(a.x, start, count, x);
  basis_group<Dims>(a.basis, x, a.k, a.ids, start, count, [&](int j, Lanes value) {
    store_some(&a.phi.at(start, j), a.phi.stride_sample, count, value);
  });
}

template <int Dims>
FL_HD void rbf_basis_backward(const RbfBasisBackward& a, std::int64_t start, int count) {
  Lanes x[Dims], sum[Dims], total = broadcast(0.f);
  load_point<Dims>(a.x, start, count, x);
  for (int i = 0; i < Dims; ++i) sum[i] = broadcast(0.f);
  for (int j = 0; j < a.k; ++j) {
    Lanes exists, grad[Dims];
    const LanesU id = ids_of(a.ids, start, j, count, exists);
    total += exists * kernel_value<Dims, true>(a.basis, x, id, grad);
    const Lanes g = exists * load_some(&a.grad_phi.at(start, j), a.grad_phi.stride_sample, count);
    for (int i = 0; i < Dims; ++i) sum[i] += g * grad[i];
  }
  const Lanes scale = a.basis.normalized ? 1.f / (total + 1e-8f) : broadcast(1.f);  // a constant here
  for (int i = 0; i < Dims; ++i) store_some(&a.grad_x.at(start, i), a.grad_x.stride_sample, count, sum[i] * scale);
}

// What channels `c`... of a kernel's features are multiplied with.
FL_HD Lanes composed(const RbfMixture& m, int c, int count, float phi) {
  return m.frequencies ? sin_of(load_some(m.frequencies + c, 1, count) * phi) : broadcast(phi);
}

// Channels `c`... of one sample's mixture.
FL_HD Lanes mix_channels(const RbfMixForward& a, std::int64_t sample, int c, int count) {
  const RbfMixture& m = a.mixture;
  Lanes sum = broadcast(0.f);
  for (int j = 0; j < a.k; ++j) {
    const std::int32_t id = a.ids.at(sample, j);
    if (id < 0) break;  // neighbors come nearest first, then none
    sum += composed(m, c, count, a.phi.at(sample, j)) *
           load_some(m.weights + std::int64_t{id} * m.features + c, 1, count);
  }
  return sum;
}

// The mixture of up to FL_LANES samples.
FL_HD void rbf_mix_forward(const RbfMixForward& a, std::int64_t start, int count) {
  const MatrixOut& out = a.out;
  for (int c = 0; c < a.mixture.features; c += FL_LANES) {
    const int channels = min_of(FL_LANES, a.mixture.features - c);
    Lanes sums[FL_LANES] = {};
    for (int i = 0; i < count; ++i) sums[i] = mix_channels(a, start + i, c, channels);
#if FL_LANES > 1
    if (out.stride_sample == 1) {
      transpose(sums);
      for (int f = 0; f < channels; ++f) store_some(&out.at(start, c + f), 1, count, sums[f]);
      continue;
    }
#endif
    for (int i = 0; i < count; ++i) store_some(&out.at(start + i, c), out.stride_channel, channels, sums[i]);
  }
}

// d/dphi of one sample's j-th neighbor.
FL_HD float mix_grad_basis(const RbfMixBackwardBasis& a, std::int64_t sample, int j) {
  const std::int32_t id = a.ids.at(sample, j);
  if (id < 0) return 0.f;
  const RbfMixture& m = a.mixture;
  const float phi = a.phi.at(sample, j);
  Lanes total = broadcast(0.f);
  for (int c = 0; c < m.features; c += FL_LANES) {
    const int channels = min_of(FL_LANES, m.features - c);
    Lanes part = load_some(&a.grad_out.at(sample, c), a.grad_out.stride_channel, channels) *
                 load_some(m.weights + std::int64_t{id} * m.features + c, 1, channels);
    if (m.frequencies) {
      const Lanes frequency = load_some(m.frequencies + c, 1, channels);
      part *= frequency * cos_of(frequency * phi);
    }
    total += part;
  }
  return sum_of(total);
}

// The fused renderer's view of an RBF encoding in three dimensions.
struct RbfEncoder {
  RbfTree tree;
  RbfBasis basis;
  RbfMixture mixture;
  int k;
};
FL_FIELDS(RbfEncoder, tree, basis, mixture, k)
FL_HD int channels(const RbfEncoder& e) { return e.mixture.features; }
FL_HD std::int64_t encode_scratch(const RbfEncoder& e, int tile) { return 2 * std::int64_t{e.k} * tile; }  // ids, phi

// Each thread takes whole groups of lanes, so that nothing is shared and no barrier is needed.
FL_HD void encode_tile(const Team& team, const RbfEncoder& e, const float* x, int tile, float* out, float* scratch) {
  std::int32_t* ids = reinterpret_cast<std::int32_t*>(scratch);
  float* phi = scratch + e.k * tile;
  const Matrix<const std::int32_t> known{ids, 1, tile};
  for (int at = team.rank * FL_LANES; at < tile; at += team.size * FL_LANES) {
    NeighborWalk<3> walk(e.tree, e.k);
    for (int i = at; i < at + FL_LANES; ++i) {
      const float point[3] = {x[i], x[tile + i], x[2 * tile + i]};
      walk.find(point, ids + i, tile);
    }
    const Lanes p[3] = {load(x + at), load(x + tile + at), load(x + 2 * tile + at)};
    basis_group<3>(e.basis, p, e.k, known, at, FL_LANES, [&](int j, Lanes value) { store(phi + j * tile + at, value); });
    rbf_mix_forward({tile, e.k, e.mixture, {phi, 1, tile}, known, {out, 1, tile}}, at, FL_LANES);
  }
}

#ifdef FL_ISA
}  // namespace FL_ISA
#endif
}  // namespace fieldlab
