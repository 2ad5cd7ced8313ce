// CPU launchers of the fused networks: each thread is a team of one with its own scratch memory.
#include "cpu/parallel.h"
#include "operations.h"

namespace fieldlab::FL_ISA::cpu {

void mlp_forward(const MlpForward& a, int threads) {
  const std::int64_t tiles = divide_up(a.n, kTile);
  (void)threads;
#pragma omp parallel num_threads(threads) if (threads > 1 && tiles > 1)
  {
    const Team team;
    Scratch<float> memory(forward_scratch(a.shape, kTile));
    pack_weights(team, a.shape, a.params, false, memory.data);
    float* buffers = memory.data + packed_size(a.shape);
#pragma omp for schedule(dynamic, 4)
    for (std::int64_t t = 0; t < tiles; ++t) mlp_forward_tile(team, a, memory.data, buffers, t * kTile, kTile);
  }
}

void mlp_backward(const MlpBackward& a, int threads) {
  const std::int64_t tiles = divide_up(a.n, kTile);
  (void)threads;
#pragma omp parallel num_threads(threads) if (threads > 1 && tiles > 1)
  {
    const Team team;
    Scratch<float> memory(MlpBackwardScratch::size(a.shape, kTile));
    const MlpBackwardScratch scratch(a.shape, kTile, memory.data);
    mlp_backward_pack(team, a, scratch.packed, scratch.packed_transposed);
    mlp_backward_begin(team, a, scratch);
#pragma omp for schedule(dynamic, 4)
    for (std::int64_t t = 0; t < tiles; ++t) mlp_backward_tile(team, a, scratch, t * kTile, kTile);
#pragma omp critical
    mlp_backward_end(team, a, scratch, [](float* to, float value) { *to += value; });
  }
}

}  // namespace fieldlab::FL_ISA::cpu
