// GPU launchers of low-rank tensors: one thread a sample and part of a term. Neighbouring threads are neighbouring samples,
// whose vertices share cache lines and whose feature-major writes are coalesced.
#include "low_rank.h"

#include "launch.cuh"

namespace fieldlab::gpu {
namespace {

struct AtomicAdd {
  __device__ void operator()(float* to, int, float value) const { atomicAdd(to, value); }
};

template <int Factors>
void forward(const LowRankForward& a, const Target& target) {
  const std::int64_t n = a.n;
  each(n * low_rank_items(a.tensor), target, [a, n] __device__(std::int64_t i) {
    Lanes x[3];
    load_position(a.x, i % n, 1, x);
    low_rank_item<Factors>(a, x, static_cast<int>(i / n), i % n, 1);
  });
}

template <int Factors>
void backward_params(const LowRankBackwardParams& a, const Target& target) {
  const std::int64_t n = a.n;
  const int parts = low_rank_parts(a.tensor);
  each(n * a.tensor.terms * parts, target, [a, n, parts] __device__(std::int64_t i) {
    const int task = static_cast<int>(i / n);
    low_rank_scatter<Factors>(a, task / parts, task % parts, i % n, 1, AtomicAdd{});
  });
}

template <int Factors>
void backward_input(const LowRankBackwardInput& a, const Target& target) {
  each(a.n, target, [a] __device__(std::int64_t i) { low_rank_input_gradient<Factors>(a, i, 1); });
}

}  // namespace

void low_rank_forward(const LowRankForward& a, const Target& target) {
  FL_WITH_FACTORS(a.tensor.factors, forward<Factors>(a, target))
}
void low_rank_backward_params(const LowRankBackwardParams& a, const Target& target) {
  FL_WITH_FACTORS(a.tensor.factors, backward_params<Factors>(a, target))
}
void low_rank_backward_input(const LowRankBackwardInput& a, const Target& target) {
  FL_WITH_FACTORS(a.tensor.factors, backward_input<Factors>(a, target))
}
void low_rank_penalty(const LowRankPenalty& a, const Target& target) {
  for (int term = 0; term < a.tensor.terms; ++term)
    for (int f = 0; f < a.tensor.factors; ++f) {
      const LowRankFactor factor = a.tensor.factor[term][f];
      each(low_rank_values(a.tensor, factor) / a.tensor.rank, target,
           [a, factor] __device__(std::int64_t i) { low_rank_penalty_gradient(a, factor, i); });
    }
}

}  // namespace fieldlab::gpu
