// Bindings of the radial basis functions.
#include "bind.h"

namespace fieldlab {
namespace {

using Tree = std::tuple<int, std::int64_t, Address, Address>;                // dims, kernels, nodes, order
using Basis = std::tuple<int, int, int, bool, Address, Address, Address>;    // dims, kernel, shape, normalized, centers, shapes, support
using Mixture = std::tuple<int, Address, Address>;                           // features, weights, frequencies

RbfTree tree_of(const Tree& t) {
  const auto& [dims, n, nodes, order] = t;
  return rbf_tree_of(dims, n, pointer<const float>(nodes), pointer<const std::int32_t>(order));
}
RbfBasis basis_of(const Basis& b) {
  const auto& [dims, kernel, shape, normalized, centers, shapes, support] = b;
  return {dims, static_cast<RbfKernel>(kernel), static_cast<RbfShape>(shape), normalized, pointer<const float>(centers),
          pointer<const float>(shapes), pointer<const float>(support)};
}
RbfMixture mixture_of(const Mixture& m) {
  const auto& [features, weights, frequencies] = m;
  return {features, pointer<const float>(weights), pointer<const float>(frequencies)};
}
template <class T>
Matrix<T> ids_of(const Array& a) {
  return {pointer<T>(std::get<0>(a)), std::get<1>(a), std::get<2>(a)};
}

}  // namespace

void bind_rbf(nanobind::module_& m) {
  using Ids = const std::int32_t;
  m.def("rbf_neighbors", [](const Target& t, std::int64_t n, int k, Tree tree, Array x, Array ids) {
    run::rbf_neighbors({n, std::get<0>(tree), k, tree_of(tree), in(x), ids_of<std::int32_t>(ids)}, t);
  });
  m.def("rbf_basis_forward", [](const Target& t, std::int64_t n, int k, Basis b, Array x, Array ids, Array phi) {
    run::rbf_basis_forward({n, k, basis_of(b), in(x), ids_of<Ids>(ids), out(phi)}, t);
  });
  m.def("rbf_basis_backward",
        [](const Target& t, std::int64_t n, int k, Basis b, Array x, Array ids, Array grad_phi, Array grad_x) {
          run::rbf_basis_backward({n, k, basis_of(b), in(x), ids_of<Ids>(ids), in(grad_phi), out(grad_x)}, t);
        });
  m.def("rbf_mix_forward", [](const Target& t, std::int64_t n, int k, Mixture mix, Array phi, Array ids, Array o) {
    run::rbf_mix_forward({n, k, mixture_of(mix), in(phi), ids_of<Ids>(ids), out(o)}, t);
  });
  m.def("rbf_mix_backward_weights",
        [](const Target& t, std::int64_t n, int k, Mixture mix, Array phi, Array ids, Array go, Address grad_weights) {
          run::rbf_mix_backward_weights({n, k, mixture_of(mix), in(phi), ids_of<Ids>(ids), in(go),
                                         pointer<float>(grad_weights)}, t);
        });
  m.def("rbf_encoder", [](Tree tree, Basis basis, Mixture mixture, int k) {
    return Encoder::of(RbfEncoder{tree_of(tree), basis_of(basis), mixture_of(mixture), k});
  });
  m.def("rbf_mix_backward_basis",
        [](const Target& t, std::int64_t n, int k, Mixture mix, Array phi, Array ids, Array go, Array grad_phi) {
          run::rbf_mix_backward_basis({n, k, mixture_of(mix), in(phi), ids_of<Ids>(ids), in(go), out(grad_phi)}, t);
        });
}

}  // namespace fieldlab
