// The Python module fieldlab._native. It knows nothing of PyTorch: arrays come as addresses with strides, checked by the
// callers in fieldlab/ops, and the place to run as a Target.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <tuple>
#include <vector>

#include "operations.h"

namespace nb = nanobind;
using namespace fieldlab;

namespace {

using Address = std::uintptr_t;
using Array = std::tuple<Address, std::int64_t, std::int64_t>;  // address, stride over samples, stride over channels

template <class T>
T* pointer(Address address) { return reinterpret_cast<T*>(address); }
MatrixIn in(const Array& a) { return {pointer<const float>(std::get<0>(a)), std::get<1>(a), std::get<2>(a)}; }
MatrixOut out(const Array& a) { return {pointer<float>(std::get<0>(a)), std::get<1>(a), std::get<2>(a)}; }

void bind_encodings(nb::module_& m) {
  m.def("spherical_harmonics_forward", [](const Target& t, std::int64_t n, int degree, Array d, Array o) {
    run::spherical_harmonics_forward({n, degree, in(d), out(o)}, t);
  });
  m.def("spherical_harmonics_backward", [](const Target& t, std::int64_t n, int degree, Array d, Array go, Array gd) {
    run::spherical_harmonics_backward({n, degree, in(d), in(go), out(gd)}, t);
  });
  m.def("frequency_forward", [](const Target& t, std::int64_t n, int dimensions, int frequencies, Array x, Array o) {
    run::frequency_forward({n, dimensions, frequencies, in(x), out(o)}, t);
  });
  m.def("frequency_backward",
        [](const Target& t, std::int64_t n, int dimensions, int frequencies, Array x, Array go, Array gx) {
          run::frequency_backward({n, dimensions, frequencies, in(x), in(go), out(gx)}, t);
        });
}

}  // namespace

NB_MODULE(_native, m) {
  nb::class_<Target>(m, "Target")
      .def("__init__",
           [](Target* t, bool cuda, int threads, int device, Address stream) {
             new (t) Target{cuda, threads, device, stream};
           })
      .def_ro("cuda", &Target::cuda)
      .def_ro("threads", &Target::threads);
  m.def("instruction_set", [] { return std::string(instruction_set()); });
  m.def("instruction_sets", [] {
    const char* names[8];
    const int n = available_instruction_sets(names, 8);
    return std::vector<std::string>(names, names + n);
  });
  m.def("choose_instruction_set", [](const std::string& name) { return choose_instruction_set(name.c_str()); });
#ifdef FL_HAVE_CUDA
  m.attr("has_cuda") = true;
#else
  m.attr("has_cuda") = false;
#endif
  bind_encodings(m);
}
