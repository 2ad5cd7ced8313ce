// Bindings of the sparse grid and its colors.
#include "bind.h"

namespace fieldlab {
namespace {

using Index = std::tuple<int, std::int64_t, Address, Address, Address, Address>;
// resolution, bricks, coarse table, brick places, words, first rows

SparseIndex index_of(const Index& i) {
  return {std::get<0>(i), std::get<1>(i), pointer<const std::int32_t>(std::get<2>(i)),
          pointer<const std::int32_t>(std::get<3>(i)), pointer<const std::uint64_t>(std::get<4>(i)),
          pointer<const std::int32_t>(std::get<5>(i))};
}

}  // namespace

void bind_sparse_grid(nanobind::module_& m) {
  m.def("harmonic_color_forward", [](const Target& t, std::int64_t n, int degree, Array c, Array d, Array o) {
    run::harmonic_color_forward({n, degree, in(c), in(d), out(o)}, t);
  });
  m.def("harmonic_color_backward", [](const Target& t, std::int64_t n, int degree, Array c, Array d, Array o, Array go,
                                      Array gc, Array gd) {
    run::harmonic_color_backward({n, degree, in(c), in(d), in(o), in(go), out(gc), out(gd)}, t);
  });
  m.def("sparse_grid_encoder", [](const Index& index, float empty, Address density, int channels, Address features) {
    const int resolution = std::get<0>(index);
    return Encoder::of(SparseGridEncoder{index_of(index), {resolution, 1, empty, pointer<const float>(density)},
                                         {resolution, channels, 0.f, pointer<const float>(features)}});
  });
  m.def("sparse_corners", [](const Target& t, std::int64_t n, const Index& index, Array x, Address corners) {
    run::sparse_corners({n, index_of(index), in(x), pointer<std::int32_t>(corners)}, t);
  });
  m.def("sparse_touched", [](const Target& t, std::int64_t n, Address corners, std::int64_t words, Address touched,
                             Address before) {
    run::sparse_touched({n, pointer<const std::int32_t>(corners), words, pointer<std::uint64_t>(touched),
                         pointer<std::int32_t>(before)}, t);
  });
  m.def("sparse_touched_rows", [](const Target& t, std::int64_t words, Address touched, Address before, Address rows) {
    run::sparse_touched_rows({words, pointer<const std::uint64_t>(touched), pointer<const std::int32_t>(before),
                              pointer<std::int64_t>(rows)}, t);
  });
  m.def("sparse_grid_forward", [](const Target& t, std::int64_t n, int resolution, int channels, float empty,
                                  Address values, Array x, Address corners, Array o) {
    run::sparse_grid_forward({n, {resolution, channels, empty, pointer<const float>(values)}, in(x),
                              pointer<const std::int32_t>(corners), out(o)}, t);
  });
  m.def("sparse_grid_backward_values", [](const Target& t, std::int64_t n, int resolution, int channels, Array x,
                                          Address corners, Address touched, Address before, Array go, Address gv) {
    run::sparse_grid_backward_values({n, resolution, channels, in(x), pointer<const std::int32_t>(corners),
                                      pointer<const std::uint64_t>(touched), pointer<const std::int32_t>(before),
                                      in(go), pointer<float>(gv)}, t);
  });
  m.def("sparse_grid_backward_input", [](const Target& t, std::int64_t n, int resolution, int channels, float empty,
                                         Address values, Array x, Address corners, Array go, Array gx) {
    run::sparse_grid_backward_input({n, {resolution, channels, empty, pointer<const float>(values)}, in(x),
                                     pointer<const std::int32_t>(corners), in(go), out(gx)}, t);
  });
  m.def("sparse_grid_variation", [](const Target& t, std::int64_t n, const Index& index, int channels, float weight,
                                    float softness, Address rows, Address values, Address grad) {
    run::sparse_grid_variation({n, index_of(index), channels, weight, softness, pointer<const std::int64_t>(rows),
                                pointer<const float>(values), pointer<float>(grad)}, t);
  });
}

}  // namespace fieldlab
