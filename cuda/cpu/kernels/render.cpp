// CPU launcher of the fused renderer: each thread is a team of one and takes chunks of successive rays.
#include "cpu/parallel.h"
#include "operations.h"

namespace fieldlab::FL_ISA::cpu {
namespace {

constexpr std::int64_t kRays = 4096;

}  // namespace

void render_field(const RenderField& a, int threads) {
  const std::int64_t chunks = divide_up(a.rays.n, kRays);
  (void)threads;
#pragma omp parallel num_threads(threads) if (threads > 1 && chunks > 1)
  {
    const Team team;
    Scratch<float> weights(FieldTile::weights_size(a.field));
    Scratch<float> field_memory(FieldTile::scratch(a.field, kRenderTile));
    Scratch<float> ray_memory(RenderScratch::bytes(kRenderTile) / sizeof(float));
    const FieldTile field(a.field, kRenderTile, weights.data, field_memory.data);
    const RenderScratch scratch(kRenderTile, ray_memory.data);
    field.pack(team);
#pragma omp for schedule(dynamic, 1)
    for (std::int64_t c = 0; c < chunks; ++c)
      render_chunk(team, a.rays, field, scratch, c * kRays, min_of((c + 1) * kRays, a.rays.n), kRenderTile);
  }
}

}  // namespace fieldlab::FL_ISA::cpu
