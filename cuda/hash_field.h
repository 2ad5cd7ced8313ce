// Instant-NGP's field on a tile of samples: hash encoding, then one perceptron to log-density and latent, another from
// latent, spherical harmonics of the direction and constants (an appearance vector) to color.
#pragma once
#include "hash_grid.h"
#include "mlp.h"
#include "spherical_harmonics.h"

namespace fieldlab {

struct HashField {
  HashGrid grid;
  const void* table;  // float, or __half on the GPU
  bool half;
  MlpShape geometry;  // encoding -> log-density (before the offset), latent
  const float* geometry_params;
  MlpShape color;  // latent, harmonics, constants -> rgb
  const float* color_params;
  int sh_degree;
  int n_constants;
  const float* constants;
  float offset;   // added to log-density
  float ceiling;  // largest log-density
};

#ifdef FL_ISA
inline namespace FL_ISA {
#endif

template <int Features_, class Table_>
struct HashFieldTile {
  static constexpr int Features = Features_;
  const HashField& field;
  float *geometry_packed, *color_packed, *buffer[2];
  int tile;

  FL_HD static int rows(const HashField& f) { return pad4(max_of(f.geometry.widest(), f.color.widest())); }
  FL_HD static std::int64_t scratch(const HashField& f, int tile) {
    return packed_size(f.geometry) + packed_size(f.color) + 2 * std::int64_t{rows(f)} * tile;
  }
  FL_HD HashFieldTile(const HashField& f, int tile_, float* memory) : field(f), tile(tile_) {
    geometry_packed = memory;
    color_packed = geometry_packed + packed_size(f.geometry);
    buffer[0] = color_packed + packed_size(f.color);
    buffer[1] = buffer[0] + rows(f) * tile;
  }
  FL_HD void begin(const Team& team) const {
    pack_weights(team, field.geometry, field.geometry_params, false, geometry_packed);
    pack_weights(team, field.color, field.color_params, false, color_packed);
  }

  // Rows [1 + latent][tile] at positions x [3][tile] in the unit cube: log-density before offset and ceiling, latent.
  FL_HD float* geometry(const Team& team, const float* x) const {
    const int groups = tile / FL_LANES;
    for (int i = team.rank; i < field.grid.levels * groups; i += team.size) {
      const int level = i / groups, at = i % groups * FL_LANES;
      const Lanes p[3] = {load(x + at), load(x + tile + at), load(x + 2 * tile + at)};
      Lanes value[Features];
      encode_level<Features>(field.grid, field.grid.level[level], static_cast<const Table_*>(field.table), p, value);
      for (int f = 0; f < Features; ++f) store(buffer[0] + (level * Features + f) * tile + at, value[f]);
    }
    return forward_tile(team, field.geometry, geometry_packed, field.geometry_params, buffer[0], buffer[1], tile, tile);
  }

  // Rows [3][tile] of color for the first `count` samples; sample k has the latent of column source[k] of `geometry`, and
  // harmonics(k) points to the harmonics of its direction.
  template <class Harmonics>
  FL_HD float* color(const Team& team, float* geometry, const int* source, int count, const Harmonics& harmonics) const {
    float* input = geometry == buffer[0] ? buffer[1] : buffer[0];
    const int used = (count + kColumnBlock - 1) / kColumnBlock * kColumnBlock;
    const int latent = field.geometry.out - 1, n_harmonics = field.sh_degree * field.sh_degree;
    for (int k = team.rank; k < used; k += team.size) {
      float* to = input + k;
      const float* from = k < count ? geometry + tile + source[k] : nullptr;
      for (int i = 0; i < latent; ++i, to += tile) *to = from ? from[i * tile] : 0.f;
      const float* sh = k < count ? harmonics(k) : nullptr;
      for (int i = 0; i < n_harmonics; ++i, to += tile) *to = sh ? sh[i] : 0.f;
      for (int i = 0; i < field.n_constants; ++i, to += tile) *to = field.constants[i];
    }
    return forward_tile(team, field.color, color_packed, field.color_params, input, geometry == buffer[0] ? buffer[0] : buffer[1],
                        tile, used);
  }
};

#ifdef FL_ISA
}  // namespace FL_ISA
#endif
}  // namespace fieldlab
