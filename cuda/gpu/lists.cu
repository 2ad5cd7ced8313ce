// GPU launchers of the operations that treat each sample or ray on its own, made from their lists: one thread a sample, a
// warp a ray.
#include "launch.cuh"

namespace fieldlab::gpu {

#define FL_LAUNCHER(name, Args)                                                     \
  void name(const Args& a, const Target& target) {                                  \
    each(a.n, target, [a] __device__(std::int64_t i) { fieldlab::name(a, i, 1); }); \
  }
FL_SAMPLE_OPERATIONS(FL_LAUNCHER)
#undef FL_LAUNCHER

#define FL_LAUNCHER(name, Args)                                              \
  void name(const Args& a, const Target& target) {                           \
    each(a.n, target, [a] __device__(std::int64_t i) { name##_one(a, i); }); \
  }
FL_ITEM_OPERATIONS(FL_LAUNCHER)
#undef FL_LAUNCHER

#define FL_LAUNCHER(name, Args)                                                                    \
  void name(const Args& a, const Target& target) {                                                 \
    each_ray(a.samples.rays, target,                                                               \
             [a] __device__(std::int64_t ray, const Group& group) { name##_ray(a, ray, group); }); \
  }
FL_RAY_OPERATIONS(FL_LAUNCHER)
#undef FL_LAUNCHER

int oldest_architecture() {
  int oldest = 1 << 30;
  for (const int compiled : {__CUDA_ARCH_LIST__}) oldest = min_of(oldest, compiled);
  return oldest;
}

}  // namespace fieldlab::gpu
