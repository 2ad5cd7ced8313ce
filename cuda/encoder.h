// An encoder of any kind, chosen at run time: what the fused renderer evaluates on a tile of positions. Each kind brings,
// in its own header, a struct of pointers and sizes, `channels`, `encode_scratch` and `encode_tile`.
#pragma once
#include "frequency.h"
#include "hash_grid.h"
#include "low_rank.h"
#include "rbf.h"
#include "sparse_grid.h"

#define FL_ENCODERS(X)          \
  X(frequency, FrequencyEncoder) \
  X(hash_grid, HashGridEncoder) \
  X(low_rank, LowRankEncoder)   \
  X(rbf, RbfEncoder)            \
  X(sparse_grid, SparseGridEncoder)

namespace fieldlab {

enum class EncoderKind {
#define FL_KIND(name, Type) name,
  FL_ENCODERS(FL_KIND)
#undef FL_KIND
};

struct Encoder {
  EncoderKind kind = EncoderKind::hash_grid;
  union {
#define FL_MEMBER(name, Type) Type name;
    FL_ENCODERS(FL_MEMBER)
#undef FL_MEMBER
  };
  Encoder() : hash_grid() {}
#define FL_MAKE(name, Type)           \
  static Encoder of(const Type& e) {  \
    Encoder made;                     \
    made.kind = EncoderKind::name;    \
    made.name = e;                    \
    return made;                      \
  }
  FL_ENCODERS(FL_MAKE)
#undef FL_MAKE
};

#ifdef FL_ISA
inline namespace FL_ISA {
#endif

#define FL_CASE(name, Type) \
  case EncoderKind::name: return FL_ENCODER_CALL(e.name);

// Features per position.
FL_HD int channels(const Encoder& e) {
#define FL_ENCODER_CALL(member) channels(member)
  switch (e.kind) { FL_ENCODERS(FL_CASE) }
#undef FL_ENCODER_CALL
  return 0;
}

// Floats of fast memory that `encode_tile` needs besides its output.
FL_HD std::int64_t encode_scratch(const Encoder& e, int tile) {
#define FL_ENCODER_CALL(member) encode_scratch(member, tile)
  switch (e.kind) { FL_ENCODERS(FL_CASE) }
#undef FL_ENCODER_CALL
  return 0;
}

// Rows [channels][tile] of features at positions x [3][tile] in the unit cube. The caller synchronises afterwards.
FL_HD void encode_tile(const Team& team, const Encoder& e, const float* x, int tile, float* out, float* scratch) {
#define FL_ENCODER_CALL(member) encode_tile(team, member, x, tile, out, scratch)
  switch (e.kind) { FL_ENCODERS(FL_CASE) }
#undef FL_ENCODER_CALL
}

#undef FL_CASE

#ifdef FL_ISA
}  // namespace FL_ISA
#endif
}  // namespace fieldlab
