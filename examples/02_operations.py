"""The operations on their own: native kernels and plain PyTorch behind one function, with derivatives.

python examples/02_operations.py
"""

import torch

from fieldlab.ops import native
from fieldlab.ops.composite import composite
from fieldlab.ops.hash_grid import HashGridSpec, hash_encode
from fieldlab.ops.march import march
from fieldlab.ops.mlp import MLPSpec, init_mlp, mlp
from fieldlab.ops.occupancy import pack_occupancy

torch.manual_seed(0)

# Fit a small encoding and perceptron to a ball's density, by the derivative of one with respect to the other.
grid = HashGridSpec(n_levels=6, log2_hashmap_size=12, base_resolution=8, per_level_scale=1.5)
net = MLPSpec(n_in=grid.n_out, n_out=1, width=32, n_hidden=1)
table = torch.zeros(grid.n_params).uniform_(-1e-2, 1e-2).requires_grad_()
params = init_mlp(net).requires_grad_()
optimizer = torch.optim.Adam([table, params], lr=1e-2)
for _ in range(200):
    x = torch.rand(4096, 3)
    inside = ((x - 0.5).norm(dim=-1) < 0.3).float()
    guess = mlp(hash_encode(x, table, grid), params, net)[:, 0]
    loss = torch.nn.functional.binary_cross_entropy_with_logits(guess, inside)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"fitted: loss {loss.item():.4f} after 200 steps")

# The same function by another backend: what the tests hold the kernels to.
x = torch.rand(1000, 3)
with torch.no_grad():
    fast = mlp(hash_encode(x, table, grid), params, net)
    with native.use_backend("reference"):
        slow = mlp(hash_encode(x, table, grid), params, net)
print(f"largest difference between native and reference: {(fast - slow).abs().max().item():.2e}")

# March rays through the occupied cells of a grid and composite what they see.
box = torch.tensor([[0.0, 0, 0], [1, 1, 1]])
axis = (torch.arange(32) + 0.5) / 32
cells = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)
occupied = pack_occupancy(((cells - 0.5).norm(dim=-1) < 0.33)[None], box)
origins = torch.tensor([[0.5, 0.5, -1.0], [0.9, 0.9, -1.0]])
directions = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
samples = march(origins, directions, torch.zeros(2), torch.full((2,), 3.0), occupied, step=0.01)
middles = (samples.t_starts + samples.t_ends) / 2
points = origins[samples.ray_indices] + middles[:, None] * directions[samples.ray_indices]
with torch.no_grad():
    density = 50 * mlp(hash_encode(points, table, grid), params, net)[:, 0].sigmoid()
seen = composite(density, points, samples)
depth = seen.depth / seen.opacity.clamp_min(1e-6)
print(f"a ray through the ball: opacity {seen.opacity[0]:.3f}, depth {depth[0]:.3f}")
print(f"one beside it: opacity {seen.opacity[1]:.3f}")
assert seen.opacity[0] > 0.99
assert abs(depth[0] - 1.2) < 0.05
assert seen.opacity[1] < 0.01
