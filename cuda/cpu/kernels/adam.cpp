// CPU launcher of the optimizer step.
#include "cpu/parallel.h"
#include "operations.h"

namespace fieldlab::FL_ISA::cpu {

void adam_step(const AdamStep& a, int threads) {
  parallel_lanes(a.n, threads, [&](std::int64_t start, int count) { fieldlab::adam_step(a, start, count); });
}

}  // namespace fieldlab::FL_ISA::cpu
