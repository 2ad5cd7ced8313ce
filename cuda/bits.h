// Bits of a word, on either processor.
#pragma once

#include <cstdint>

#include "platform.h"

namespace fieldlab {
#ifdef FL_ISA
inline namespace FL_ISA {  // compiled once for each instruction set
#endif

FL_HD int count_bits(std::uint64_t word) {
#ifdef __CUDA_ARCH__
  return __popcll(word);
#else
  return __builtin_popcountll(word);
#endif
}

// Place of the lowest bit that is set, of which there is one.
FL_HD int lowest_bit(std::uint64_t word) {
#ifdef __CUDA_ARCH__
  return __ffsll(static_cast<long long>(word)) - 1;
#else
  return __builtin_ctzll(word);
#endif
}

#ifdef FL_ISA
}
#endif
}  // namespace fieldlab
