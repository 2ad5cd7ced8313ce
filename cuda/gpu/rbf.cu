// GPU launchers of the radial basis functions: a thread a sample for neighbors and basis, a thread a sample and channel
// for the mixture, so that a kernel's features are read and added to side by side.
#include "launch.cuh"

namespace fieldlab::gpu {

void rbf_neighbors(const RbfNeighbors& a, const Target& target) {
  FL_WITH_DIMS(a.dims, each(a.n, target, [a] __device__(std::int64_t i) { fieldlab::rbf_neighbors<Dims>(a, i, i + 1); }))
}
void rbf_basis_forward(const RbfBasisForward& a, const Target& target) {
  FL_WITH_DIMS(a.basis.dims,
               each(a.n, target, [a] __device__(std::int64_t i) { fieldlab::rbf_basis_forward<Dims>(a, i, 1); }))
}
void rbf_basis_backward(const RbfBasisBackward& a, const Target& target) {
  FL_WITH_DIMS(a.basis.dims,
               each(a.n, target, [a] __device__(std::int64_t i) { fieldlab::rbf_basis_backward<Dims>(a, i, 1); }))
}
void rbf_mix_forward(const RbfMixForward& a, const Target& target) {
  const int f = a.mixture.features;
  each(a.n * f, target, [a, f] __device__(std::int64_t i) {
    a.out.at(i / f, i % f) = mix_channels(a, i / f, static_cast<int>(i % f), 1);
  });
}
void rbf_mix_backward_weights(const RbfMixBackwardWeights& a, const Target& target) {
  const int f = a.mixture.features;
  each(a.n * f, target, [a, f] __device__(std::int64_t i) {
    const std::int64_t sample = i / f;
    const int c = static_cast<int>(i % f);
    const float g = a.grad_out.at(sample, c);
    for (int j = 0; j < a.k; ++j) {
      const std::int32_t id = a.ids.at(sample, j);
      if (id < 0) break;
      atomicAdd(a.grad_weights + std::int64_t{id} * f + c, g * composed(a.mixture, c, 1, a.phi.at(sample, j)));
    }
  });
}
void rbf_mix_backward_basis(const RbfMixBackwardBasis& a, const Target& target) {
  each(a.n * a.k, target, [a] __device__(std::int64_t i) {
    a.grad_phi.at(i / a.k, i % a.k) = mix_grad_basis(a, i / a.k, static_cast<int>(i % a.k));
  });
}

}  // namespace fieldlab::gpu
