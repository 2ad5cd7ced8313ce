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
FL_FIELDS(AdamStep, n, param, grad, first, second, rate, root_correction, beta1, beta2, epsilon, decay, sparse)
// The same for some rows of a matrix, whose gradient has only those.
struct AdamRows {
  std::int64_t n;
  const std::int64_t* rows;  // [n], ascending
  int width;
  AdamStep step;  // its arrays: param, first, second [all rows, width]; grad [n, width]
};
FL_FIELDS(AdamRows, n, rows, width, step)

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

// Rows [i, i + count) of the gradient, which are neighbors in the matrix too.
FL_HD void adam_rows(const AdamRows& a, std::int64_t i, std::int64_t count) {
  AdamStep part = a.step;
  const std::int64_t at = a.rows[i] * a.width;
  part.param += at;
  part.first += at;
  part.second += at;
  part.grad += i * a.width;
  const std::int64_t n = count * a.width;
  for (std::int64_t k = 0; k < n; k += FL_LANES) adam_step(part, k, static_cast<int>(min_of<std::int64_t>(FL_LANES, n - k)));
}

#ifdef FL_ISA
}  // namespace FL_ISA
#endif
}  // namespace fieldlab
