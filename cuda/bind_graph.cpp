// Bindings of what is done to graphs, always on the CPU.
#include "bind.h"
#include "linkage.h"

namespace fieldlab {

void bind_graph(nanobind::module_& m) {
  m.def("single_linkage", [](std::int64_t n_points, std::int64_t n_edges, Address order, Address first, Address second,
                             Address parent, Address time, Address joined, Address joined_by) {
    return single_linkage({n_points, n_edges, pointer<const std::int64_t>(order), pointer<const std::int64_t>(first),
                           pointer<const std::int64_t>(second), pointer<std::int64_t>(parent), pointer<std::int64_t>(time),
                           pointer<std::int64_t>(joined), pointer<std::int64_t>(joined_by)});
  });
}

}  // namespace fieldlab
