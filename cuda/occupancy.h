// Multi-level occupancy grids as bits. Level i covers the box of level 0 scaled 2^i about its centre, all levels with
// the same resolution. A 64-bit word holds a block of 4x4x4 cells; a second tier holds one bit per block, again 4x4x4 to
// a word, so that empty space can be crossed 16 cells at a time.
#pragma once
#include "platform.h"

namespace fieldlab {

struct OccupancyGrid {
  const std::uint64_t* blocks = nullptr;  // [levels, (resolution/4)^3], x fastest
  const std::uint64_t* coarse = nullptr;  // [levels, ceil(resolution/16)^3], x fastest
  const float* aabb = nullptr;            // [2,3], level 0
  int resolution = 0;
  int levels = 0;
};
FL_FIELDS(OccupancyGrid, blocks, coarse, aabb, resolution, levels)

struct OccupancyPack {
  const float* values;  // [levels, resolution, resolution, resolution], z fastest
  float threshold;      // occupied: strictly above
  int resolution, levels;
  std::uint64_t* blocks;
  std::uint64_t* coarse;
};
FL_FIELDS(OccupancyPack, values, threshold, resolution, levels, blocks, coarse)
struct OccupancyQuery {
  std::int64_t n;
  OccupancyGrid grid;
  MatrixIn points;          // [n,3]
  unsigned char* occupied;  // [n]
};
FL_FIELDS(OccupancyQuery, n, grid, points, occupied)
struct OccupancyUpdate {
  std::int64_t n;
  float* values;
  const std::int64_t* cells;  // [n], indices into values, each once
  const float* raised;        // [n]; NaN counts for nothing
  float decay;
};
FL_FIELDS(OccupancyUpdate, n, values, cells, raised, decay)
struct OccupancyPoints {
  std::int64_t n;
  const std::int64_t* cells;  // [n]
  const float* aabb;
  int resolution;
  MatrixIn jitter;   // [n,3] in [0,1], position inside the cell; no data: the middle
  MatrixOut points;  // [n,3]
};
FL_FIELDS(OccupancyPoints, n, cells, aabb, resolution, jitter, points)

#ifdef FL_ISA
inline namespace FL_ISA {
#endif

FL_HD int blocks_per_side(int resolution) { return resolution / 4; }
FL_HD int coarse_per_side(int resolution) { return (resolution + 15) / 16; }
// A cell's (or block's) bit in its word; only the last two bits of each coordinate count.
FL_HD int bit_in_word(int x, int y, int z) { return (x & 3) | (y & 3) << 2 | (z & 3) << 4; }
FL_HD std::int64_t cube_index(int side, int level, int x, int y, int z) {
  return ((static_cast<std::int64_t>(level) * side + z) * side + y) * side + x;
}

// Packs block number `index` of level * side^3 + (x * side + y) * side + z: the order in which values lie in memory.
FL_HD void pack_block(const OccupancyPack& a, std::int64_t index) {
  const int side = blocks_per_side(a.resolution);
  const int bz = static_cast<int>(index % side), by = static_cast<int>(index / side % side);
  const int bx = static_cast<int>(index / side / side % side), level = static_cast<int>(index / side / side / side);
  std::uint64_t word = 0;
  for (int x = 0; x < 4; ++x)
    for (int y = 0; y < 4; ++y) {
      const std::int64_t row =
          ((static_cast<std::int64_t>(level) * a.resolution + bx * 4 + x) * a.resolution + by * 4 + y) * a.resolution;
      for (int z = 0; z < 4; ++z)
        word |= static_cast<std::uint64_t>(a.values[row + bz * 4 + z] > a.threshold) << bit_in_word(x, y, z);
    }
  a.blocks[cube_index(side, level, bx, by, bz)] = word;
}

// Packs one word of the second tier from finished blocks.
FL_HD void pack_coarse(const OccupancyPack& a, std::int64_t index) {
  const int side = blocks_per_side(a.resolution), coarse = coarse_per_side(a.resolution);
  const int cx = static_cast<int>(index % coarse), cy = static_cast<int>(index / coarse % coarse);
  const int cz = static_cast<int>(index / coarse / coarse % coarse);
  const int level = static_cast<int>(index / coarse / coarse / coarse);
  std::uint64_t word = 0;
  for (int z = cz * 4; z < min_of(cz * 4 + 4, side); ++z)
    for (int y = cy * 4; y < min_of(cy * 4 + 4, side); ++y)
      for (int x = cx * 4; x < min_of(cx * 4 + 4, side); ++x)
        word |= static_cast<std::uint64_t>(a.blocks[cube_index(side, level, x, y, z)] != 0) << bit_in_word(x, y, z);
  a.coarse[index] = word;
}

// Whether a point lies in an occupied cell of the innermost level that contains it.
FL_HD bool occupied_at(const OccupancyGrid& grid, float x, float y, float z) {
  const float half = 0.5f * static_cast<float>(grid.resolution);
  const float p[3] = {x, y, z};
  float g[3], reach = 0.f;  // offset from the centre in cells of level 0
  for (int i = 0; i < 3; ++i) {
    const float low = grid.aabb[i], high = grid.aabb[3 + i];
    g[i] = (p[i] - low) * (static_cast<float>(grid.resolution) / (high - low)) - half;
    reach = max_of(reach, fabsf(g[i]));
    if (!(g[i] == g[i])) return false;
  }
  float size = 1.f;
  int level = 0;
  for (; reach >= half * size; size *= 2.f)
    if (++level >= grid.levels) return false;
  int c[3];
  for (int i = 0; i < 3; ++i) c[i] = min_of(static_cast<int>(g[i] / size + half), grid.resolution - 1);
  const int side = blocks_per_side(grid.resolution);
  const std::uint64_t word = grid.blocks[cube_index(side, level, c[0] >> 2, c[1] >> 2, c[2] >> 2)];
  return word >> bit_in_word(c[0], c[1], c[2]) & 1;
}

FL_HD void occupancy_query_one(const OccupancyQuery& a, std::int64_t i) {
  a.occupied[i] = occupied_at(a.grid, a.points.at(i, 0), a.points.at(i, 1), a.points.at(i, 2));
}

FL_HD void occupancy_update_one(const OccupancyUpdate& a, std::int64_t i) {
  float& value = a.values[a.cells[i]];
  value = fmaxf(value * a.decay, a.raised[i]);
}

FL_HD void occupancy_points_one(const OccupancyPoints& a, std::int64_t i) {
  const std::int64_t r = a.resolution, cell = a.cells[i];
  const float index[3] = {static_cast<float>(cell / r / r % r), static_cast<float>(cell / r % r),
                          static_cast<float>(cell % r)};
  float size = 1.f;
  for (std::int64_t level = cell / r / r / r; level > 0; --level) size *= 2.f;
  for (int k = 0; k < 3; ++k) {
    const float inside = a.jitter.data ? a.jitter.at(i, k) : 0.5f;
    const float low = a.aabb[k], high = a.aabb[3 + k];
    const float from_middle = (index[k] + inside) / static_cast<float>(r) - 0.5f;
    a.points.at(i, k) = 0.5f * (low + high) + from_middle * size * (high - low);
  }
}

#ifdef FL_ISA
}  // namespace FL_ISA
#endif
}  // namespace fieldlab
