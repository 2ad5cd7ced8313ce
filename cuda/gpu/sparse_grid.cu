// GPU launchers of the sparse grid. Interpolation has one thread a sample and channel, neighboring threads neighboring
// channels of one row.
#include "launch.cuh"

namespace fieldlab::gpu {
namespace {

__device__ float corner_weight(const SparseCell& cell, int corner) {
  return (corner & 1 ? cell.upper[0] : 1.f - cell.upper[0]) * (corner & 2 ? cell.upper[1] : 1.f - cell.upper[1]) *
         (corner & 4 ? cell.upper[2] : 1.f - cell.upper[2]);
}

constexpr int kScan = 1024;

// Running count of touched rows, by one block: there is a word for every 64 rows only.
__global__ void count_before(SparseTouched a) {
  __shared__ std::int32_t sum[kScan];
  std::int32_t total = 0;
  for (std::int64_t base = 0; base < a.n_words; base += kScan) {
    const std::int64_t w = base + threadIdx.x;
    const std::int32_t mine = w < a.n_words ? count_bits(a.touched[w]) : 0;
    sum[threadIdx.x] = mine;
    __syncthreads();
    for (int reach = 1; reach < kScan; reach *= 2) {
      const std::int32_t add = threadIdx.x >= reach ? sum[threadIdx.x - reach] : 0;
      __syncthreads();
      sum[threadIdx.x] += add;
      __syncthreads();
    }
    if (w < a.n_words) a.before[w] = total + sum[threadIdx.x] - mine;
    total += sum[kScan - 1];
    __syncthreads();
  }
  if (threadIdx.x == 0) a.before[a.n_words] = total;
}

}  // namespace

void sparse_grid_forward(const SparseGridForward& a, const Target& target) {
  each(a.n * a.rows.channels, target, [a] __device__(std::int64_t i) {
    const std::int64_t sample = i / a.rows.channels, channel = i % a.rows.channels;
    float x[3], total = 0.f;
    load_point(a.x, sample, 1, x);
    const SparseCell cell = locate_cell(a.rows.resolution, x);
    for (int c = 0; c < 8; ++c) {
      const std::int32_t row = a.corners[c * a.n + sample];
      total += corner_weight(cell, c) *
               (row < 0 ? a.rows.empty : a.rows.values[std::int64_t{row} * a.rows.channels + channel]);
    }
    a.out.at(sample, channel) = total;
  });
}
void sparse_grid_backward_values(const SparseGridBackwardValues& a, const Target& target) {
  each(a.n * a.channels, target, [a] __device__(std::int64_t i) {
    const std::int64_t sample = i / a.channels, channel = i % a.channels;
    float x[3];
    load_point(a.x, sample, 1, x);
    const SparseCell cell = locate_cell(a.resolution, x);
    const float g = a.grad_out.at(sample, channel);
    for (int c = 0; c < 8; ++c) {
      const std::int32_t row = a.corners[c * a.n + sample];
      if (row < 0) continue;
      atomicAdd(a.grad_values + touched_slot(a.touched, a.before, row) * a.channels + channel, corner_weight(cell, c) * g);
    }
  });
}
void sparse_grid_variation(const SparseGridVariation& a, const Target& target) {
  each(a.n, target, [a] __device__(std::int64_t i) { fieldlab::sparse_grid_variation(a, i); });
}

void sparse_touched(const SparseTouched& a, const Target& target) {
  each(a.n_corners, target, [a] __device__(std::int64_t i) {
    const std::int32_t row = a.corners[i];
    if (row >= 0)
      atomicOr(reinterpret_cast<unsigned long long*>(a.touched) + (row >> 6), 1ull << (row & 63));
  });
  const OnDevice on(target.device);
  count_before<<<1, kScan, 0, stream_of(target)>>>(a);
  check(cudaGetLastError(), "launching a kernel");
}
void sparse_touched_rows(const SparseTouchedRows& a, const Target& target) {
  each(a.n_words, target, [a] __device__(std::int64_t w) {
    std::int64_t at = a.before[w];
    for (std::uint64_t word = a.touched[w]; word; word &= word - 1) a.rows[at++] = w * 64 + lowest_bit(word);
  });
}

}  // namespace fieldlab::gpu
