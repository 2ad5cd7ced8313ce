// The table of this instruction set's launchers.
#include "operations.h"

namespace fieldlab::FL_ISA {
extern const CpuKernels kernels;
const CpuKernels kernels = {
    FL_LANES,
#define FL_ENTRY(name, Args) cpu::name,
    FL_OPERATIONS(FL_ENTRY)
#undef FL_ENTRY
};
}  // namespace fieldlab::FL_ISA
