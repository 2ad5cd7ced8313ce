// CPU launchers of low-rank tensors. Values are read many channels at a time; in the scatter a thread owns a part of the
// channels of one term, which therefore needs no atomics and is deterministic.
#include "low_rank.h"

#include "cpu/parallel.h"
#include "operations.h"

namespace fieldlab::FL_ISA::cpu {
namespace {

struct AddChannels {
  void operator()(float* to, int channels, Lanes value) const {
    store_part(to, channels, load_part(to, channels) + value);
  }
};

template <int Factors>
void backward_params(const LowRankBackwardParams& a, int threads) {
  const int parts = low_rank_parts(a.tensor);
  (void)threads;
  // Successive tasks are different terms, so that threads seldom write near each other.
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1)
  for (int task = 0; task < a.tensor.terms * parts; ++task)
    for (std::int64_t i = 0; i < a.n; i += FL_LANES)
      low_rank_scatter<Factors>(a, task % a.tensor.terms, task / a.tensor.terms, i,
                                static_cast<int>(min_of<std::int64_t>(FL_LANES, a.n - i)), AddChannels{});
}

}  // namespace

void low_rank_forward(const LowRankForward& given, int threads) {
  LowRankForward a = given;
  const ChannelMajor x(given.x, given.n, 3, threads);
  a.x = x.view();
  const int items = low_rank_items(a.tensor);
  FL_WITH_FACTORS(a.tensor.factors, parallel_lanes(a.n, threads, [&](std::int64_t start, int count) {
                    Lanes at[3];
                    load_position(a.x, start, count, at);
                    for (int item = 0; item < items; ++item) low_rank_item<Factors>(a, at, item, start, count);
                  }))
}

void low_rank_backward_params(const LowRankBackwardParams& given, int threads) {
  LowRankBackwardParams a = given;
  const ChannelMajor x(given.x, given.n, 3, threads);
  const ChannelMajor grad_out(given.grad_out, given.n, given.tensor.channels(), threads);
  a.x = x.view();
  a.grad_out = grad_out.view();
  FL_WITH_FACTORS(a.tensor.factors, backward_params<Factors>(a, threads))
}

void low_rank_backward_input(const LowRankBackwardInput& a, int threads) {
  FL_WITH_FACTORS(a.tensor.factors, parallel_lanes(a.n, threads, [&](std::int64_t start, int count) {
                    low_rank_input_gradient<Factors>(a, start, count);
                  }))
}

void low_rank_penalty(const LowRankPenalty& a, int threads) {
  for (int term = 0; term < a.tensor.terms; ++term)
    for (int f = 0; f < a.tensor.factors; ++f) {
      const LowRankFactor& factor = a.tensor.factor[term][f];
      parallel_chunks(low_rank_values(a.tensor, factor) / a.tensor.rank, 4096, threads,
                      [&](std::int64_t begin, std::int64_t end) {
                        for (std::int64_t i = begin; i < end; ++i) low_rank_penalty_gradient(a, factor, i);
                      });
    }
}

}  // namespace fieldlab::FL_ISA::cpu
