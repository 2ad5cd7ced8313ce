// GPU launchers of the hash encoding: one thread a sample and level. Neighbouring threads are neighbouring samples of
// one level, so that reads of a level's table share cache and feature-major writes are coalesced.
#include "launch.cuh"

namespace fieldlab::gpu {
namespace {

struct AtomicAdd {
  __device__ void operator()(float* to, float value) const { atomicAdd(to, value); }
};

template <int Features, int Dims>
void forward(const HashGridForward& a, const Target& target) {
  const std::int64_t n = a.n;
  each(n * a.grid.levels, target, [a, n] __device__(std::int64_t i) {
    const int level = static_cast<int>(i / n);
    if (a.half)
      hash_forward<Features, Dims, __half>(a, level, i % n, 1);
    else
      hash_forward<Features, Dims, float>(a, level, i % n, 1);
  });
}

template <int Features, int Dims>
void backward_table(const HashGridBackwardTable& a, const Target& target) {
  const std::int64_t n = a.n;
  each(n * a.grid.levels, target, [a, n] __device__(std::int64_t i) {
    hash_backward_table<Features, Dims>(a, static_cast<int>(i / n), i % n, 1, AtomicAdd{});
  });
}

template <int Features, int Dims>
void backward_input(const HashGridBackwardInput& a, const Target& target) {
  each(a.n, target, [a] __device__(std::int64_t i) {
    if (a.half)
      hash_backward_input<Features, Dims, __half>(a, i, 1);
    else
      hash_backward_input<Features, Dims, float>(a, i, 1);
  });
}

}  // namespace

void hash_grid_forward(const HashGridForward& a, const Target& target) {
  FL_WITH_GRID(a.grid, forward<Features, Dims>(a, target))
}
void hash_grid_backward_table(const HashGridBackwardTable& a, const Target& target) {
  FL_WITH_GRID(a.grid, backward_table<Features, Dims>(a, target))
}
void hash_grid_backward_input(const HashGridBackwardInput& a, const Target& target) {
  FL_WITH_GRID(a.grid, backward_input<Features, Dims>(a, target))
}

}  // namespace fieldlab::gpu
