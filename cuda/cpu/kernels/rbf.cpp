// CPU launchers of the radial basis functions.
#include "cpu/parallel.h"
#include "operations.h"

namespace fieldlab::FL_ISA::cpu {

void rbf_neighbors(const RbfNeighbors& a, int threads) {
  parallel_chunks(a.n, 1024, threads, [&](std::int64_t begin, std::int64_t end) {
    FL_WITH_DIMS(a.dims, fieldlab::rbf_neighbors<Dims>(a, begin, end))
  });
}
void rbf_basis_forward(const RbfBasisForward& a, int threads) {
  FL_WITH_DIMS(a.basis.dims, parallel_lanes(a.n, threads, [&](std::int64_t start, int count) {
                 fieldlab::rbf_basis_forward<Dims>(a, start, count);
               }))
}
void rbf_basis_backward(const RbfBasisBackward& a, int threads) {
  FL_WITH_DIMS(a.basis.dims, parallel_lanes(a.n, threads, [&](std::int64_t start, int count) {
                 fieldlab::rbf_basis_backward<Dims>(a, start, count);
               }))
}
void rbf_mix_forward(const RbfMixForward& a, int threads) {
  parallel_lanes(a.n, threads, [&](std::int64_t start, int count) {
    fieldlab::rbf_mix_forward(a, start, count);
  });
}

// Kernels belong to threads, in blocks of eight, so that every thread has its share of every place; each adds in the
// order of samples, which makes the sums the same for any number of threads.
void rbf_mix_backward_weights(const RbfMixBackwardWeights& a, int threads) {
  const int f = a.mixture.features;
  const SampleMajor grad(a.grad_out, a.n, f, threads);
#pragma omp parallel for schedule(static, 1) num_threads(threads) if (threads > 1)
  for (int owner = 0; owner < threads; ++owner)
    for (std::int64_t i = 0; i < a.n; ++i)
      for (int j = 0; j < a.k; ++j) {
        const std::int32_t id = a.ids.at(i, j);
        if (id < 0) break;
        if (threads > 1 && (id >> 3) % threads != owner) continue;
        float* to = a.grad_weights + std::int64_t{id} * f;
        for (int c = 0; c < f; c += FL_LANES) {
          const int count = min_of(FL_LANES, f - c);
          const Lanes step = composed(a.mixture, c, count, a.phi.at(i, j)) * load_some(&grad.view().at(i, c), 1, count);
          store_some(to + c, 1, count, load_some(to + c, 1, count) + step);
        }
      }
}

void rbf_mix_backward_basis(const RbfMixBackwardBasis& given, int threads) {
  RbfMixBackwardBasis a = given;
  const SampleMajor grad(given.grad_out, given.n, given.mixture.features, threads);
  a.grad_out = grad.view();
  parallel_chunks(a.n, 4096, threads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      for (int j = 0; j < a.k; ++j) a.grad_phi.at(i, j) = mix_grad_basis(a, i, j);
  });
}

}  // namespace fieldlab::FL_ISA::cpu
