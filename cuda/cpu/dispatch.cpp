// Chooses, once, the widest instruction set this processor has, and runs operations on the CPU or the GPU.
#include <cstring>
#include <stdexcept>

#include "operations.h"

namespace fieldlab {
#ifdef FL_HAVE_AVX512
namespace avx512 { extern const CpuKernels kernels; }
#endif
#ifdef FL_HAVE_AVX2
namespace avx2 { extern const CpuKernels kernels; }
#endif
namespace baseline { extern const CpuKernels kernels; }

namespace {
struct Isa {
  const char* name;
  const CpuKernels* kernels;
  bool (*runs)();
};
const Isa isas[] = {
#ifdef FL_HAVE_AVX512
    {"avx512", &avx512::kernels,
     [] {
       return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
              __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma");
     }},
#endif
#ifdef FL_HAVE_AVX2
    {"avx2", &avx2::kernels, [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }},
#endif
    {"baseline", &baseline::kernels, [] { return true; }},
};

const Isa* widest() {
  for (const Isa& isa : isas)
    if (isa.runs()) return &isa;
  return nullptr;
}
const Isa*& chosen() {
  static const Isa* isa = widest();
  return isa;
}
}  // namespace

const char* instruction_set() { return chosen()->name; }

int available_instruction_sets(const char** names, int capacity) {
  int n = 0;
  for (const Isa& isa : isas)
    if (isa.runs() && n < capacity) names[n++] = isa.name;
  return n;
}

bool choose_instruction_set(const char* name) {
  for (const Isa& isa : isas)
    if (std::strcmp(isa.name, name) == 0 && isa.runs()) {
      chosen() = &isa;
      return true;
    }
  return false;
}

int oldest_cuda_architecture() {
#ifdef FL_HAVE_CUDA
  return gpu::oldest_architecture();
#else
  return 0;
#endif
}

namespace run {
#ifdef FL_HAVE_CUDA
#define FL_RUN_GPU(name) return gpu::name(a, target)
#else
#define FL_RUN_GPU(name) throw std::runtime_error("this build of fieldlab has no CUDA half")
#endif
#define FL_RUN(name, Args)                                 \
  void name(const Args& a, const Target& target) {         \
    if (target.cuda) FL_RUN_GPU(name);                     \
    chosen()->kernels->name(a, target.threads);            \
  }
FL_OPERATIONS(FL_RUN)
}  // namespace run

}  // namespace fieldlab
