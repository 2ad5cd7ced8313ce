// The exact K nearest of fixed kernel centers: a packed tree of boxes, sixteen entries to a node, so that a node is one
// or a few registers of distances. Nodes are implicit: the children of node i of a level are nodes (or, at level 0,
// slots of kernels) 16i to 16i+15 of the level below. fieldlab/ops/rbf_index.py builds it.
#pragma once
#include "bits.h"
#include "lanes.h"

namespace fieldlab {

constexpr int kRbfWidth = FL_NODE_WIDTH;
constexpr int kMaxRbfLevels = 7;
constexpr int kMaxNeighbors = FL_MAX_NEIGHBORS;
constexpr float kRbfNowhere = 1e18f;  // where unused slots and kernels that are not placed lie: never found

struct RbfTree {
  int levels;
  const float* nodes;         // level by level, node by node: rows of 16; level 0: centers [dims], above: low and high corners [2*dims]
  const std::int32_t* order;  // [slots] kernel of a slot
  std::int64_t offset[kMaxRbfLevels];  // of each level in nodes
};

// The tree of n kernels, in the layout that the builder writes.
inline RbfTree rbf_tree_of(int dims, std::int64_t n, const float* nodes, const std::int32_t* order) {
  RbfTree tree{0, nodes, order, {}};
  std::int64_t offset = 0, count = n;
  do {
    count = divide_up(count, kRbfWidth);
    tree.offset[tree.levels] = offset;
    offset += count * kRbfWidth * (tree.levels == 0 ? dims : 2 * dims);
    ++tree.levels;
  } while (count > 1 && tree.levels < kMaxRbfLevels);
  return tree;
}

struct RbfNeighbors {
  std::int64_t n;
  int dims;
  int k;
  RbfTree tree;
  MatrixIn x;                // [n,dims]
  Matrix<std::int32_t> ids;  // [n,k] nearest first; -1 where there are fewer kernels
};
FL_FIELDS(RbfNeighbors, n, dims, k, tree, x, ids)

#ifdef FL_ISA
inline namespace FL_ISA {
#endif

// The nearest found so far, nearest first; of equally near ones that with the lower index.
struct NearestKernels {
  int k;
  int found = 0;
  float bound;  // no farther kernel is wanted
  float distance[kMaxNeighbors];
  std::int32_t kernel[kMaxNeighbors];

  FL_HD void offer(float d, std::int32_t id) {
    int at = found < k ? found++ : k;
    if (at == k) {
      if (d > distance[k - 1] || (d == distance[k - 1] && id > kernel[k - 1])) return;
      at = k - 1;
    }
    for (; at > 0 && (d < distance[at - 1] || (d == distance[at - 1] && id < kernel[at - 1])); --at) {
      distance[at] = distance[at - 1];
      kernel[at] = kernel[at - 1];
    }
    distance[at] = d;
    kernel[at] = id;
    if (found == k) bound = min_of(bound, distance[k - 1]);
  }
};

FL_HD unsigned lanes_at_most(Lanes v, float bound) {
#if FL_LANES == 16
  return _mm512_cmp_ps_mask((__m512)v, _mm512_set1_ps(bound), _CMP_LE_OQ);
#elif FL_LANES == 8
  return static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps((__m256)v, _mm256_set1_ps(bound), _CMP_LE_OQ)));
#elif FL_LANES == 1
  return v <= bound ? 1u : 0u;
#else
  unsigned mask = 0;
  for (int i = 0; i < FL_LANES; ++i) mask |= (v[i] <= bound ? 1u : 0u) << i;
  return mask;
#endif
}

// Squared distances of x to a node's sixteen entries; the mask of those within `bound`.
template <int Dims, bool Leaf>
FL_HD unsigned node_distances(const float* rows, const float* x, float bound, float* distance) {
  unsigned mask = 0;
  for (int at = 0; at < kRbfWidth; at += FL_LANES) {
    Lanes total = broadcast(0.f);
    for (int axis = 0; axis < Dims; ++axis) {
      Lanes away;
      if (Leaf)
        away = load(rows + axis * kRbfWidth + at) - x[axis];
      else {
        const Lanes below = load(rows + axis * kRbfWidth + at) - x[axis];
        const Lanes above = x[axis] - load(rows + (Dims + axis) * kRbfWidth + at);
        away = at_least(below, 0.f) + at_least(above, 0.f);  // one of them is zero
      }
      total += away * away;
    }
    store(distance + at, total);
    mask |= lanes_at_most(total, bound) << at;
  }
  return mask;
}

// Depth first, the nearest child first. `bound`, a squared distance within which K kernels are known to lie, saves time.
template <int Dims>
FL_HD void find_nearest(const RbfTree& tree, const float* x, int k, float bound, NearestKernels& nearest) {
  struct Visit {
    std::int32_t level, node;
    float distance;
  };
  Visit stack[(kRbfWidth - 1) * kMaxRbfLevels + 1];
  float distance[kRbfWidth];
  nearest.k = k;
  nearest.found = 0;
  nearest.bound = bound;
  int waiting = 0;
  stack[waiting++] = {tree.levels - 1, 0, 0.f};
  while (waiting > 0) {
    const Visit visit = stack[--waiting];
    if (visit.distance > nearest.bound) continue;
    const std::int64_t width = kRbfWidth * (visit.level == 0 ? Dims : 2 * Dims);
    const float* rows = tree.nodes + tree.offset[visit.level] + visit.node * width;
    const std::int32_t first = visit.node * kRbfWidth;
    if (visit.level == 0) {
      for (unsigned mask = node_distances<Dims, true>(rows, x, nearest.bound, distance); mask; mask &= mask - 1) {
        const int i = lowest_bit(mask);
        if (distance[i] <= nearest.bound) nearest.offer(distance[i], tree.order[first + i]);
      }
      continue;
    }
    // Rounding differs between boxes and centers by a few units in the last place: boxes count as that much nearer.
    unsigned mask = node_distances<Dims, false>(rows, x, nearest.bound * (1.f + 1e-6f), distance);
    const int begin = waiting;
    for (; mask; mask &= mask - 1) {
      const int i = lowest_bit(mask);
      stack[waiting++] = {visit.level - 1, first + i, distance[i] * (1.f - 1e-6f)};
      if (waiting - 1 > begin && stack[waiting - 2].distance < stack[waiting - 1].distance) {
        const Visit nearer = stack[waiting - 2];  // the nearest stays on top
        stack[waiting - 2] = stack[waiting - 1];
        stack[waiting - 1] = nearer;
      }
    }
  }
}

// A squared distance from `x` within which K kernels lie, given those nearest to `from`: the triangle inequality.
template <int Dims>
FL_HD float bound_from(const NearestKernels& nearest, const float* from, const float* x) {
  if (nearest.found < nearest.k) return 0.01f * kRbfNowhere * kRbfNowhere;
  float moved = 0.f;
  for (int axis = 0; axis < Dims; ++axis) moved += (x[axis] - from[axis]) * (x[axis] - from[axis]);
  const float reach = sqrtf(moved) + sqrtf(nearest.distance[nearest.k - 1]);
  return reach * reach * (1.f + 1e-5f);
}

// Queries that come one after another, each starting from what the one before found.
template <int Dims>
struct NeighborWalk {
  const RbfTree& tree;
  int k;
  NearestKernels nearest;
  float last[Dims];

  FL_HD NeighborWalk(const RbfTree& tree_, int k_) : tree(tree_), k(k_) {
    nearest.k = k;
    nearest.found = 0;
    for (int axis = 0; axis < Dims; ++axis) last[axis] = 0.f;
  }
  // Writes the ids nearest to x, `stride` apart.
  FL_HD void find(const float* x, std::int32_t* ids, std::int64_t stride) {
    find_nearest<Dims>(tree, x, k, bound_from<Dims>(nearest, last, x), nearest);
    for (int axis = 0; axis < Dims; ++axis) last[axis] = x[axis];
    for (int j = 0; j < k; ++j) ids[j * stride] = j < nearest.found ? nearest.kernel[j] : -1;
  }
};

template <int Dims>
FL_HD void rbf_neighbors(const RbfNeighbors& a, std::int64_t begin, std::int64_t end) {
  NeighborWalk<Dims> walk(a.tree, a.k);
  for (std::int64_t i = begin; i < end; ++i) {
    float x[Dims];
    for (int axis = 0; axis < Dims; ++axis) x[axis] = clamp_to(a.x.at(i, axis), 0.f, 1.f);
    walk.find(x, &a.ids.at(i, 0), a.ids.stride_channel);
  }
}

#ifdef FL_ISA
}  // namespace FL_ISA
#endif

#define FL_WITH_DIMS(dims, BODY)                                      \
  if ((dims) == 2) { constexpr int Dims = 2; BODY; }                  \
  else { constexpr int Dims = 3; BODY; }

}  // namespace fieldlab
