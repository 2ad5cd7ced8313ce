// Sine and cosine of lanes, to within 1e-6 for arguments up to 2^13 in size: the nearest multiple of pi is taken off in
// three parts, the first two of which multiply exactly, and an odd polynomial of degree 9 (minimax fit, 5e-9) does the rest.
#pragma once
#include "lanes.h"

namespace fieldlab {
#ifdef FL_ISA
inline namespace FL_ISA {
#endif

#if FL_LANES == 1
FL_HD Lanes sin_of(Lanes v) { return sinf(v); }
FL_HD Lanes cos_of(Lanes v) { return cosf(v); }
#else
FL_HD Lanes minus_pi_times(Lanes v, Lanes n) {
  return ((v - n * 3.140625f) - n * 9.675025939941406e-4f) - n * 1.5099580252808664e-7f;
}
FL_HD Lanes sine_within_half_pi(Lanes r) {
  const Lanes s = r * r;
  Lanes p = broadcast(2.599994104457437e-6f);
  p = p * s - 1.9806588534265757e-4f;
  p = p * s + 8.333017118275166e-3f;
  p = p * s - 1.6666656732559204e-1f;
  return r + r * s * p;
}
FL_HD Lanes flipped_if_odd(Lanes v, Lanes n) {
  const LanesI odd = __builtin_convertvector(n, LanesI) << 31;
  return (Lanes)((LanesI)v ^ odd);
}
FL_HD Lanes sin_of(Lanes v) {
  const Lanes n = floor_of(v * 0.318309886183790672f + 0.5f);
  return flipped_if_odd(sine_within_half_pi(minus_pi_times(v, n)), n);
}
FL_HD Lanes cos_of(Lanes v) {
  const Lanes n = floor_of(v * 0.318309886183790672f);
  return flipped_if_odd(sine_within_half_pi(-minus_pi_times(v, n + 0.5f)), n);
}
#endif

#ifdef FL_ISA
}  // namespace FL_ISA
#endif
}  // namespace fieldlab
