// Bindings of the encodings.
#include "bind.h"

namespace fieldlab {
namespace nb = nanobind;

void bind_encodings(nb::module_& m) {
  m.def("spherical_harmonics_forward", [](const Target& t, std::int64_t n, int degree, Array d, Array o) {
    run::spherical_harmonics_forward({n, degree, in(d), out(o)}, t);
  });
  m.def("spherical_harmonics_backward", [](const Target& t, std::int64_t n, int degree, Array d, Array go, Array gd) {
    run::spherical_harmonics_backward({n, degree, in(d), in(go), out(gd)}, t);
  });
  m.def("frequency_forward", [](const Target& t, std::int64_t n, int dimensions, int frequencies, bool include_input,
                                 Array x, Array o) {
    run::frequency_forward({n, dimensions, frequencies, include_input, in(x), out(o)}, t);
  });
  m.def("frequency_backward",
        [](const Target& t, std::int64_t n, int dimensions, int frequencies, bool include_input, Array x, Array go,
           Array gx) {
          run::frequency_backward({n, dimensions, frequencies, include_input, in(x), in(go), out(gx)}, t);
        });
  using Floats = std::vector<float>;
  using Ints = std::vector<std::uint32_t>;
  using Bools = std::vector<bool>;
  m.def("hash_grid_forward",
        [](const Target& t, std::int64_t n, int dims, int features, bool smooth, const Floats& scales, const Ints& resolutions,
           const Ints& offsets, const Bools& hashed, Array x, Address table, bool half, Array o) {
          run::hash_grid_forward({n, hash_grid_of(features, smooth, scales, resolutions, offsets, hashed, dims), in(x),
                                  pointer<const void>(table), half, out(o)}, t);
        });
  m.def("hash_grid_backward_table",
        [](const Target& t, std::int64_t n, int dims, int features, bool smooth, const Floats& scales, const Ints& resolutions,
           const Ints& offsets, const Bools& hashed, Array x, Array grad_out, Address grad_table) {
          run::hash_grid_backward_table({n, hash_grid_of(features, smooth, scales, resolutions, offsets, hashed, dims), in(x),
                                         in(grad_out), pointer<float>(grad_table)}, t);
        });
  m.def("hash_grid_backward_input",
        [](const Target& t, std::int64_t n, int dims, int features, bool smooth, const Floats& scales, const Ints& resolutions,
           const Ints& offsets, const Bools& hashed, Array x, Address table, bool half, Array grad_out, Array grad_x) {
          run::hash_grid_backward_input({n, hash_grid_of(features, smooth, scales, resolutions, offsets, hashed, dims), in(x),
                                         pointer<const void>(table), half, in(grad_out), out(grad_x)}, t);
        });
}

}  // namespace fieldlab
