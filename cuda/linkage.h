// Single linkage: a graph's points joined by its edges, the lightest first (Kruskal 1956), in two forms.
//
// The forest links the root of the smaller component to that of the larger one and never shortens paths, so that it is
// at most log2(n) deep, and the last edge on the path between two points is the largest one on the minimax path between
// them: the edge by which they came together. The dendrogram lists the joins: points are 0 to n - 1, join k makes n + k.
#pragma once
#include <cstdint>
#include <utility>
#include <vector>

#include "fields.h"

namespace fieldlab {

struct LinkageArgs {
  std::int64_t n_points, n_edges;
  const std::int64_t* order;        // edges, the lightest first
  const std::int64_t* first;        // [n_edges] points of an edge
  const std::int64_t* second;
  std::int64_t* parent;             // [n_points] in the forest, itself for roots
  std::int64_t* time;               // [n_points] place in the order of the edge to the parent, n_edges for roots
  std::int64_t* joined;             // [n_points - 1][2] of the dendrogram
  std::int64_t* joined_by;          // [n_points - 1] places in the order
};
FL_FIELDS(LinkageArgs, n_points, n_edges, order, first, second, parent, time, joined, joined_by)

// Returns how many joins there were: n_points - 1 where the graph is connected.
inline std::int64_t single_linkage(const LinkageArgs& a) {
  std::vector<std::int64_t> size(a.n_points, 1), node(a.n_points);
  for (std::int64_t i = 0; i < a.n_points; ++i) {
    a.parent[i] = node[i] = i;
    a.time[i] = a.n_edges;
  }
  const auto root = [&](std::int64_t i) {
    while (a.parent[i] != i) i = a.parent[i];
    return i;
  };
  std::int64_t joins = 0;
  for (std::int64_t k = 0; k < a.n_edges && joins + 1 < a.n_points; ++k) {
    const std::int64_t e = a.order[k];
    std::int64_t u = root(a.first[e]), v = root(a.second[e]);
    if (u == v) continue;
    a.joined[2 * joins] = node[u];
    a.joined[2 * joins + 1] = node[v];
    a.joined_by[joins] = k;
    if (size[u] < size[v]) std::swap(u, v);
    a.parent[v] = u;
    a.time[v] = k;
    size[u] += size[v];
    node[u] = a.n_points + joins++;
  }
  return joins;
}

}  // namespace fieldlab
