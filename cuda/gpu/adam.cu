// GPU launcher of the optimizer step.
#include "launch.cuh"

namespace fieldlab::gpu {

void adam_step(const AdamStep& a, const Target& target) {
  each(a.n, target, [a] __device__(std::int64_t i) { fieldlab::adam_step(a, i, 1); }, 256);
}
void adam_rows(const AdamRows& a, const Target& target) {
  each(a.n, target, [a] __device__(std::int64_t i) { fieldlab::adam_rows(a, i, 1); });
}

}  // namespace fieldlab::gpu
