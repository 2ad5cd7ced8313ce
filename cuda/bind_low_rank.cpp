// Binding of low-rank tensors.
#include "bind.h"

namespace fieldlab {
namespace {

using Shape = std::tuple<bool, int, int, int, int, int>;  // VM or CP, vertices along each axis, rank, outputs

LowRank tensor_of(const Shape& s) {
  return low_rank_of(std::get<0>(s), std::get<1>(s), std::get<2>(s), std::get<3>(s), std::get<4>(s), std::get<5>(s));
}

}  // namespace

void bind_low_rank(nanobind::module_& m) {
  m.def("low_rank_forward",
        [](const Target& t, std::int64_t n, Shape shape, Array x, Address params, Address basis, Array o) {
          run::low_rank_forward({n, tensor_of(shape), in(x), pointer<const float>(params), pointer<const float>(basis),
                                 out(o)}, t);
        });
  m.def("low_rank_backward_params",
        [](const Target& t, std::int64_t n, Shape shape, Array x, Address params, Address basis, Array grad_out,
           Address grad_params, Address grad_basis) {
          run::low_rank_backward_params({n, tensor_of(shape), in(x), pointer<const float>(params),
                                         pointer<const float>(basis), in(grad_out), pointer<float>(grad_params),
                                         pointer<float>(grad_basis)}, t);
        });
  m.def("low_rank_backward_input",
        [](const Target& t, std::int64_t n, Shape shape, Array x, Address params, Address basis, Array grad_out,
           Array grad_x) {
          run::low_rank_backward_input({n, tensor_of(shape), in(x), pointer<const float>(params),
                                        pointer<const float>(basis), in(grad_out), out(grad_x)}, t);
        });
  using Corner = std::tuple<float, float, float>;
  m.def("low_rank_encoder", [](Shape shape, Address params, Address basis, Corner low, Corner high, float outside) {
    const auto [x0, y0, z0] = low;
    const auto [x1, y1, z1] = high;
    return Encoder::of(LowRankEncoder{tensor_of(shape), pointer<const float>(params), pointer<const float>(basis),
                                      {x0, y0, z0}, {x1, y1, z1}, outside});
  });
  m.def("low_rank_penalty",
        [](const Target& t, Shape shape, Address params, float l1, float total_variation, Address grad_params) {
          run::low_rank_penalty({tensor_of(shape), pointer<const float>(params), l1, total_variation,
                                 pointer<float>(grad_params)}, t);
        });
}

}  // namespace fieldlab
