"""Parts of a trained field: from 2D masks that disagree to one tree, its labels in two views at three thresholds, a
part that is pointed at and taken away, and a GLB whose scene graph is the tree. Exact labels say how good it is.

    python examples/06_parts.py [--size 160 --views 40 --steps 1200 --segment-steps 250 --out runs/parts]
"""

import argparse
from pathlib import Path

import torch

import fieldlab as fl
from fieldlab.edit.editing import edited_model
from fieldlab.export.parts import leaves_of_faces, write_parts
from fieldlab.mesh.surface.extract import extract_mesh
from fieldlab.pictures.sheets import labeled, sheet, to_uint8, write_picture
from fieldlab.segment.evaluate import evaluate
from fieldlab.segment.finder import finder
from fieldlab.segment.segmentation import Segmentation
from fieldlab.synthetic import ProceduralOptions, load_procedural, write_dataset

parser = argparse.ArgumentParser()
parser.add_argument("--size", type=int, default=160, help="pixels of a picture's side")
parser.add_argument("--views", type=int, default=40, help="training views")
parser.add_argument("--steps", type=int, default=1200, help="training steps of the radiance field")
parser.add_argument("--segment-steps", type=int, default=250)
parser.add_argument("--segment-pixels", type=int, default=4096, help="of one photograph per step")
parser.add_argument("--resolution", type=int, default=160, help="of the mesh")
parser.add_argument("--samples-per-step", type=int, default=0, help="0: as many as suit the device")
parser.add_argument("--out", type=Path, default=Path("runs/parts"))
args = parser.parse_args()

# A radiance field, and masks of its photographs as a segmenter might make them, in a folder.
options = ProceduralOptions(n_train=args.views, n_test=4, size=args.size)
write_dataset("toys", args.out / "data", options)
scene = load_procedural("toys", options)
train, test = scene.splits["train"], scene.splits["test"]
run = fl.train(scene, "hashgrid", steps=args.steps, samples_per_step=args.samples_per_step, out=args.out / "toys",
               overwrite=True, device="cpu")  # fmt: skip

# Features that say which points belong together, learnt from the masks; then the tree.
segmented = run.segment(
    args.out / "data" / "masks", steps=args.segment_steps, pixels=args.segment_pixels, overwrite=True
)
segmentation, _ = Segmentation.load(segmented.path)
model, tree = segmentation.model, segmentation.hierarchy
print(f"{len(tree.ids)} nodes over {len(tree.points):,} points; the root's children: {len(tree.children(0))}")

# How good it is: labels that nothing was learnt from.
thresholds = tree.thresholds(20)
scores = evaluate(lambda i: segmentation.labels(test.cameras, i, thresholds).numpy(), test.cameras, test.names,
                  args.out / "data" / "labels" / "test")  # fmt: skip
print(f"normalized covering: {scores['nc'].mean:.3f}, view consistency: {scores['vc'].mean:.3f}")

# Two views at three thresholds; a node has one color in all of them.
color_of = torch.zeros(int(tree.ids.max()) + 2, 3, dtype=torch.uint8)
color_of[tree.ids.long()] = tree.colors
rows = []
for view in (0, 1):
    photograph = to_uint8(model.render_image(test.cameras, view, background=torch.ones(3))["rgb"])
    cuts = [color_of[layer.long()] for layer in segmentation.labels(test.cameras, view, tree.thresholds(4)[1:])]
    rows.append([labeled(photograph, "field"), *(labeled(cut, "parts") for cut in cuts)])
write_picture(args.out / "parts.png", sheet(rows))

# The part in the middle of the first view at a fine threshold, and the scene without it.
chosen = segmentation.at_pixel(test.cameras, 0, args.size / 2, args.size / 2, float(tree.thresholds(4)[1]))
assert chosen is not None
print(f"in the middle: part {chosen.node}, with {len(chosen.children)} children, below part {chosen.parent}")

without = edited_model(model, [f"remove part {chosen.node}"], torch.Generator().manual_seed(0), finder(tree))
shown = without.render_image(test.cameras, 0, background=torch.ones(3))["rgb"]
write_picture(args.out / "without.png", to_uint8(shown))

mesh, _ = extract_mesh(model, cameras=train.cameras, resolution=args.resolution)
write_parts(args.out / "parts.glb", mesh, leaves_of_faces(mesh, segmentation.labeler), tree)
print(f"written to {args.out}: parts.png, without.png, parts.glb")
