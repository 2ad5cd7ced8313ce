// One step of Adam (Kingma & Ba 2015) over a flat array, in one pass over memory.
#pragma once
#include "lanes.h"

namespace fieldlab {

struct AdamStep {
  std::int64_t n;
  float* param;
  const float* grad;
  float* first;   // running mean of gradients
  float* second;  // running mean of squared gradients
  float rate;     // learning rate, bias corrections included
  float root_correction;  // 1 / sqrt(1 - beta2^t)
  float beta1, beta2, epsilon;
  float decay;    // L2 added to the gradient
  bool sparse;    // leave entries alone whose gradient is exactly zero (Müller et al. 2022, section 4)
};
// The same for some rows of a matrix, whose gradient has only those.
struct AdamRows {
  std::int64_t n;
  const std::int64_t* rows;  // [n], each once
  int width;
  AdamStep step;  // its arrays: param, first, second [all rows, width]; grad [n, width]
};

#ifdef FL_ISA
inline namespace FL_ISA {
#endif

FL_HD void adam_step(const AdamStep& a, std::int64_t i, int count) {
  Lanes g = load_some(a.grad + i, 1, count);
  if (a.sparse && all_zero(g)) return;
  const Lanes p = load_some(a.param + i, 1, count);
  const Lanes m = load_some(a.first + i, 1, count), v = load_some(a.second + i, 1, count);
  const Lanes raw = g;
  g = g + a.decay * p;
  const Lanes m_new = m + (1.f - a.beta1) * (g - m);
  const Lanes v_new = v + (1.f - a.beta2) * (g * g - v);
  const Lanes p_new = p - a.rate * m_new / (sqrt_of(v_new) * a.root_correction + a.epsilon);
  store_some(a.param + i, 1, count, a.sparse ? where_nonzero(raw, p_new, p) : p_new);
  store_some(a.first + i, 1, count, a.sparse ? where_nonzero(raw, m_new, m) : m_new);
  store_some(a.second + i, 1, count, a.sparse ? where_nonzero(raw, v_new, v) : v_new);
}

FL_HD void adam_row(const AdamRows& a, std::int64_t i) {
  AdamStep row = a.step;
  const std::int64_t at = a.rows[i] * a.width;
  row.param += at;
  row.first += at;
  row.second += at;
  row.grad += i * a.width;
  for (int k = 0; k < a.width; k += FL_LANES) adam_step(row, k, min_of(FL_LANES, a.width - k));
}

#ifdef FL_ISA
}  // namespace FL_ISA
#endif
}  // namespace fieldlab
