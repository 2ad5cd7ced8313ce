"""Every representation behind one interface: sizes under one budget, and a field that is told where to look.

python examples/01_train_and_render.py --out runs/example
python examples/04_representations.py runs/example [--params 200000]
"""

import argparse
from pathlib import Path

import torch

from fieldlab.fields.kinds import kinds
from fieldlab.fields.registry import build_field, config_from_dict, config_named, config_to_dict
from fieldlab.runs.load import load_run

parser = argparse.ArgumentParser()
parser.add_argument("run", type=Path)
parser.add_argument("--params", type=int, default=200_000)
args = parser.parse_args()

# A configuration is plain values; a budget chooses resolutions, ranks, table size or numbers of kernels. Joined by +,
# densities and latents of fields are added; joined by :, one perceptron reads their encodings side by side.
for name in (*kinds(), "vm+hashgrid", "hashgrid:neurbf"):
    config = config_named(name).fitted_to(args.params)
    assert config_from_dict(config_to_dict(config)) == config
    size = config.size()
    print(f"{name:<16} {size.trainable:>9,} trained {size.fixed:>9,} fixed {size.n_bytes / 1e6:6.2f} MB")

# All fields answer the same questions, differentiably.
model, info = load_run(args.run)
teacher = model.field
field = build_field(config_named("neurbf").fitted_to(args.params), teacher.unit_length)
x = torch.rand(1000, 3, requires_grad=True)
directions = torch.nn.functional.normalize(torch.randn(1000, 3), dim=1)
for f in (teacher, field):
    log_density, latent = f.geometry(x)
    color = f.color(latent, x, directions)
    (slope,) = torch.autograd.grad(log_density.sum(), x)
    print(f"{f.kind}: density {f.sigma(log_density).mean():.3g}, color {tuple(color.shape)}, slope {slope.norm():.3g}")

# Radial bases are placed where a trained field of any kind is opaque and changes.
field.begin_from(teacher, model.occupied, torch.Generator().manual_seed(0))
kernels = field.kernels
centers = kernels.centers[kernels.index_order[kernels.index_order >= 0].long()]
at_centers = teacher.density(centers).median()
anywhere = teacher.density(torch.rand(len(centers), 3)).median()
print(f"{len(centers)} kernels: teacher's density {at_centers:.3g} at them, {anywhere:.3g} anywhere")
