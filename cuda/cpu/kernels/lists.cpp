// CPU launchers of the operations that treat each sample or ray on its own, made from their lists.
#include "cpu/parallel.h"
#include "operations.h"

namespace fieldlab::FL_ISA::cpu {

#define FL_LAUNCHER(name, Args)                                                                            \
  void name(const Args& a, int threads) {                                                                  \
    parallel_lanes(a.n, threads, [&](std::int64_t start, int count) { fieldlab::name(a, start, count); }); \
  }
FL_SAMPLE_OPERATIONS(FL_LAUNCHER)
#undef FL_LAUNCHER

#define FL_LAUNCHER(name, Args)                                                   \
  void name(const Args& a, int threads) {                                         \
    parallel_each(a.n, 4096, threads, [&](std::int64_t i) { name##_one(a, i); }); \
  }
FL_ITEM_OPERATIONS(FL_LAUNCHER)
#undef FL_LAUNCHER

#define FL_LAUNCHER(name, Args)                                                                          \
  void name(const Args& a, int threads) {                                                                \
    parallel_each(a.samples.rays, 128, threads, [&](std::int64_t ray) { name##_ray(a, ray, Group()); }); \
  }
FL_RAY_OPERATIONS(FL_LAUNCHER)
#undef FL_LAUNCHER

}  // namespace fieldlab::FL_ISA::cpu
