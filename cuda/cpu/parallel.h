// Loops over work on CPU threads. Included only by the per-instruction-set sources, so it avoids the standard library's
// out-of-line templates (see lanes.h on why).
#pragma once
#include <cstdlib>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "lanes.h"

namespace fieldlab {
inline namespace FL_ISA {

// body(chunk_start, chunk_end) over [0,n) in chunks, handed out as threads become free.
template <class Body>
void parallel_chunks(std::int64_t n, std::int64_t chunk, int threads, const Body& body) {
  const std::int64_t chunks = divide_up(n, chunk);
  (void)threads;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1 && chunks > 1)
  for (std::int64_t i = 0; i < chunks; ++i) body(i * chunk, min_of((i + 1) * chunk, n));
}

// body(i) for i in [0,n), in chunks likewise.
template <class Body>
void parallel_each(std::int64_t n, std::int64_t chunk, int threads, const Body& body) {
  parallel_chunks(n, chunk, threads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) body(i);
  });
}

// body(start, count) over [0,n) in groups of at most FL_LANES samples.
template <class Body>
void parallel_lanes(std::int64_t n, int threads, const Body& body) {
  parallel_chunks(n, 4096, threads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; i += FL_LANES) body(i, static_cast<int>(min_of<std::int64_t>(FL_LANES, end - i)));
  });
}

// Aligned scratch memory that frees itself.
template <class T>
struct Scratch {
  T* data;
  explicit Scratch(std::size_t count) : data(static_cast<T*>(std::aligned_alloc(64, (count * sizeof(T) + 63) / 64 * 64 + 64))) {}
  ~Scratch() { std::free(data); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
};

// A matrix stored channel by channel: the given one if it already is, or else a copy. Kernels that read samples many
// times want this: lanes then load whole registers.
class ChannelMajor {
 public:
  ChannelMajor(const MatrixIn& m, std::int64_t n, int channels, int threads)
      : copy_(m.stride_sample == 1 ? 0 : static_cast<std::size_t>(n) * channels), view_(m) {
    if (m.stride_sample == 1) return;
    view_ = {copy_.data, 1, n};
    parallel_chunks(n, 4096, threads, [&](std::int64_t begin, std::int64_t end) {
      for (int c = 0; c < channels; ++c)
        for (std::int64_t i = begin; i < end; ++i) copy_.data[c * n + i] = m.at(i, c);
    });
  }
  const MatrixIn& view() const { return view_; }

 private:
  Scratch<float> copy_;
  MatrixIn view_;
};

// A matrix stored sample by sample: the given one if it already is, or else a copy.
class SampleMajor {
 public:
  SampleMajor(const MatrixIn& m, std::int64_t n, int channels, int threads)
      : copy_(m.stride_channel == 1 ? 0 : static_cast<std::size_t>(n) * channels), view_(m) {
    if (m.stride_channel == 1) return;
    view_ = {copy_.data, channels, 1};
    parallel_chunks(n, 64, threads, [&](std::int64_t begin, std::int64_t end) {
      for (int c = 0; c < channels; ++c)
        for (std::int64_t i = begin; i < end; ++i) copy_.data[i * channels + c] = m.at(i, c);
    });
  }
  const MatrixIn& view() const { return view_; }

 private:
  Scratch<float> copy_;
  MatrixIn view_;
};

}  // namespace FL_ISA
}  // namespace fieldlab
