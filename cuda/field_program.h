// A field of any representation on a tile of samples: encoders side by side, perceptrons from their features to
// log-density and latent, and color from latent and direction. The parts are chosen at run time.
#pragma once
#include "encoder.h"
#include "mlp.h"
#include "spherical_harmonics.h"

namespace fieldlab {

constexpr int kMaxEncoders = FL_MAX_ENCODERS, kMaxBranches = FL_MAX_BRANCHES;

// Encoders side by side, then a perceptron to log-density and latent unless the features are these already.
struct Branch {
  int first_encoder, encoders;
  bool perceptron;
  MlpShape shape;
  const float* params;
};

struct FieldProgram {
  int encoders, branches;
  Encoder encoder[kMaxEncoders];
  Branch branch[kMaxBranches];  // their outputs are added
  int latent;
  bool color_perceptron;  // otherwise the latent holds coefficients of harmonics for red, green and blue
  MlpShape color;         // latent, harmonics, constants -> rgb
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

FL_HD int branch_channels(const FieldProgram& f, const Branch& b) {
  int n = 0;
  for (int i = 0; i < b.encoders; ++i) n += channels(f.encoder[b.first_encoder + i]);
  return n;
}

struct FieldTile {
  const FieldProgram& field;
  int tile;
  float *packed, *color_packed, *buffer[2], *sum, *encoder_scratch;

  // Rows of the largest array of values a tile has on its way through the field.
  FL_HD static int rows(const FieldProgram& f) {
    int n = max_of(1 + f.latent, f.color_perceptron ? f.color.widest() : 3);
    for (int i = 0; i < f.branches; ++i) {
      n = max_of(n, branch_channels(f, f.branch[i]));
      if (f.branch[i].perceptron) n = max_of(n, f.branch[i].shape.widest());
    }
    return pad4(n);
  }
  // Floats of all packed weights, which may lie elsewhere than the rest.
  FL_HD static std::int64_t weights_size(const FieldProgram& f) {
    std::int64_t n = f.color_perceptron ? packed_size(f.color) : 0;
    for (int i = 0; i < f.branches; ++i)
      if (f.branch[i].perceptron) n += packed_size(f.branch[i].shape);
    return n;
  }
  FL_HD static std::int64_t scratch(const FieldProgram& f, int tile) {
    std::int64_t most = 0;
    for (int i = 0; i < f.encoders; ++i) most = max_of(most, encode_scratch(f.encoder[i], tile));
    return std::int64_t{rows(f)} * tile * (f.branches > 1 ? 3 : 2) + most;
  }
  FL_HD FieldTile(const FieldProgram& f, int tile_, float* weights, float* memory) : field(f), tile(tile_), packed(weights) {
    const std::int64_t size = std::int64_t{rows(f)} * tile;
    color_packed = packed + weights_size(f) - (f.color_perceptron ? packed_size(f.color) : 0);
    buffer[0] = memory;
    buffer[1] = buffer[0] + size;
    sum = buffer[1] + size;
    encoder_scratch = f.branches > 1 ? sum + size : sum;
  }
  FL_HD void pack(const Team& team) const {
    float* to = packed;
    for (int i = 0; i < field.branches; ++i) {
      const Branch& b = field.branch[i];
      if (!b.perceptron) continue;
      pack_weights(team, b.shape, b.params, false, to);
      to += packed_size(b.shape);
    }
    if (field.color_perceptron) pack_weights(team, field.color, field.color_params, false, color_packed);
  }

  // Rows [1 + latent][tile] at positions x [3][tile] in the unit cube: log-density before offset and ceiling, latent.
  FL_HD float* geometry(const Team& team, const float* x) const {
    const float* weights = packed;
    float* out = nullptr;
    for (int i = 0; i < field.branches; ++i) {
      const Branch& b = field.branch[i];
      encode(team, b, x);
      out = buffer[0];
      if (b.perceptron) {
        out = forward_tile(team, b.shape, weights, b.params, buffer[0], buffer[1], tile, tile);
        weights += packed_size(b.shape);
      }
      if (field.branches > 1) add_to_sum(team, out, i == 0);
    }
    return field.branches > 1 ? sum : out;
  }

  // Rows [3][tile] of color for the first `count` samples; sample k has the latent of column source[k] of `geometry`, and
  // harmonics(k) points to the harmonics of its direction.
  template <class Harmonics>
  FL_HD float* color(const Team& team, float* geometry, const int* source, int count, const Harmonics& harmonics) const {
    float* input = geometry == buffer[0] ? buffer[1] : buffer[0];
    if (!field.color_perceptron) {
      for (int k = team.rank; k < count; k += team.size)
        harmonic_color(geometry + tile + source[k], harmonics(k), input + k);
      team.sync();
      return input;
    }
    const int used = (count + kColumnBlock - 1) / kColumnBlock * kColumnBlock;
    const int n_harmonics = field.sh_degree * field.sh_degree;
    for (int k = team.rank; k < used; k += team.size) {
      float* to = input + k;
      const float* from = k < count ? geometry + tile + source[k] : nullptr;
      for (int i = 0; i < field.latent; ++i, to += tile) *to = from ? from[i * tile] : 0.f;
      const float* sh = k < count ? harmonics(k) : nullptr;
      for (int i = 0; i < n_harmonics; ++i, to += tile) *to = sh ? sh[i] : 0.f;
      for (int i = 0; i < field.n_constants; ++i, to += tile) *to = field.constants[i];
    }
    float* other = input == buffer[0] ? buffer[1] : buffer[0];
    return forward_tile(team, field.color, color_packed, field.color_params, input, other, tile, used);
  }

 private:
  FL_HD void encode(const Team& team, const Branch& b, const float* x) const {
    float* to = buffer[0];
    for (int i = 0; i < b.encoders; ++i) {
      const Encoder& e = field.encoder[b.first_encoder + i];
      encode_tile(team, e, x, tile, to, encoder_scratch);
      to += channels(e) * tile;
      team.sync();
    }
  }
  FL_HD void add_to_sum(const Team& team, const float* out, bool first) const {
    for (int i = team.rank * FL_LANES; i < (1 + field.latent) * tile; i += team.size * FL_LANES)
      store(sum + i, first ? load(out + i) : load(sum + i) + load(out + i));
    team.sync();
  }
  FL_HD void harmonic_color(const float* latent, const float* harmonics, float* rgb) const {
    const int n = field.sh_degree * field.sh_degree;
    for (int c = 0; c < 3; ++c) {
      float v = 0.f;
      for (int i = 0; i < n; ++i) v += latent[(c * n + i) * tile] * harmonics[i];
      rgb[c * tile] = 1.f / (1.f + expf(-v));
    }
  }
};

#ifdef FL_ISA
}  // namespace FL_ISA
#endif
}  // namespace fieldlab
