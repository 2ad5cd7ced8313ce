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

void bind_encodings(nanobind::module_& m);
void bind_networks(nanobind::module_& m);
void bind_rays(nanobind::module_& m);

}  // namespace fieldlab
