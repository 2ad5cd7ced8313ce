"""Train a field on a scene that comes with fieldlab, measure it on views it has not seen, and write a picture.

python examples/01_train_and_render.py [--steps 500] [--out runs/example]
"""

import argparse
import dataclasses
from pathlib import Path

import imageio.v3 as imageio
import torch

from fieldlab.runs.config import RunConfig
from fieldlab.runs.folder import RunFolder
from fieldlab.runs.load import load_run
from fieldlab.synthetic import ProceduralOptions, load_procedural
from fieldlab.train.build import FieldChoice, choose_field, footprint_of
from fieldlab.train.config import TrainConfig
from fieldlab.train.metrics import psnr
from fieldlab.train.session import Session

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=500)
parser.add_argument("--size", type=int, default=128)
parser.add_argument("--samples-per-step", type=int, default=0, help="0: as many as suit the device")
parser.add_argument("--out", type=Path, default=Path("runs/example"))
args = parser.parse_args()

# A scene is photographs with cameras: train and test views, a box of interest, a background.
scene = load_procedural("robot", ProceduralOptions(n_train=40, n_test=4, size=args.size))
views = scene.splits["train"]
print(f"{scene.name}: {len(views)} training views, box {scene.aabb.tolist()}")

# Plain values describe a run. The field's sizes follow from the scene's pixels and the device.
device = torch.device("cpu")
train = TrainConfig(steps=args.steps, samples_per_step=args.samples_per_step, seed=1)
config = RunConfig("robot", choose_field(FieldChoice("hashgrid"), footprint_of(scene), 0, device), train)
print(config.field)

# A session trains and keeps the run folder up to date; events say how it goes.
run = RunFolder.create(args.out, config, overwrite=True)
with run.locked():
    session = Session(run, scene, config, device)
    for event in session.events():
        if event.step % 100 == 0:
            print(f"step {event.step}: {event.psnr:.1f} dB, {event.samples_per_s / 1e6:.2f} M samples/s")

# A run is loaded without its photographs.
model, info = load_run(args.out)
test = scene.splits["test"]
scores = []
for i in range(len(test)):
    photo = test.image(i).float() / 255
    truth = photo[..., :3] * photo[..., 3:] + (1 - photo[..., 3:])  # on white, as the model's background
    made = model.render_image(info.scene.cameras["test"], i, channels=("rgb", "depth"))
    scores.append(psnr(made["rgb"], truth))
picture = args.out / "renders" / "example.png"
picture.parent.mkdir(exist_ok=True)
imageio.imwrite(picture, (torch.cat([truth, made["rgb"]], 1) * 255).round().byte().numpy())
print(f"test PSNR {sum(scores) / len(scores):.2f} dB; photograph and render in {picture}")
print(dataclasses.asdict(info.config.train))
