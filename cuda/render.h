// Fused rendering: rays in, pixels out. A team keeps a set of rays in flight; each turn every ray contributes its next
// samples to one tile, the field is evaluated on the tile, and the rays take up what they see. A ray that is opaque or
// has left the grid hands its place to the next. Samples never reach main memory, and color is computed only for
// samples that will show.
#pragma once
#include "composite.h"
#include "contract.h"
#include "field_program.h"
#include "march.h"

namespace fieldlab {

struct RenderRays {
  std::int64_t n;
  OccupancyGrid grid;
  MatrixIn origins, directions;  // [n,3]
  const float *near, *far;       // [n]; the sample lattice starts at near
  float step, cone_angle;
  bool contracted;
  const float* aabb;  // [2,3]: the field's box
  float early_stop;   // transmittance below which a ray is done
  float least_weight; // samples that weigh less get no color
  MatrixOut rgb;      // [n,3], not composited on a background
  float *opacity, *depth;  // [n]; depth is the weighted sum of distances
  std::int32_t* evaluated;  // [n]: samples evaluated
};
FL_FIELDS(RenderRays, n, grid, origins, directions, near, far, step, cone_angle, contracted, aabb, early_stop,
          least_weight, rgb, opacity, depth, evaluated)
struct RenderField {
  RenderRays rays;
  FieldProgram field;
};
FL_FIELDS(RenderField, rays, field)

#ifdef FL_ISA
inline namespace FL_ISA {
#endif

// How many samples a ray contributes a turn, and samples a tile. On the GPU each thread walks one ray.
#if FL_LANES == 1
constexpr int kTake = 1, kRenderTile = 128;
#else
constexpr int kTake = 4, kRenderTile = 192;
#endif

struct RaySlot {
  RayMarcher marcher;
  std::int64_t ray;  // -1: free
  float direction[3], origin[3];
  float transmittance, opacity, depth, rgb[3];
  int count, evaluated;
  float harmonics[16];
};

FL_HD int take(int* counter, int n) {
#ifdef __CUDA_ARCH__
  return atomicAdd(counter, n);
#else
  const int before = *counter;
  *counter += n;
  return before;
#endif
}

// A team's fast memory besides the field's.
struct RenderScratch {
  float *x, *middle, *length, *alpha, *weight;  // x: [3][tile]; the others: [tile]
  int *selected, *counters;                     // counters: next ray, samples placed, samples selected
  RaySlot* slots;

  FL_HD static int slot_count(int tile) { return tile / kTake; }
  FL_HD static std::int64_t bytes(int tile) {
    return (std::int64_t{8} * tile + 16) * 4 + slot_count(tile) * std::int64_t{sizeof(RaySlot)} + 64;
  }
  FL_HD RenderScratch(int tile, float* memory) {
    x = memory;
    middle = x + 3 * tile;
    length = middle + tile;
    alpha = length + tile;
    weight = alpha + tile;
    selected = reinterpret_cast<int*>(weight + tile);
    counters = selected + tile;
    slots = reinterpret_cast<RaySlot*>(counters + 16);
  }
};

FL_HD void open_slot(const RenderRays& a, int sh_degree, std::int64_t ray, RaySlot& s) {
  for (int i = 0; i < 3; ++i) {
    s.origin[i] = a.origins.at(ray, i);
    s.direction[i] = a.directions.at(ray, i);
    s.rgb[i] = 0.f;
  }
  s.marcher = RayMarcher(a.grid, s.origin, s.direction, a.near[ray], a.far[ray], a.near[ray], a.step, a.cone_angle);
  s.ray = ray;
  s.transmittance = 1.f;
  s.opacity = s.depth = 0.f;
  s.evaluated = 0;
  each_harmonic(sh_degree, s.direction[0], s.direction[1], s.direction[2],
                [&](int i, float value, float, float, float) { s.harmonics[i] = value; });
}

FL_HD void close_slot(const RenderRays& a, RaySlot& s) {
  for (int i = 0; i < 3; ++i) a.rgb.at(s.ray, i) = s.rgb[i];
  a.opacity[s.ray] = s.opacity;
  a.depth[s.ray] = s.depth;
  a.evaluated[s.ray] = s.evaluated;
  s.ray = -1;
}

// Puts a slot's next samples into the tile; a ray that has none left gives way to the next of the chunk.
FL_HD void advance_slot(const RenderRays& a, int sh_degree, const RenderScratch& m, int slot, std::int64_t begin,
                        std::int64_t end, int tile) {
  RaySlot& s = m.slots[slot];
  int placed = 0;
  for (;;) {
    if (s.ray < 0) {
      const std::int64_t ray = begin + take(&m.counters[0], 1);
      if (ray >= end) break;
      open_slot(a, sh_degree, ray, s);
    }
    float t0, t1;
    while (placed < kTake && s.marcher.next(t0, t1)) {
      const int at = slot * kTake + placed++;
      m.middle[at] = 0.5f * (t0 + t1);
      m.length[at] = t1 - t0;
      for (int i = 0; i < 3; ++i) m.x[i * tile + at] = s.origin[i] + s.direction[i] * m.middle[at];
    }
    if (placed > 0) break;
    close_slot(a, s);
  }
  s.count = placed;
  if (placed > 0) take(&m.counters[1], placed);
  for (int at = slot * kTake + placed; at < (slot + 1) * kTake; ++at) {
    m.length[at] = 0.f;
    for (int i = 0; i < 3; ++i) m.x[i * tile + at] = a.aabb[i];
  }
}

FL_HD void to_field_box(const Team& team, const FieldBox& box, float* x, int tile) {
  for (int at = team.rank * FL_LANES; at < tile; at += team.size * FL_LANES) {
    const Lanes p[3] = {load(x + at), load(x + tile + at), load(x + 2 * tile + at)};
    Lanes out[3];
    box.forward(p, out);
    for (int i = 0; i < 3; ++i)  // clamped: what rounds out of the box is on its border
      store(x + i * tile + at, between(out[i], 0.f, 1.f));
  }
}

// Opacity of every sample of the tile from the log-density row.
FL_HD void tile_opacities(const Team& team, const RenderScratch& m, const float* log_density, float offset, float ceiling,
                          int tile) {
  for (int at = team.rank * FL_LANES; at < tile; at += team.size * FL_LANES) {
    const Lanes s = at_most(load(log_density + at) + offset, ceiling);
    store(m.alpha + at, opacity_of(exp_of(s) * load(m.length + at)));
  }
}

// Takes a slot's samples up front to back and lists those whose color is worth knowing.
FL_HD void integrate_slot(const RenderRays& a, const RenderScratch& m, int slot) {
  RaySlot& s = m.slots[slot];
  for (int j = 0; j < s.count && s.transmittance >= a.early_stop; ++j) {
    const int at = slot * kTake + j;
    const float w = s.transmittance * m.alpha[at];
    s.transmittance *= 1.f - m.alpha[at];
    s.opacity += w;
    s.depth += w * m.middle[at];
    if (w < a.least_weight) continue;
    const int k = take(&m.counters[2], 1);
    m.selected[k] = at;
    m.weight[k] = w;
  }
  s.evaluated += s.count;
}

// Renders rays [begin, end).
FL_HD void render_chunk(const Team& team, const RenderRays& a, const FieldTile& field, const RenderScratch& m,
                        std::int64_t begin, std::int64_t end, int tile) {
  const int slots = RenderScratch::slot_count(tile);
  const FieldBox box(a.aabb, a.contracted);
  for (int i = team.rank; i < slots; i += team.size) m.slots[i].ray = -1;
  if (team.rank == 0) m.counters[0] = 0;
  for (;;) {
    if (team.rank == 0) m.counters[1] = m.counters[2] = 0;
    team.sync();
    for (int i = team.rank; i < slots; i += team.size) advance_slot(a, field.field.sh_degree, m, i, begin, end, tile);
    team.sync();
    if (m.counters[1] == 0) return;
    to_field_box(team, box, m.x, tile);
    team.sync();
    float* geometry = field.geometry(team, m.x);
    tile_opacities(team, m, geometry, field.field.offset, field.field.ceiling, tile);
    team.sync();
    for (int i = team.rank; i < slots; i += team.size) integrate_slot(a, m, i);
    team.sync();
    const int selected = m.counters[2];
    if (selected > 0) {
      const float* rgb = field.color(team, geometry, m.selected, selected,
                                     [&](int k) { return m.slots[m.selected[k] / kTake].harmonics; });
      // On the GPU a slot has at most one sample here, so no two threads meet.
      for (int k = team.rank; k < selected; k += team.size)
        for (int i = 0; i < 3; ++i) m.slots[m.selected[k] / kTake].rgb[i] += m.weight[k] * rgb[i * tile + k];
    }
    team.sync();
    for (int i = team.rank; i < slots; i += team.size)
      if (m.slots[i].ray >= 0 && m.slots[i].transmittance < a.early_stop) close_slot(a, m.slots[i]);
  }
}

#ifdef FL_ISA
}  // namespace FL_ISA
#endif
}  // namespace fieldlab
