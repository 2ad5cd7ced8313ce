// GPU launchers of the encodings that treat each sample on its own: one thread a sample.
#include "launch.cuh"

namespace fieldlab::gpu {

void spherical_harmonics_forward(const SphericalHarmonicsForward& a, const Target& target) {
  each(a.n, target, [a] __device__(std::int64_t i) { harmonics_forward(a, i, 1); });
}
void spherical_harmonics_backward(const SphericalHarmonicsBackward& a, const Target& target) {
  each(a.n, target, [a] __device__(std::int64_t i) { harmonics_backward(a, i, 1); });
}
void frequency_forward(const FrequencyForward& a, const Target& target) {
  each(a.n, target, [a] __device__(std::int64_t i) { fieldlab::frequency_forward(a, i, 1); });
}
void frequency_backward(const FrequencyBackward& a, const Target& target) {
  each(a.n, target, [a] __device__(std::int64_t i) { fieldlab::frequency_backward(a, i, 1); });
}
void harmonic_color_forward(const HarmonicColorForward& a, const Target& target) {
  each(a.n, target, [a] __device__(std::int64_t i) { fieldlab::harmonic_color_forward(a, i, 1); });
}
void harmonic_color_backward(const HarmonicColorBackward& a, const Target& target) {
  each(a.n, target, [a] __device__(std::int64_t i) { fieldlab::harmonic_color_backward(a, i, 1); });
}

}  // namespace fieldlab::gpu
