// Bindings of the fused networks.
#include "bind.h"

namespace fieldlab {

void bind_networks(nanobind::module_& m) {
  m.def("mlp_forward",
        [](const Target& t, std::int64_t n, int first, int second, int n_out, int width, int hidden, bool bias,
           bool sigmoid, Array x0, Array x1, Address params, Array o) {
          run::mlp_forward({n, {first, second, n_out, width, hidden, bias, sigmoid}, in(x0), in(x1),
                            pointer<const float>(params), out(o)}, t);
        });
  m.def("mlp_backward",
        [](const Target& t, std::int64_t n, int first, int second, int n_out, int width, int hidden, bool bias,
           bool sigmoid, Array x0, Array x1, Address params, Array o, Array grad_out, Array grad0, Array grad1,
           Address grad_params) {
          run::mlp_backward({n, {first, second, n_out, width, hidden, bias, sigmoid}, in(x0), in(x1),
                             pointer<const float>(params), in(o), in(grad_out), out(grad0), out(grad1),
                             pointer<float>(grad_params)}, t);
        });
  m.def("adam_step",
        [](const Target& t, std::int64_t n, Address param, Address grad, Address first, Address second, float rate,
           float root_correction, float beta1, float beta2, float epsilon, float decay, bool sparse) {
          run::adam_step({n, pointer<float>(param), pointer<const float>(grad), pointer<float>(first),
                          pointer<float>(second), rate, root_correction, beta1, beta2, epsilon, decay, sparse}, t);
        });
  m.def("adam_rows",
        [](const Target& t, std::int64_t n, Address rows, int width, Address param, Address grad, Address first,
           Address second, float rate, float root_correction, float beta1, float beta2, float epsilon, float decay,
           bool sparse) {
          run::adam_rows({n, pointer<const std::int64_t>(rows), width,
                          {n * width, pointer<float>(param), pointer<const float>(grad), pointer<float>(first),
                           pointer<float>(second), rate, root_correction, beta1, beta2, epsilon, decay, sparse}}, t);
        });
  m.def("render_hash_field",
        [](const Target& t, std::int64_t n, Array origins, Array directions, Address near, Address far, Address blocks,
           Address coarse, Address grid_aabb, int resolution, int levels, float step, float cone_angle, bool contracted,
           Address aabb, float early_stop, float least_weight, int features, bool smooth,
           const std::vector<float>& scales, const std::vector<std::uint32_t>& resolutions,
           const std::vector<std::uint32_t>& offsets, const std::vector<bool>& hashed, Address table, bool half,
           std::tuple<int, int, int, bool> geometry, Address geometry_params, std::tuple<int, int, int, bool> color,
           Address color_params, int sh_degree, int n_constants, Address constants, float offset, float ceiling,
           Array rgb, Address opacity, Address depth, Address evaluated) {
          const auto [geometry_out, geometry_width, geometry_hidden, geometry_bias] = geometry;
          const auto [latent, color_width, color_hidden, color_bias] = color;
          const int encoded = static_cast<int>(scales.size()) * features;
          RenderHashField a{};
          a.rays = {n, {pointer<const std::uint64_t>(blocks), pointer<const std::uint64_t>(coarse),
                        pointer<const float>(grid_aabb), resolution, levels},
                    in(origins), in(directions), pointer<const float>(near), pointer<const float>(far), step, cone_angle,
                    contracted, pointer<const float>(aabb), early_stop, least_weight, out(rgb), pointer<float>(opacity),
                    pointer<float>(depth), pointer<std::int32_t>(evaluated)};
          a.field = {hash_grid_of(features, smooth, scales, resolutions, offsets, hashed), pointer<const void>(table), half,
                     {encoded, 0, geometry_out, geometry_width, geometry_hidden, geometry_bias, false},
                     pointer<const float>(geometry_params),
                     {latent, sh_degree * sh_degree + n_constants, 3, color_width, color_hidden, color_bias, true},
                     pointer<const float>(color_params), sh_degree, n_constants, pointer<const float>(constants), offset,
                     ceiling};
          run::render_hash_field(a, t);
        });
}

}  // namespace fieldlab
