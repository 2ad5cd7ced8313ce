// What the binding files share: arrays arrive as addresses with strides, already checked by fieldlab/ops.
#pragma once
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <tuple>
#include <vector>

#include "operations.h"

namespace fieldlab {

using Address = std::uintptr_t;
using Array = std::tuple<Address, std::int64_t, std::int64_t>;  // address, stride over samples, stride over channels

template <class T>
T* pointer(Address address) { return reinterpret_cast<T*>(address); }
inline MatrixIn in(const Array& a) { return {pointer<const float>(std::get<0>(a)), std::get<1>(a), std::get<2>(a)}; }
inline MatrixOut out(const Array& a) { return {pointer<float>(std::get<0>(a)), std::get<1>(a), std::get<2>(a)}; }

// The shape of a perceptron: channels of both inputs, outputs, width, hidden layers, bias, sigmoid, skip, limits of the
// frequencies of its sines (0 and 0: none).
using Network = std::tuple<int, int, int, int, int, bool, bool, int, float, float>;
inline MlpShape network_of(const Network& n) {
  return std::apply([](auto... values) { return MlpShape{values...}; }, n);
}

inline HashGrid hash_grid_of(int features, bool smooth, const std::vector<float>& scales,
                             const std::vector<std::uint32_t>& resolutions, const std::vector<std::uint32_t>& offsets,
                             const std::vector<bool>& hashed, int dims = 3) {
  if (scales.size() > kMaxHashLevels || scales.size() != resolutions.size() || scales.size() != hashed.size() ||
      offsets.size() != scales.size() + 1)
    throw nanobind::value_error("a hash grid has at most 32 levels, described by arrays of equal length");
  HashGrid g{static_cast<int>(scales.size()), features, smooth, {}, dims};
  for (std::size_t l = 0; l < scales.size(); ++l)
    g.level[l] = {scales[l], resolutions[l], offsets[l], offsets[l + 1] - offsets[l], hashed[l]};
  return g;
}

void bind_encodings(nanobind::module_& m);
void bind_graph(nanobind::module_& m);
void bind_low_rank(nanobind::module_& m);
void bind_networks(nanobind::module_& m);
void bind_rays(nanobind::module_& m);
void bind_sparse_grid(nanobind::module_& m);
void bind_rbf(nanobind::module_& m);
void bind_render(nanobind::module_& m);

}  // namespace fieldlab
