// The Python module fieldlab._native. It knows nothing of PyTorch: arrays come as addresses with strides, checked by the
// callers in fieldlab/ops, and the place to run as a Target.
#include "bind.h"

namespace nb = nanobind;
using namespace fieldlab;

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
  bind_graph(m);
  bind_low_rank(m);
  bind_networks(m);
  bind_rays(m);
  bind_sparse_grid(m);
  bind_rbf(m);
  bind_render(m);
}
