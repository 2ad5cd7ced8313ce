"""Train a field on a scene that comes with fieldlab, measure it on views it has not seen, and write a picture.

python examples/01_train_and_render.py [--steps 500] [--out runs/example]
"""

import argparse
from pathlib import Path

import torch

import fieldlab as fl
from fieldlab.pictures.sheets import beside, to_uint8, write_picture
from fieldlab.synthetic import ProceduralOptions, load_procedural
from fieldlab.training.evaluate import target_picture

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=500)
parser.add_argument("--size", type=int, default=128)
parser.add_argument("--samples-per-step", type=int, default=0, help="0: as many as suit the device")
parser.add_argument("--out", type=Path, default=Path("runs/example"))
args = parser.parse_args()

# A scene is photographs with cameras: train and test views, a box of interest, a background. fl.load_scene reads one
# from a folder, or by name; this one is made here, to be small.
scene = load_procedural("robot", ProceduralOptions(n_train=40, n_test=4, size=args.size))
print(f"{scene.name}: {len(scene.splits['train'])} training views, box {scene.aabb.tolist()}")


def tell(event) -> None:
    """Events say how training goes."""
    if event.step % 100 == 0:
        print(f"step {event.step}: {event.describe()}")


# The field's sizes follow from the scene's pixels and the device; everything that was chosen is in run.config.
run = fl.train(scene, "hashgrid", steps=args.steps, samples_per_step=args.samples_per_step, seed=1, out=args.out,
               overwrite=True, on_event=tell)  # fmt: skip
print(run.config.field)

# A run is a folder. It is opened again without its photographs.
run = fl.load_run(args.out)
test = scene.splits["test"]
made = run.render(run.cameras("test")[0], channels=("rgb", "depth"))
photograph = target_picture(test, 0, torch.ones(3))
picture = args.out / "renders" / "example.png"
write_picture(picture, beside([to_uint8(photograph), to_uint8(made.rgb)]))
scores = [(run.render(test.cameras[i]).rgb - target_picture(test, i, torch.ones(3))).square().mean() for i in range(4)]
psnr = sum(-10 * float(torch.log10(error)) for error in scores) / len(scores)
print(f"test PSNR {psnr:.2f} dB; photograph and render in {picture}")
