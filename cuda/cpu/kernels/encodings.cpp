// CPU launchers of the encodings that treat each sample on its own.
#include "cpu/parallel.h"
#include "operations.h"

namespace fieldlab::FL_ISA::cpu {

void spherical_harmonics_forward(const SphericalHarmonicsForward& a, int threads) {
  parallel_lanes(a.n, threads, [&](std::int64_t start, int count) { harmonics_forward(a, start, count); });
}
void spherical_harmonics_backward(const SphericalHarmonicsBackward& a, int threads) {
  parallel_lanes(a.n, threads, [&](std::int64_t start, int count) { harmonics_backward(a, start, count); });
}
void frequency_forward(const FrequencyForward& a, int threads) {
  parallel_lanes(a.n, threads, [&](std::int64_t start, int count) { fieldlab::frequency_forward(a, start, count); });
}
void frequency_backward(const FrequencyBackward& a, int threads) {
  parallel_lanes(a.n, threads, [&](std::int64_t start, int count) { fieldlab::frequency_backward(a, start, count); });
}
void harmonic_color_forward(const HarmonicColorForward& a, int threads) {
  parallel_lanes(a.n, threads,
                 [&](std::int64_t start, int count) { fieldlab::harmonic_color_forward(a, start, count); });
}
void harmonic_color_backward(const HarmonicColorBackward& a, int threads) {
  parallel_lanes(a.n, threads,
                 [&](std::int64_t start, int count) { fieldlab::harmonic_color_backward(a, start, count); });
}

}  // namespace fieldlab::FL_ISA::cpu
