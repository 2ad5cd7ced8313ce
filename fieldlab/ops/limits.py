"""Sizes that the native kernels are compiled for; the build reads them here (see CMakeLists.txt)."""

MAX_ENCODERS = 6  # of a field in the fused renderer
MAX_BRANCHES = 4
MAX_HASH_LEVELS = 32
MAX_NEIGHBORS = 16  # kernels that one point sees
NODE_WIDTH = 16  # entries of a node in a tree of kernels
BRICK = 8  # vertices along a side of a brick of a sparse lattice
