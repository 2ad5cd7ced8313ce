// Binding of the fused renderer: encoders and perceptrons as opaque descriptions, of which a field is put together.
#include <nanobind/stl/optional.h>

#include "bind.h"

namespace nb = nanobind;

namespace fieldlab {
namespace {

using Encoders = std::vector<const Encoder*>;
using BranchArgs = std::tuple<Encoders, std::optional<Network>, Address>;  // encoders, perceptron (or none) and its parameters
using ColorArgs = std::tuple<std::optional<Network>, Address, int, Address>;  // perceptron, parameters, constants
using GridArgs = std::tuple<Address, Address, Address, int, int>;   // blocks, coarse, aabb, resolution, levels
using MarchArgs = std::tuple<Address, Address, float, float, bool, Address, float, float>;
// near, far, step, cone angle, contracted, aabb, early stop, least weight
using PixelArgs = std::tuple<Array, Address, Address, Address>;  // rgb, opacity, depth, evaluated

void add_branch(FieldProgram& f, const BranchArgs& args) {
  const auto& [encoders, shape, params] = args;
  if (f.branches == kMaxBranches || f.encoders + encoders.size() > kMaxEncoders)
    throw nb::value_error("a field has too many parts");
  Branch& b = f.branch[f.branches++];
  b = {f.encoders, static_cast<int>(encoders.size()), shape.has_value(), {}, pointer<const float>(params)};
  if (shape) b.shape = network_of(*shape);
  for (const Encoder* e : encoders) f.encoder[f.encoders++] = *e;
}

FieldProgram program(const std::vector<BranchArgs>& branches, int latent, int sh_degree, const ColorArgs& color,
                     float offset, float ceiling) {
  FieldProgram f{};
  for (const BranchArgs& b : branches) add_branch(f, b);
  const auto& [shape, params, n_constants, constants] = color;
  f.latent = latent;
  f.color_perceptron = shape.has_value();
  if (shape) f.color = network_of(*shape);
  f.color_params = pointer<const float>(params);
  f.sh_degree = sh_degree;
  f.n_constants = n_constants;
  f.constants = pointer<const float>(constants);
  f.offset = offset;
  f.ceiling = ceiling;
  return f;
}

RenderRays render_rays(std::int64_t n, const GridArgs& grid, Array origins, Array directions, const MarchArgs& march,
                       const PixelArgs& pixels) {
  const auto& [blocks, coarse, grid_aabb, resolution, levels] = grid;
  const auto& [near, far, step, cone_angle, contracted, aabb, early_stop, least_weight] = march;
  const auto& [rgb, opacity, depth, evaluated] = pixels;
  return {n, {pointer<const std::uint64_t>(blocks), pointer<const std::uint64_t>(coarse), pointer<const float>(grid_aabb),
              resolution, levels},
          in(origins), in(directions), pointer<const float>(near), pointer<const float>(far), step, cone_angle, contracted,
          pointer<const float>(aabb), early_stop, least_weight, out(rgb), pointer<float>(opacity), pointer<float>(depth),
          pointer<std::int32_t>(evaluated)};
}

}  // namespace

void bind_render(nb::module_& m) {
  nb::class_<Encoder>(m, "Encoder");
  m.def("hash_grid_encoder",
        [](int features, bool smooth, const std::vector<float>& scales, const std::vector<std::uint32_t>& resolutions,
           const std::vector<std::uint32_t>& offsets, const std::vector<bool>& hashed, Address table, bool half) {
          const HashGrid grid = hash_grid_of(features, smooth, scales, resolutions, offsets, hashed);
          return Encoder::of(HashGridEncoder{grid, pointer<const void>(table), half});
        });
  m.def("frequency_encoder", [](int frequencies) { return Encoder::of(FrequencyEncoder{frequencies}); });
  m.def("render_field",
        [](const Target& t, std::int64_t n, GridArgs grid, Array origins, Array directions, MarchArgs march,
           const std::vector<BranchArgs>& branches, int latent, int sh_degree, ColorArgs color, float offset, float ceiling,
           PixelArgs pixels) {
          run::render_field({render_rays(n, grid, origins, directions, march, pixels),
                             program(branches, latent, sh_degree, color, offset, ceiling)}, t);
        });
}

}  // namespace fieldlab
