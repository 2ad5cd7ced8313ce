// CPU launcher of the optimizer step.
#include "cpu/parallel.h"
#include "operations.h"

namespace fieldlab::FL_ISA::cpu {

void adam_step(const AdamStep& a, int threads) {
  parallel_lanes(a.n, threads, [&](std::int64_t start, int count) { fieldlab::adam_step(a, start, count); });
}
void adam_rows(const AdamRows& a, int threads) {
  parallel_chunks(a.n, 1024, threads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin, next; i < end; i = next) {
      for (next = i + 1; next < end && a.rows[next] == a.rows[next - 1] + 1;) ++next;
      fieldlab::adam_rows(a, i, next - i);
    }
  });
}

}  // namespace fieldlab::FL_ISA::cpu
