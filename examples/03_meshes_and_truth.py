"""From a trained run to a mesh, compared with the true surface, which the procedural scenes know exactly.

python examples/01_train_and_render.py --out runs/example
python examples/03_meshes_and_truth.py runs/example
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from fieldlab.mesh.surface.extract import extract_mesh
from fieldlab.mesh.write import write_mesh
from fieldlab.runs.load import load_run
from fieldlab.synthetic import ground_truth_sdf

parser = argparse.ArgumentParser()
parser.add_argument("run", type=Path, nargs="?", default=Path("runs/example"))
parser.add_argument("--resolution", type=int, default=128)
args = parser.parse_args()

model, info = load_run(args.run)
mesh, report = extract_mesh(model, cameras=info.scene.cameras["train"], resolution=args.resolution)
print(f"{len(mesh.vertices)} vertices, {len(mesh.faces)} triangles from the depth of {report.views} views")

out = args.run / "exports" / "example.glb"
write_mesh(out, mesh)  # in the units and axes of the cameras
print(f"written to {out}")

# How far the vertices are from the true surface, in cells of the extraction grid.
distance = ground_truth_sdf(info.scene.name)(torch.from_numpy(np.asarray(mesh.vertices)).float()).abs()
print(f"median distance to the true surface: {distance.median().item() / report.cell:.2f} cells")
