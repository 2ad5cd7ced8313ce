// Ray marching through an occupancy grid. Samples lie on a lattice that depends on the ray alone; occupancy only decides
// which of its steps are kept, so a finer or later grid never moves a sample.
#pragma once
#include "occupancy.h"
#include "ray_box.h"

namespace fieldlab {

// What the two passes have in common.
struct MarchRays {
  std::int64_t n;
  OccupancyGrid grid;
  MatrixIn origins, directions;  // [n,3]
  const float *near, *far;       // [n]
  const float* jitter;           // [n] in [0,1), or null
  float step, cone_angle;
  std::int64_t max_samples;  // per ray
  std::int32_t* runs;        // [n, run_capacity, 2]: steps kept, first and one past the last
  int run_capacity;
};
struct MarchCount {
  MarchRays rays;
  std::int64_t* counts;  // [n]
};
struct MarchFill {
  MarchRays rays;
  const std::int64_t* offsets;  // [n+1]
  float *t_starts, *t_ends;
  std::int64_t* ray_indices;
};

#ifdef FL_ISA
inline namespace FL_ISA {
#endif

// t(0) = start, t(k+1) = t(k) + max(step, t(k) * cone): equal steps up to step number `bend`, a geometric sequence from
// there. Both parts are computed from k, so nothing drifts.
struct Lattice {
  float start, step, inverse_step;
  float cone = 0.f, bend_t = 0.f, growth = 0.f, inverse_growth = 0.f;  // growth: log2(1 + cone)
  int bend = 1 << 30;

  FL_HD Lattice(float start_, float step_, float cone_) : start(start_), step(step_), inverse_step(1.f / step_) {
    if (cone_ <= 0.f) return;
    cone = cone_;
    growth = log1pf(cone) * 1.44269504088896341f;
    inverse_growth = 1.f / growth;
    bend = static_cast<int>(clamp_to(ceilf((step / cone - start) * inverse_step), 0.f, 1e9f));
    bend_t = start + static_cast<float>(bend) * step;
  }
  FL_HD float at(int k) const {
    if (k <= bend) return start + static_cast<float>(k) * step;
    return bend_t * exp2f(static_cast<float>(k - bend) * growth);
  }
  FL_HD float middle(int k) const {
    if (k < bend) return start + (static_cast<float>(k) + 0.5f) * step;
    return at(k) * (1.f + 0.5f * cone);
  }
  // A step number such that the middles of all steps before it are below t, short of the first one that is not by at most
  // a step: distances carry rounding errors, and a step too many would be one that nobody looked at.
  FL_HD int first_not_before(float t) const {
    t *= 1.f - 5e-7f;
    float x = (t - start) * inverse_step - 0.501f;
    if (x >= static_cast<float>(bend)) {
      const float ratio = t / (bend_t * (1.f + 0.5f * cone));
      x = max_of(static_cast<float>(bend) - 1.f, static_cast<float>(bend) + log2f(ratio) * inverse_growth - 0.001f);
    }
    return static_cast<int>(floorf(clamp_to(x, -1.f, 1e9f))) + 1;
  }
};

// Walks one ray and hands out the kept steps one by one (next) or as runs of successive steps (next_run).
struct RayMarcher {
  Lattice lattice;
  OccupancyGrid grid;
  float origin[3], direction[3], inverse[3];  // in cells of level 0, from the low corner
  float half;                                 // cells from the centre to the side of level 0
  int k = 0, end = 0;                         // the next step to look at, and the end of all
  int run = 0, run_end = 0;                   // what next() has yet to hand out

  FL_HD RayMarcher(const OccupancyGrid& grid_, const float* o, const float* d, float near, float far, float start, float step,
                   float cone)
      : lattice(start, step, cone), grid(grid_), half(0.5f * static_cast<float>(grid_.resolution)) {
    const float reach = half * static_cast<float>(1 << (grid.levels - 1));
    float t_min = near, t_max = far;
    for (int i = 0; i < 3; ++i) {
      const float low = grid.aabb[i], scale = static_cast<float>(grid.resolution) / (grid.aabb[3 + i] - low);
      origin[i] = (o[i] - low) * scale;
      direction[i] = d[i] * scale;
      // An axis the ray does not move along is never the one it leaves a cell through.
      inverse[i] = fabsf(direction[i]) > 1e-20f ? 1.f / direction[i] : 1e20f;
      clip_to_slab(origin[i], direction[i], half - reach, half + reach, t_min, t_max);
    }
    if (!(t_min <= t_max && t_max > lattice.start)) return;
    k = lattice.first_not_before(max_of(t_min, lattice.start));
    end = lattice.first_not_before(t_max * (1.f + 2e-6f)) + 2;
    // The far end is kept to exactly.
    while (end > k && lattice.middle(end - 1) >= far) --end;
  }

  // Looks at the cell around the middle of step k: whether it is occupied, and the first step to look at next. Between the
  // two all steps are in cells of the same kind.
  FL_HD bool probe(int& next) const {
    const float t = lattice.middle(k);
    float g[3], reach = 0.f;
    for (int i = 0; i < 3; ++i) {
      g[i] = origin[i] + direction[i] * t - half;
      reach = max_of(reach, fabsf(g[i]));
    }
    int level = 0;
    float size = 1.f, inverse_size = 1.f;
    next = k + 1;
    while (reach >= half * size) {
      if (++level >= grid.levels) return false;
      size *= 2.f;
      inverse_size *= 0.5f;
    }
    int c[3];
    for (int i = 0; i < 3; ++i)
      c[i] = min_of(max_of(static_cast<int>(g[i] * inverse_size + half), 0), grid.resolution - 1);
    int extent;
    const bool occupied = look(level, c[0], c[1], c[2], extent);
    float t_exit = INFINITY;
    for (int i = 0; i < 3; ++i) {
      const int side = (c[i] & -extent) + (inverse[i] > 0.f ? extent : 0);
      const float plane = (static_cast<float>(side) - half) * size + half;
      t_exit = min_of(t_exit, (plane - origin[i]) * inverse[i]);
    }
    next = min_of(max_of(next, lattice.first_not_before(t_exit)), end);
    return occupied;
  }

  // Whether a cell is occupied, and how wide the aligned cube of like cells around it surely is (1, 2, 4, 8 or 16). Outside
  // level 0 that cube must not reach into the next inner level, which starts a quarter of the way in, nor out of the grid.
  FL_HD bool look(int level, int x, int y, int z, int& extent) const {
    const std::uint64_t octant = 0x330033;  // 2x2x2 of the 4x4x4
    const int r = grid.resolution;
    const int widest = level == 0 ? r & -r : (r / 4) & -(r / 4);  // the largest power of two in it
    const int cs = coarse_per_side(r), bx = x >> 2, by = y >> 2, bz = z >> 2;
    const std::uint64_t coarse = grid.coarse[cube_index(cs, level, bx >> 2, by >> 2, bz >> 2)];
    if (!(coarse >> bit_in_word(bx, by, bz) & 1)) {
      extent = coarse == 0 ? 16 : coarse >> bit_in_word(bx & 2, by & 2, bz & 2) & octant ? 4 : 8;
      extent = min_of(extent, widest);
      return false;
    }
    const std::uint64_t word = grid.blocks[cube_index(blocks_per_side(r), level, bx, by, bz)];
    const bool occupied = word >> bit_in_word(x, y, z) & 1;
    const std::uint64_t unlike = occupied ? ~word : word;
    extent = unlike == 0 ? 4 : unlike >> bit_in_word(x & 2, y & 2, z & 2) & octant ? 1 : 2;
    extent = min_of(extent, widest);
    return occupied;
  }

  // The next run of kept steps [first, last); false, and both left alone, at the end.
  FL_HD bool next_run(int& first, int& last) {
    while (k < end) {
      int next;
      const bool occupied = probe(next);
      const int from = k;
      k = next;
      if (!occupied) continue;
      first = from;
      last = next;
      return true;
    }
    return false;
  }

  // The next kept step; false at the end.
  FL_HD bool next(float& t_start, float& t_end) {
    if (run >= run_end && !next_run(run, run_end)) return false;
    t_start = lattice.at(run);
    t_end = lattice.at(++run);
    return true;
  }
};

FL_HD float lattice_start(const MarchRays& a, std::int64_t ray) {
  return a.near[ray] + (a.jitter ? a.jitter[ray] * a.step : 0.f);
}

FL_HD RayMarcher marcher_of(const MarchRays& a, std::int64_t ray) {
  const float o[3] = {a.origins.at(ray, 0), a.origins.at(ray, 1), a.origins.at(ray, 2)};
  const float d[3] = {a.directions.at(ray, 0), a.directions.at(ray, 1), a.directions.at(ray, 2)};
  return RayMarcher(a.grid, o, d, a.near[ray], a.far[ray], lattice_start(a, ray), a.step, a.cone_angle);
}

// First pass: counts a ray's samples and notes its first runs.
FL_HD void march_count_one(const MarchCount& a, std::int64_t ray) {
  RayMarcher marcher = marcher_of(a.rays, ray);
  std::int32_t* runs = a.rays.runs + ray * a.rays.run_capacity * 2;
  std::int64_t count = 0;
  int noted = 0, first, last, before = -1;
  while (count < a.rays.max_samples && marcher.next_run(first, last)) {
    last = static_cast<int>(min_of<std::int64_t>(last, first + (a.rays.max_samples - count)));
    count += last - first;
    if (first == before && noted <= a.rays.run_capacity) {
      if (noted > 0) runs[2 * noted - 1] = last;
    } else if (noted < a.rays.run_capacity) {
      runs[2 * noted] = first;
      runs[2 * noted + 1] = last;
      ++noted;
    } else {
      noted = a.rays.run_capacity + 1;
    }
    before = last;
  }
  a.counts[ray] = count;
}

// Second pass: emit(index of the sample, step number) for all samples of a ray, from the noted runs, then by marching on
// from the last of them.
template <class EmitRun>
FL_HD void march_runs_again(const MarchRays& a, std::int64_t ray, std::int64_t count, EmitRun emit_run) {
  const std::int32_t* runs = a.runs + ray * a.run_capacity * 2;
  std::int64_t done = 0;
  for (int i = 0; i < a.run_capacity && done < count; ++i) {
    emit_run(done, runs[2 * i], runs[2 * i + 1]);
    done += runs[2 * i + 1] - runs[2 * i];
  }
  if (done >= count) return;
  RayMarcher marcher = marcher_of(a, ray);
  if (a.run_capacity > 0) marcher.k = runs[2 * a.run_capacity - 1];
  int first, last;
  while (done < count && marcher.next_run(first, last)) {
    last = static_cast<int>(min_of<std::int64_t>(last, first + (count - done)));
    emit_run(done, first, last);
    done += last - first;
  }
}

// `rank` of `size` threads that fill a ray together.
FL_HD void march_fill_one(const MarchFill& a, std::int64_t ray, int rank, int size) {
  const std::int64_t begin = a.offsets[ray], count = a.offsets[ray + 1] - begin;
  if (count == 0) return;
  const Lattice lattice(lattice_start(a.rays, ray), a.rays.step, a.rays.cone_angle);
  march_runs_again(a.rays, ray, count, [&](std::int64_t done, int first, int last) {
    const std::int64_t at = begin + done - first;
    if (last <= lattice.bend) {
      for (int k = first + rank; k < last; k += size) {
        a.t_starts[at + k] = lattice.start + static_cast<float>(k) * lattice.step;
        a.t_ends[at + k] = lattice.start + static_cast<float>(k + 1) * lattice.step;
        a.ray_indices[at + k] = ray;
      }
      return;
    }
    for (int k = first + rank; k < last; k += size) {
      a.t_starts[at + k] = lattice.at(k);
      a.t_ends[at + k] = lattice.at(k + 1);
      a.ray_indices[at + k] = ray;
    }
  });
}

#ifdef FL_ISA
}  // namespace FL_ISA
#endif
}  // namespace fieldlab
