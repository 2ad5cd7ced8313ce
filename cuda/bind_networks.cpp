// Bindings of the fused networks.
#include "bind.h"

namespace fieldlab {

void bind_networks(nanobind::module_& m) {
  m.def("mlp_saved_size", [](std::int64_t n, const Network& shape) {
    return divide_up(n, kTile) * saved_size(network_of(shape), kTile);
  });
  m.def("mlp_forward",
        [](const Target& t, std::int64_t n, const Network& shape, Array x0, Array x1, Address params, Array o,
           Address saved) {
          run::mlp_forward({n, network_of(shape), in(x0), in(x1), pointer<const float>(params), out(o),
                            pointer<float>(saved)}, t);
        });
  m.def("mlp_backward",
        [](const Target& t, std::int64_t n, const Network& shape, Array x0, Array x1, Address params, Address saved,
           Array o, Array grad_out, Array grad0, Array grad1, Address grad_params) {
          run::mlp_backward({n, network_of(shape), in(x0), in(x1), pointer<const float>(params),
                             pointer<const float>(saved), in(o), in(grad_out), out(grad0), out(grad1),
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
}

}  // namespace fieldlab
