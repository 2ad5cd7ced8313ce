// Ray marching through an occupancy grid. Samples lie on a lattice that depends on the ray alone; occupancy only decides
// which of its steps are kept, so a finer or later grid never moves a sample.
#pragma once
#include "lanes_select.h"
#include "occupancy.h"

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
FL_FIELDS(MarchRays, n, grid, origins, directions, near, far, jitter, step, cone_angle, max_samples, runs,
          run_capacity)
struct MarchCount {
  MarchRays rays;
  std::int64_t* counts;  // [n]
};
FL_FIELDS(MarchCount, rays, counts)
struct MarchFill {
  MarchRays rays;
  const std::int64_t* offsets;  // [n+1]
  float *t_starts, *t_ends;
  std::int64_t* ray_indices;
};
FL_FIELDS(MarchFill, rays, offsets, t_starts, t_ends, ray_indices)

#ifdef FL_ISA
inline namespace FL_ISA {
#endif

// t(0) = start, t(k+1) = t(k) + max(step, t(k) * cone): equal steps up to step number `bend`, a geometric sequence from
// there. Both parts are computed from k, so nothing drifts. F is float for one ray, Lanes for one ray per lane.
template <class F>
struct LatticeOf {
  using I = IntegerOf<F>;
  F start, bend_t;
  I bend;
  float step, inverse_step;
  float cone, growth = 0.f, inverse_growth = 0.f, growth_slack = 0.f;  // growth: log2(1 + cone)

  FL_HD LatticeOf() {}
  FL_HD LatticeOf(F start_, float step_, float cone_)
      : start(start_), bend_t(start_), bend(to_integer(start_ * 0.f)), step(step_), inverse_step(1.f / step_), cone(cone_) {
    if (cone <= 0.f) return;
    growth = log1pf(cone) * 1.44269504088896341f;
    inverse_growth = 1.f / growth;
    growth_slack = 0.999f - 1e-6f * inverse_growth;
    const F steps = clamp_of((step / cone - start) * inverse_step, 0.f, 1e9f);
    bend = to_integer(steps);
    bend += pick(to_real(bend) < steps, bend * 0 + 1, bend * 0);
    bend_t = start + to_real(bend) * step;
  }
  FL_HD F at(I k) const {
    const F equal = start + to_real(k) * step;
    if (cone <= 0.f) return equal;
    const auto growing = k > bend;
    if (!any_of(growing)) return equal;
    return pick(growing, bend_t * exp2_of(to_real(pick(growing, k - bend, bend * 0)) * growth), equal);
  }
  FL_HD F middle(I k) const {
    const F equal = start + (to_real(k) + 0.5f) * step;
    if (cone <= 0.f) return equal;
    return pick(k < bend, equal, at(k) * (1.f + 0.5f * cone));
  }
  // A step number such that the middles of all steps before it are below t, short of the first one that is not by at most
  // a step: distances carry rounding errors, and a step too many would be one that nobody looked at.
  FL_HD I first_not_before(F t) const {
    t = t * (1.f - 5e-7f);
    const F equal = clamp_of((t - start) * inverse_step + 0.499f, 0.f, 1e9f);
    if (cone <= 0.f) return to_integer(equal);
    const F knee = to_real(bend);
    const auto growing = equal > knee;
    if (!any_of(growing)) return to_integer(equal);
    const F ratio = pick(growing, t / (bend_t * (1.f + 0.5f * cone)), start * 0.f + 1.f);
    const F more = clamp_of(log2_of(ratio) * inverse_growth + growth_slack, 0.f, 1e9f);
    return pick(growing, to_integer(knee + more), to_integer(equal));
  }
};

// Walks a ray, or one per lane, and says which steps of its lattice are kept.
template <class F>
struct MarcherOf {
  using I = IntegerOf<F>;
  LatticeOf<F> lattice;
  OccupancyGrid grid;
  F origin[3], direction[3], inverse[3];  // in cells of level 0; the origin from the centre
  float half;                             // cells from the centre to the side of level 0
  int widest[2];                          // of cubes that are crossed at once: in level 0, in the others
  I k, end;                               // the next step to look at, and the end of all
  I run, run_end;                         // what next() has yet to hand out

  FL_HD MarcherOf() {}
  FL_HD MarcherOf(const OccupancyGrid& grid_, const F* o, const F* d, F near, F far, F start, float step, float cone)
      : lattice(start, step, cone), grid(grid_), half(0.5f * static_cast<float>(grid_.resolution)) {
    // The largest power of two that divides the side. Outside level 0 a cube must not reach into the next inner level,
    // which starts a quarter of the way in.
    const int r = grid.resolution;
    widest[0] = r & -r;
    widest[1] = (r / 4) & -(r / 4);
    const float reach = half * static_cast<float>(1 << (grid.levels - 1));
    F t_min = larger(near, start), t_max = far;
    for (int i = 0; i < 3; ++i) {
      const float low = grid.aabb[i], scale = static_cast<float>(r) / (grid.aabb[3 + i] - low);
      origin[i] = (o[i] - low) * scale - half;
      direction[i] = d[i] * scale;
      // An axis the ray does not move along is never the one it leaves a cell through.
      const auto moves = absolute(direction[i]) > direction[i] * 0.f + 1e-20f;
      inverse[i] = 1.f / pick(moves, direction[i], direction[i] * 0.f + 1e-20f);
      const F a = (-reach - origin[i]) * inverse[i], b = (reach - origin[i]) * inverse[i];
      t_min = larger(t_min, smaller(a, b));
      t_max = smaller(t_max, larger(a, b));
    }
    const auto hit = t_min <= t_max;
    k = lattice.first_not_before(t_min);
    end = pick(hit, lattice.first_not_before(t_max * (1.f + 2e-6f)) + 2, k);
    // The far end is kept to exactly.
    for (;;) {
      const auto beyond = (end > k) & (lattice.middle(end - 1) >= far);
      if (!any_of(beyond)) break;
      end = pick(beyond, end - 1, end);
    }
    run = run_end = end * 0;
  }

  // Looks at the cell around the middle of step k: whether it is occupied (in `mask`), and the first step to look at next.
  // All steps before that one lie in cells of the same kind.
  template <class M>
  FL_HD I probe(M& occupied) const {
    const F t = lattice.middle(k);
    F g[3];
    for (int i = 0; i < 3; ++i) g[i] = origin[i] + direction[i] * t;
    const F reach = larger(larger(absolute(g[0]), absolute(g[1])), absolute(g[2]));
    // The innermost level that contains the point: one more than the exponent of its distance in half sides.
    I level = larger((bits_of(reach * (1.f / half)) >> 23) - 126, k * 0);
    const auto inside = level < grid.levels;
    level = pick(inside, level, k * 0);
    const F size = real_from_bits((level + 127) << 23), inverse_size = real_from_bits((127 - level) << 23);
    I c[3];
    for (int i = 0; i < 3; ++i)
      c[i] = to_integer(clamp_of(g[i] * inverse_size + half, 0.f, static_cast<float>(grid.resolution - 1)));
    const auto filled = k * 0 != k * 0;
    occupied = filled;
    const I extent = look(level, c, occupied);
    F t_exit = t * 0.f + 3e38f;
    for (int i = 0; i < 3; ++i) {
      const I side = (c[i] & -extent) + pick(inverse[i] > inverse[i] * 0.f, extent, extent * 0);
      t_exit = smaller(t_exit, ((to_real(side) - half) * size - origin[i]) * inverse[i]);
    }
    occupied = occupied & inside;
    return smaller(pick(inside, larger(k + 1, lattice.first_not_before(t_exit)), k + 1), end);
  }

  // Whether a cell is occupied, and how wide the aligned cube of like cells around it surely is (1, 2, 4, 8 or 16).
  template <class M>
  FL_HD I look(I level, const I (&c)[3], M& occupied) const {
    constexpr std::int32_t octant = 0x330033;  // 2x2x2 of the 4x4x4; those with the same z & 2 share half a word
    const int r = grid.resolution, blocks = blocks_per_side(r), coarse = coarse_per_side(r);
    const I x = c[0] >> 2, y = c[1] >> 2, z = c[2] >> 2;
    I word = (((level * coarse + (z >> 2)) * coarse + (y >> 2)) * coarse + (x >> 2)) * 2 + (z >> 1 & 1);
    I here = gather(grid.coarse, word), other = gather(grid.coarse, word ^ 1);
    const I none = k * 0;
    const auto used = (here >> ((x & 3) | (y & 3) << 2 | (z & 1) << 4) & 1) != none;
    const auto bare8 = (here >> ((x & 2) | (y & 2) << 2) & octant) == none;
    I extent = pick((here | other) == none, none + 16, pick(bare8, none + 8, none + 4));
    occupied = used;
    if (any_of(used)) {
      word = (((level * blocks + z) * blocks + y) * blocks + x) * 2 + (c[2] >> 1 & 1);
      here = gather(grid.blocks, word);
      other = gather(grid.blocks, word ^ 1);
      const I bit = here >> ((c[0] & 3) | (c[1] & 3) << 2 | (c[2] & 1) << 4) & 1;
      occupied = used & (bit != none);
      here = here ^ -bit;  // now a bit says that its cell is unlike this one
      other = other ^ -bit;
      const auto like2 = (here >> ((c[0] & 2) | (c[1] & 2) << 2) & octant) == none;
      extent = pick(used, pick((here | other) == none, none + 4, pick(like2, none + 2, none + 1)), extent);
    }
    return smaller(extent, pick(level > none, none + widest[1], none + widest[0]));
  }

  // For one ray: the next run of kept steps [first, last); false, and both left alone, at the end.
  FL_HD bool next_run(int& first, int& last) {
    while (k < end) {
      bool occupied;
      const int from = k;
      k = probe(occupied);
      if (!occupied) continue;
      first = from;
      last = k;
      return true;
    }
    return false;
  }
  // For one ray: the next kept step; false at the end.
  FL_HD bool next(float& t_start, float& t_end) {
    if (run >= run_end && !next_run(run, run_end)) return false;
    t_start = lattice.at(run);
    t_end = lattice.at(++run);
    return true;
  }
};
using Lattice = LatticeOf<float>;
using RayMarcher = MarcherOf<float>;

template <class F>
FL_HD MarcherOf<F> marcher_of(const MarchRays& a, std::int64_t ray, int count) {
  F o[3], d[3];
  for (int i = 0; i < 3; ++i) {
    load_rays(&a.origins.at(ray, i), a.origins.stride_sample, count, o[i]);
    load_rays(&a.directions.at(ray, i), a.directions.stride_sample, count, d[i]);
  }
  F near, far, start;
  load_rays(a.near + ray, 1, count, near);
  load_rays(a.far + ray, 1, count, far);
  if (a.jitter) {
    load_rays(a.jitter + ray, 1, count, start);
    start = near + start * a.step;
  } else {
    start = near;
  }
  return MarcherOf<F>(a.grid, o, d, near, far, start, a.step, a.cone_angle);
}

// First pass, rays [ray, ray + count): counts their samples and notes their first runs.
FL_HD void march_count_some(const MarchCount& a, std::int64_t ray, int count) {
  using I = IntegerOf<Lanes>;
  MarcherOf<Lanes> marcher = marcher_of<Lanes>(a.rays, ray, count);
  for (int i = count; i < FL_LANES; ++i) set_lane(marcher.end, i, 0);
  const I none = marcher.k * 0;
  I left = none + static_cast<std::int32_t>(min_of<std::int64_t>(a.rays.max_samples, 1 << 30));
  I first = none, last = none - 1, counted = none;  // the run being built
  std::int32_t noted[FL_LANES] = {};
  const auto note = [&](I which) {  // that the runs of these lanes are complete
    for (int i = 0; i < FL_LANES; ++i) {
      if (!lane_of(which, i) || noted[i] >= a.rays.run_capacity) continue;
      std::int32_t* to = a.rays.runs + ((ray + i) * a.rays.run_capacity + noted[i]++) * 2;
      to[0] = lane_of(first, i);
      to[1] = lane_of(last, i);
    }
  };
  for (;;) {
    const auto active = marcher.k < marcher.end;
    if (!any_of(active)) break;
    auto occupied = active;
    I next = marcher.probe(occupied);
    occupied = occupied & active;
    if (any_of(occupied)) {
      next = pick(occupied, smaller(next, marcher.k + left), next);
      const auto fresh = occupied & (marcher.k != last);
      const auto ended = fresh & (last > none);
      if (any_of(ended)) note(pick(ended, none + 1, none));
      first = pick(fresh, marcher.k, first);
      last = pick(occupied, next, last);
      const I more = pick(occupied, next - marcher.k, none);
      counted += more;
      left -= more;
      marcher.end = pick(left == none, none, marcher.end);
    }
    marcher.k = pick(active, next, marcher.k);
  }
  note(pick(last > none, none + 1, none));
  for (int i = 0; i < count; ++i) a.counts[ray + i] = lane_of(counted, i);
}

// Second pass: emit(how many samples of the ray came before, first step, one past the last) for all runs of a ray, the
// noted ones first, then by marching on from the last of them.
template <class Emit>
FL_HD void march_runs_again(const MarchRays& a, std::int64_t ray, std::int64_t count, Emit emit) {
  const std::int32_t* runs = a.runs + ray * a.run_capacity * 2;
  std::int64_t done = 0;
  for (int i = 0; i < a.run_capacity && done < count; ++i) {
    emit(done, runs[2 * i], runs[2 * i + 1]);
    done += runs[2 * i + 1] - runs[2 * i];
  }
  if (done >= count) return;
  RayMarcher marcher = marcher_of<float>(a, ray, 1);
  if (a.run_capacity > 0) marcher.k = runs[2 * a.run_capacity - 1];
  int first, last;
  while (done < count && marcher.next_run(first, last)) {
    last = static_cast<int>(min_of<std::int64_t>(last, first + (count - done)));
    emit(done, first, last);
    done += last - first;
  }
}

// `rank` of `size` threads that fill a ray together.
FL_HD void march_fill_one(const MarchFill& a, std::int64_t ray, int rank, int size) {
  const std::int64_t begin = a.offsets[ray], count = a.offsets[ray + 1] - begin;
  if (count == 0) return;
  const float start = a.rays.near[ray] + (a.rays.jitter ? a.rays.jitter[ray] * a.rays.step : 0.f);
  const Lattice lattice(start, a.rays.step, a.rays.cone_angle);
  march_runs_again(a.rays, ray, count, [&](std::int64_t done, int first, int last) {
    const std::int64_t at = begin + done - first;
    if (lattice.cone <= 0.f || last <= lattice.bend) {
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
