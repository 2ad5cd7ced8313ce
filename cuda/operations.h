// The list of native operations: each is one argument struct (in the operation's own header) and one launcher per
// processor. Dispatch tables, launcher declarations and the binding are all made from this list; so are the launchers
// themselves of operations that treat each sample or ray on its own.
#pragma once
#include "adam.h"
#include "composite.h"
#include "contract.h"
#include "frequency.h"
#include "harmonic_color.h"
#include "hash_grid.h"
#include "importance.h"
#include "low_rank.h"
#include "march.h"
#include "mlp_backward.h"
#include "ray_box.h"
#include "rbf.h"
#include "render.h"
#include "sparse_grid.h"
#include "spherical_harmonics.h"

// A kernel name(args, start, count) takes up to FL_LANES samples of args.n.
#define FL_SAMPLE_OPERATIONS(X)                               \
  X(spherical_harmonics_forward, SphericalHarmonicsForward)   \
  X(spherical_harmonics_backward, SphericalHarmonicsBackward) \
  X(frequency_forward, FrequencyForward)                      \
  X(frequency_backward, FrequencyBackward)                    \
  X(harmonic_color_forward, HarmonicColorForward)             \
  X(harmonic_color_backward, HarmonicColorBackward)           \
  X(contract_forward, ContractForward)                        \
  X(contract_backward, ContractBackward)                      \
  X(sparse_corners, SparseCorners)                            \
  X(sparse_grid_backward_input, SparseGridBackwardInput)
// A kernel name_one(args, i) takes one of args.n.
#define FL_ITEM_OPERATIONS(X)          \
  X(occupancy_query, OccupancyQuery)   \
  X(occupancy_update, OccupancyUpdate) \
  X(occupancy_points, OccupancyPoints)
// A kernel name_ray(args, ray, group) takes one ray of args.samples, with a group of threads.
#define FL_RAY_OPERATIONS(X)                 \
  X(ray_points_forward, RayPointsForward)    \
  X(ray_points_backward, RayPointsBackward)  \
  X(composite_forward, CompositeForward)     \
  X(composite_backward, CompositeBackward)   \
  X(visible_samples, VisibleSamples)         \
  X(keep_fill, KeepFill)                     \
  X(distortion_forward, DistortionForward)   \
  X(distortion_backward, DistortionBackward)
// These have launchers of their own.
#define FL_OTHER_OPERATIONS(X)                             \
  X(hash_grid_forward, HashGridForward)                    \
  X(hash_grid_backward_table, HashGridBackwardTable)       \
  X(hash_grid_backward_input, HashGridBackwardInput)       \
  X(low_rank_forward, LowRankForward)                      \
  X(low_rank_backward_params, LowRankBackwardParams)       \
  X(low_rank_backward_input, LowRankBackwardInput)         \
  X(low_rank_penalty, LowRankPenalty)                      \
  X(rbf_neighbors, RbfNeighbors)                           \
  X(rbf_basis_forward, RbfBasisForward)                    \
  X(rbf_basis_backward, RbfBasisBackward)                  \
  X(rbf_mix_forward, RbfMixForward)                        \
  X(rbf_mix_backward_weights, RbfMixBackwardWeights)       \
  X(rbf_mix_backward_basis, RbfMixBackwardBasis)           \
  X(mlp_forward, MlpForward)                               \
  X(mlp_backward, MlpBackward)                             \
  X(adam_step, AdamStep)                                   \
  X(adam_rows, AdamRows)                                   \
  X(ray_box, RayBox)                                       \
  X(occupancy_pack, OccupancyPack)                         \
  X(march_count, MarchCount)                               \
  X(march_fill, MarchFill)                                 \
  X(keep_count, KeepCount)                                 \
  X(importance_sample, ImportanceSample)                   \
  X(render_field, RenderField)                             \
  X(sparse_touched, SparseTouched)                         \
  X(sparse_touched_rows, SparseTouchedRows)                \
  X(sparse_grid_forward, SparseGridForward)                \
  X(sparse_grid_backward_values, SparseGridBackwardValues) \
  X(sparse_grid_variation, SparseGridVariation)
#define FL_OPERATIONS(X)  \
  FL_SAMPLE_OPERATIONS(X) \
  FL_ITEM_OPERATIONS(X)   \
  FL_RAY_OPERATIONS(X)    \
  FL_OTHER_OPERATIONS(X)

namespace fieldlab {

// The CPU launchers of one instruction set.
struct CpuKernels {
  int lanes;
#define FL_POINTER(name, Args) void (*name)(const Args&, int threads);
  FL_OPERATIONS(FL_POINTER)
#undef FL_POINTER
};

#ifdef FL_ISA
namespace FL_ISA {
namespace cpu {
#define FL_DECLARE(name, Args) void name(const Args& a, int threads);
FL_OPERATIONS(FL_DECLARE)
#undef FL_DECLARE
}  // namespace cpu
}  // namespace FL_ISA
#endif

namespace gpu {
#define FL_DECLARE(name, Args) void name(const Args& a, const Target& target);
FL_OPERATIONS(FL_DECLARE)
#undef FL_DECLARE
int oldest_architecture();
}  // namespace gpu

// Runs an operation where the target says; picks the widest instruction set this processor has.
#define FL_DECLARE(name, Args) void name(const Args& a, const Target& target);
namespace run {
FL_OPERATIONS(FL_DECLARE)
}
#undef FL_DECLARE

// Instruction sets compiled in and runnable here, widest first; the one in use; choosing one by name (tests do).
const char* instruction_set();
int available_instruction_sets(const char** names, int capacity);
bool choose_instruction_set(const char* name);

// Of the oldest devices that the CUDA half runs on: 100 * major + 10 * minor; 0: there is no CUDA half.
int oldest_cuda_architecture();

}  // namespace fieldlab
