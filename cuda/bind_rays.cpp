// Binding of the operations on rays and packed samples. Arrays that have to be contiguous come as bare addresses.
#include "bind.h"

namespace nb = nanobind;

namespace fieldlab {
namespace {

using Grid = std::tuple<Address, Address, Address, int, int>;              // blocks, coarse, aabb, resolution, levels
using Packed = std::tuple<std::int64_t, Address, Address, Address>;        // rays, offsets, t_starts, t_ends
using March = std::tuple<Address, Address, Address, double, double, std::int64_t, Address, int>;
// near, far, jitter, step, cone angle, most samples per ray, runs, run capacity

const float* floats(Address a) { return pointer<const float>(a); }
float* floats_out(Address a) { return pointer<float>(a); }
const std::int64_t* integers(Address a) { return pointer<const std::int64_t>(a); }
std::int64_t* integers_out(Address a) { return pointer<std::int64_t>(a); }
unsigned char* bytes(Address a) { return pointer<unsigned char>(a); }

OccupancyGrid grid_of(const Grid& g) {
  return {pointer<const std::uint64_t>(std::get<0>(g)), pointer<const std::uint64_t>(std::get<1>(g)),
          floats(std::get<2>(g)), std::get<3>(g), std::get<4>(g)};
}
PackedSamples packed(const Packed& p) {
  return {std::get<0>(p), integers(std::get<1>(p)), floats(std::get<2>(p)), floats(std::get<3>(p))};
}
MarchRays march_of(std::int64_t n, const Grid& grid, const Array& origins, const Array& directions, const March& m) {
  return {n, grid_of(grid), in(origins), in(directions), floats(std::get<0>(m)), floats(std::get<1>(m)),
          floats(std::get<2>(m)), static_cast<float>(std::get<3>(m)), static_cast<float>(std::get<4>(m)), std::get<5>(m),
          pointer<std::int32_t>(std::get<6>(m)), std::get<7>(m)};
}

void bind_occupancy(nb::module_& m) {
  m.def("ray_box", [](const Target& t, std::int64_t n, std::int64_t boxes, Array o, Array d, Address aabbs, Address t_min,
                      Address t_max, Address hit) {
    run::ray_box({n, boxes, in(o), in(d), floats(aabbs), floats_out(t_min), floats_out(t_max), bytes(hit)}, t);
  });
  m.def("occupancy_pack", [](const Target& t, Address values, float threshold, int resolution, int levels, Address blocks,
                             Address coarse) {
    run::occupancy_pack({floats(values), threshold, resolution, levels, pointer<std::uint64_t>(blocks),
                         pointer<std::uint64_t>(coarse)}, t);
  });
  m.def("occupancy_query", [](const Target& t, std::int64_t n, Grid grid, Array points, Address occupied) {
    run::occupancy_query({n, grid_of(grid), in(points), bytes(occupied)}, t);
  });
  m.def("occupancy_decay", [](const Target& t, std::int64_t n, Address values, float decay) {
    run::occupancy_decay({n, floats_out(values), decay}, t);
  });
  m.def("occupancy_raise", [](const Target& t, std::int64_t n, Address values, Address cells, Address raised) {
    run::occupancy_raise({n, floats_out(values), integers(cells), floats(raised)}, t);
  });
  m.def("occupancy_points", [](const Target& t, std::int64_t n, Address cells, Address aabb, int resolution, Array jitter,
                               Array points) {
    run::occupancy_points({n, integers(cells), floats(aabb), resolution, in(jitter), out(points)}, t);
  });
}

void bind_march(nb::module_& m) {
  m.def("march_count", [](const Target& t, std::int64_t n, Grid grid, Array o, Array d, March march, Address counts) {
    run::march_count({march_of(n, grid, o, d, march), integers_out(counts)}, t);
  });
  m.def("march_fill", [](const Target& t, std::int64_t n, Grid grid, Array o, Array d, March march, Address offsets,
                         Address t_starts, Address t_ends, Address ray_indices) {
    run::march_fill({march_of(n, grid, o, d, march), integers(offsets), floats_out(t_starts), floats_out(t_ends),
                     integers_out(ray_indices)}, t);
  });
  m.def("contract_forward", [](const Target& t, std::int64_t n, bool contracted, Address aabb, Array points, Array o) {
    run::contract_forward({n, contracted, floats(aabb), in(points), out(o)}, t);
  });
  m.def("contract_backward", [](const Target& t, std::int64_t n, bool contracted, Address aabb, Array points, Array go,
                                Array gp) {
    run::contract_backward({n, contracted, floats(aabb), in(points), in(go), out(gp)}, t);
  });
  m.def("ray_points_forward", [](const Target& t, Packed samples, bool contracted, Address aabb, Array o, Array d,
                                 Array points, Array sample_directions) {
    run::ray_points_forward({packed(samples), contracted, floats(aabb), in(o), in(d), out(points),
                             out(sample_directions)}, t);
  });
  m.def("ray_points_backward", [](const Target& t, Packed samples, bool contracted, Address aabb, Array o, Array d,
                                  Array grad_points, Array grad_sample_directions, Array go, Array gd) {
    run::ray_points_backward({packed(samples), contracted, floats(aabb), in(o), in(d), in(grad_points),
                              in(grad_sample_directions), out(go), out(gd)}, t);
  });
}

void bind_composite(nb::module_& m) {
  m.def("composite_forward", [](const Target& t, Packed samples, int channels, float early_stop, Address sigmas,
                                Array values, Array o, Address opacity, Address depth, Address weights,
                                Address transmittance) {
    run::composite_forward({packed(samples), channels, early_stop, floats(sigmas), in(values), out(o), floats_out(opacity),
                            floats_out(depth), floats_out(weights), floats_out(transmittance)}, t);
  });
  m.def("composite_backward", [](const Target& t, Packed samples, int channels, Address sigmas, Array values,
                                 Address weights, Address transmittance, Array go, Address grad_opacity,
                                 Address grad_depth, Address grad_weights, Address grad_sigmas, Array grad_values) {
    run::composite_backward({packed(samples), channels, floats(sigmas), in(values), floats(weights), floats(transmittance),
                             in(go), floats(grad_opacity), floats(grad_depth), floats(grad_weights),
                             floats_out(grad_sigmas), out(grad_values)}, t);
  });
  m.def("visible_samples", [](const Target& t, Packed samples, Address sigmas, float early_stop, float least_alpha,
                              Address visible) {
    run::visible_samples({packed(samples), floats(sigmas), early_stop, least_alpha, bytes(visible)}, t);
  });
  m.def("keep_count", [](const Target& t, std::int64_t rays, Address offsets, Address mask, Address counts) {
    run::keep_count({rays, integers(offsets), bytes(mask), integers_out(counts)}, t);
  });
  m.def("keep_fill", [](const Target& t, Packed samples, Address mask, Address kept_offsets, Address t_starts,
                        Address t_ends, Address ray_indices) {
    run::keep_fill({packed(samples), bytes(mask), integers(kept_offsets), floats_out(t_starts), floats_out(t_ends),
                    integers_out(ray_indices)}, t);
  });
  m.def("importance_sample", [](const Target& t, Packed samples, Address weights, float padding, int n, Address jitter,
                                Address offsets, Address t_starts, Address t_ends, Address ray_indices) {
    run::importance_sample({packed(samples), floats(weights), padding, n, floats(jitter), integers(offsets),
                            floats_out(t_starts), floats_out(t_ends), integers_out(ray_indices)}, t);
  });
  m.def("distortion_forward", [](const Target& t, Packed samples, Address weights, Address loss) {
    run::distortion_forward({packed(samples), floats(weights), floats_out(loss)}, t);
  });
  m.def("distortion_backward", [](const Target& t, Packed samples, Address weights, Address grad_loss,
                                  Address grad_weights) {
    run::distortion_backward({packed(samples), floats(weights), floats(grad_loss), floats_out(grad_weights)}, t);
  });
}

}  // namespace

void bind_rays(nb::module_& m) {
  bind_occupancy(m);
  bind_march(m);
  bind_composite(m);
}

}  // namespace fieldlab
