// CPU launchers of the hash encoding. Work goes level by level over many samples, so that one level's table stays in
// the second-level cache; levels are the unit of work in the scatter, which therefore needs no atomics.
#include "cpu/parallel.h"
#include "operations.h"

namespace fieldlab::FL_ISA::cpu {
namespace {

constexpr std::int64_t kChunk = 16384;

template <class Body>
void each_level_chunk(int levels, std::int64_t n, int threads, const Body& body) {
  const std::int64_t chunks = divide_up(n, kChunk);
  (void)threads;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1)
  for (std::int64_t task = 0; task < levels * chunks; ++task) {
    const std::int64_t begin = task % chunks * kChunk, end = min_of(begin + kChunk, n);
    for (std::int64_t i = begin; i < end; i += FL_LANES)
      body(static_cast<int>(task / chunks), i, static_cast<int>(min_of<std::int64_t>(FL_LANES, end - i)));
  }
}

template <int Features>
struct AddCorners {
#if FL_LANES == 1
  void operator()(float* to, float value) const { *to += value; }
#else
  template <int Corners>
  void operator()(float* base, const std::uint32_t (&entry)[Corners][FL_LANES], const float (&weight)[Corners][FL_LANES],
                  const float (&grad)[Features][FL_LANES], int i) const {
    if constexpr (Features == 2) {
      typedef float Pair __attribute__((vector_size(8)));
      const Pair g = {grad[0][i], grad[1][i]};
      for (int c = 0; c < Corners; ++c) {
        float* to = base + std::int64_t{entry[c][i]} * 2;
        Pair v;
        std::memcpy(&v, to, sizeof v);
        v += g * weight[c][i];
        std::memcpy(to, &v, sizeof v);
      }
    } else {
      for (int c = 0; c < Corners; ++c)
        for (int f = 0; f < Features; ++f)
          base[std::int64_t{entry[c][i]} * Features + f] += weight[c][i] * grad[f][i];
    }
  }
#endif
};

}  // namespace

void hash_grid_forward(const HashGridForward& given, int threads) {
  HashGridForward a = given;
  const ChannelMajor x(given.x, given.n, given.grid.dims, threads);
  a.x = x.view();
  FL_WITH_GRID(a.grid,
                   each_level_chunk(a.grid.levels, a.n, threads, [&](int level, std::int64_t start, int count) {
                     hash_forward<Features, Dims, float>(a, level, start, count);
                   }))
}

void hash_grid_backward_table(const HashGridBackwardTable& given, int threads) {
  HashGridBackwardTable a = given;
  const ChannelMajor x(given.x, given.n, given.grid.dims, threads);
  const ChannelMajor grad_out(given.grad_out, given.n, given.grid.levels * given.grid.features, threads);
  a.x = x.view();
  a.grad_out = grad_out.view();
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1)
  for (int task = 0; task < a.grid.levels; ++task) {
    const int level = a.grid.levels - 1 - task;  // the finest are the slowest: start them first
    FL_WITH_GRID(a.grid, for (std::int64_t i = 0; i < a.n; i += FL_LANES) hash_backward_table<Features, Dims>(
                                          a, level, i, static_cast<int>(min_of<std::int64_t>(FL_LANES, a.n - i)),
                                          AddCorners<Features>{}))
  }
}

void hash_grid_backward_input(const HashGridBackwardInput& a, int threads) {
  FL_WITH_GRID(a.grid, parallel_lanes(a.n, threads, [&](std::int64_t start, int count) {
                     hash_backward_input<Features, Dims, float>(a, start, count);
                   }))
}

}  // namespace fieldlab::FL_ISA::cpu
