// The Python module fieldlab._native. It knows nothing of PyTorch: arrays come as addresses with strides, checked by the
// callers in fieldlab/ops, and the place to run as a Target. Operations are those of the list in operations.h.
#include "bind.h"

#include "linkage.h"

using namespace fieldlab;

namespace {

void bind_processors(nb::module_& m) {
  nb::class_<Target>(m, "Target")
      .def(
          "__init__",
          [](Target* t, bool cuda, int threads, int device, std::uintptr_t stream) {
            new (t) Target{cuda, threads, device, stream};
          },
          nb::arg("cuda"), nb::arg("threads") = 1, nb::arg("device") = 0, nb::arg("stream") = 0)
      .def_ro("cuda", &Target::cuda)
      .def_ro("threads", &Target::threads);
  m.def("instruction_set", [] { return std::string(instruction_set()); });
  m.def("instruction_sets", [] {
    const char* names[8];
    const int n = available_instruction_sets(names, 8);
    return std::vector<std::string>(names, names + n);
  });
  m.def("choose_instruction_set", [](const std::string& name) { return choose_instruction_set(name.c_str()); });
  const int oldest = oldest_cuda_architecture();
  m.attr("has_cuda") = oldest > 0;
  m.attr("oldest_cuda_capability") = nb::make_tuple(oldest / 100, oldest / 10 % 10);
}

void bind_limits(nb::module_& m) {
  nb::dict limits;
#define FL_LIMIT(name) limits[#name] = FL_##name;
  FL_EACH(FL_LIMIT, MAX_ENCODERS, MAX_BRANCHES, MAX_HASH_LEVELS, MAX_NEIGHBORS, NODE_WIDTH, BRICK)
#undef FL_LIMIT
  m.attr("limits") = limits;
}

}  // namespace

NB_MODULE(_native, m) {
  bind_processors(m);
  bind_limits(m);
  bind_encoders(m);
#define FL_BIND(name, Args) bind_operation<Args>(m, #name, run::name);
  FL_OPERATIONS(FL_BIND)
#undef FL_BIND
  m.def(
      "mlp_saved_size",
      [](std::int64_t n, const nb::dict& shape) {
        MlpShape s{};
        fill(s, shape, "a perceptron");
        return divide_up(n, kTile) * saved_size(s, kTile);
      },
      nb::arg("n"), nb::arg("shape"));
  m.def("single_linkage", [](const nb::kwargs& given) {
    LinkageArgs args{};
    fill(args, given, "single_linkage");
    const nb::gil_scoped_release others_run;
    return single_linkage(args);
  });
}
