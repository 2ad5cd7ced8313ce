"""Connected components, the same for faces of meshes, charts, and points of segments."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components


def components(count: int, pairs: NDArray[np.integer]) -> NDArray[np.int64]:
    """Which of the connected components, counted from zero, each of ``count`` things is in, int64 [count].

    Args:
        pairs: things that are connected, int [E,2]; a pair may be named more than once.
    """
    graph = coo_matrix((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    labels: np.ndarray = connected_components(graph, directed=False)[1].astype(np.int64)
    return labels
