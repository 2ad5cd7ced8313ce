// CPU launchers of the sparse grid.
#include "cpu/parallel.h"
#include "operations.h"

namespace fieldlab::FL_ISA::cpu {
namespace {

// Eight channels at a time; rows are not aligned.
typedef float Eight __attribute__((vector_size(32)));
constexpr int kOwned = 64;  // neighboring rows belong to one thread

// grad += weight * row of gradients
inline void add_row(float* grad, const float* row, float weight, int channels) {
  int k = 0;
  for (; k + 8 <= channels; k += 8) {
    Eight sum, g;
    std::memcpy(&sum, grad + k, sizeof sum);
    std::memcpy(&g, row + k, sizeof g);
    sum += weight * g;
    std::memcpy(grad + k, &sum, sizeof sum);
  }
  for (; k < channels; ++k) grad[k] += weight * row[k];
}

// Rows [count][width] of the gradients of up to FL_LANES samples.
inline void load_gradients(const MatrixIn& grad_out, std::int64_t start, int count, int channels, int width,
                           float* rows) {
  for (int first = 0; first < channels; first += FL_LANES) {
    Lanes value[FL_LANES];
    for (int k = 0; k < FL_LANES; ++k)
      value[k] = first + k < channels ? load_some(&grad_out.at(start, first + k), grad_out.stride_sample, count)
                                      : broadcast(0.f);
#if FL_LANES > 1
    transpose(value);
#endif
    for (int i = 0; i < count; ++i) store(rows + i * width + first, value[i]);
  }
}

// Adds what samples say to those rows that belong to the thread; every row is added up in the order of the samples,
// so that the result does not depend on the number of threads.
void scatter(const SparseGridBackwardValues& a, int thread, int threads) {
  const int width = static_cast<int>(divide_up(a.channels, FL_LANES)) * FL_LANES;
  const Scratch<float> gradients(static_cast<std::size_t>(width) * FL_LANES);
  for (std::int64_t start = 0; start < a.n; start += FL_LANES) {
    const int count = static_cast<int>(min_of<std::int64_t>(FL_LANES, a.n - start));
    Lanes x[3];
    SparseCell8 cell;
    load_point(a.x, start, count, x);
    cell_weights(locate_cell(a.resolution, x), cell.weight);
    load_rows(a.corners, a.n, start, count, cell.row);
    float* to[FL_LANES][8];
    for (int i = 0; i < count; ++i)
      for (int c = 0; c < 8; ++c) {
        const std::int64_t row = cell.row[c][i];
        const bool mine = row >= 0 && (threads == 1 || row / kOwned % threads == thread);
        to[i][c] = mine ? a.grad_values + touched_slot(a.touched, a.before, row) * a.channels : nullptr;
        if (!mine) continue;
        __builtin_prefetch(to[i][c], 1);
        if (a.channels > 16) __builtin_prefetch(to[i][c] + a.channels - 1, 1);
      }
    load_gradients(a.grad_out, start, count, a.channels, width, gradients.data);
    for (int i = 0; i < count; ++i)
      for (int c = 0; c < 8; ++c)
        if (to[i][c]) add_row(to[i][c], gradients.data + i * width, cell.weight[c][i], a.channels);
  }
}

}  // namespace

void sparse_grid_forward(const SparseGridForward& a, int threads) {
  parallel_lanes(a.n, threads, [&](std::int64_t start, int count) { fieldlab::sparse_grid_forward(a, start, count); });
}
void sparse_touched(const SparseTouched& a, int) {
  for (std::int64_t i = 0; i < a.n_corners; ++i) {
    const std::int32_t row = a.corners[i];
    if (row >= 0) a.touched[row >> 6] |= std::uint64_t{1} << (row & 63);
  }
  a.before[0] = 0;
  for (std::int64_t w = 0; w < a.n_words; ++w) a.before[w + 1] = a.before[w] + count_bits(a.touched[w]);
}
void sparse_touched_rows(const SparseTouchedRows& a, int) {
  std::int64_t at = 0;
  for (std::int64_t w = 0; w < a.n_words; ++w)
    for (std::uint64_t word = a.touched[w]; word; word &= word - 1) a.rows[at++] = w * 64 + lowest_bit(word);
}
void sparse_grid_backward_values(const SparseGridBackwardValues& a, int threads) {
  (void)threads;
#pragma omp parallel for schedule(static, 1) num_threads(threads) if (threads > 1)
  for (int thread = 0; thread < threads; ++thread) scatter(a, thread, threads);
}
void sparse_grid_variation(const SparseGridVariation& a, int threads) {
  parallel_each(a.n, 1024, threads, [&](std::int64_t i) { fieldlab::sparse_grid_variation(a, i); });
}

}  // namespace fieldlab::FL_ISA::cpu
