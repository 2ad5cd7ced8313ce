"""Take away, move and copy an object of a trained field, distill each into two other kinds, and compare with the truth:
a procedural scene can be rendered as it would be with the object gone, moved or copied.

    python examples/05_edit_and_distill.py [--size 200 --views 60 --steps 1500 --student-steps 1000 --out runs/edits]
"""

import argparse
from pathlib import Path

import torch

import fieldlab as fl
from fieldlab.edit.editing import uncovered
from fieldlab.pictures.sheets import labeled, sheet, to_uint8, write_picture
from fieldlab.synthetic import ProceduralOptions, load_procedural, scene_model
from fieldlab.synthetic.rearrange import about, copied, moved, without
from fieldlab.synthetic.render import render_images
from fieldlab.training.metrics import psnr

parser = argparse.ArgumentParser()
parser.add_argument("--size", type=int, default=200, help="pixels of a picture's side")
parser.add_argument("--views", type=int, default=60, help="training views")
parser.add_argument("--steps", type=int, default=1500, help="training steps of the field that is edited")
parser.add_argument("--student-steps", type=int, default=1000)
parser.add_argument("--students", default="vm,voxel")
parser.add_argument("--samples-per-step", type=int, default=0, help="0: as many as suit the device")
parser.add_argument("--out", type=Path, default=Path("runs/edits"))
args = parser.parse_args()

# A field of the toys on their tray.
scene = load_procedural("toys", ProceduralOptions(n_train=args.views, n_test=6, size=args.size))
run = fl.train(scene, "hashgrid", steps=args.steps, samples_per_step=args.samples_per_step, out=args.out / "toys",
               overwrite=True, device="cpu")  # fmt: skip

# The ball, and what becomes of it: as an edit of the field, and as the scene it should look like. Onto the locomotive's
# roof it goes a little smaller; its copy lies in the middle of the tray, half as large.
x, y, z = ball = (-0.78, -0.48, 0.27)
toys = scene_model("toys")
ROOF, MIDDLE = (0.74, 0.06, 0.676), (0.4, 0.43, -0.135)
where = f"sphere {x} {y} {z} 0.276"
edits = {
    "removed": (f"remove {where}", without(toys, "ball")),
    "moved": (f"move {where} by {ROOF[0]} {ROOF[1]} {ROOF[2]} turn 0 0 1 90 scale 0.8",
              moved(toys, "ball", about(ball, 90, 0.8)(*ROOF))),
    "duplicated": (f"duplicate {where} by {MIDDLE[0]} {MIDDLE[1]} {MIDDLE[2]} scale 0.5",
                   copied(toys, "ball", about(ball, 0, 0.5)(*MIDDLE))),
}  # fmt: skip
cameras = scene.splits["test"].cameras
white = torch.ones(3)


def truth(of) -> list[torch.Tensor]:
    """Pictures of a scene as it really is."""
    rgba = render_images(of, cameras, range(len(cameras)))[0].view(-1, args.size, args.size, 4)
    return list(torch.lerp(white, rgba[..., :3], rgba[..., 3:]))


def renders(of: fl.Run) -> list[torch.Tensor]:
    """Pictures of a run."""
    return [of.render(cameras[i]).rgb for i in range(len(cameras))]


def mean_psnr(made, wanted) -> float:
    """Over all test views, in dB."""
    return sum(psnr(a, b) for a, b in zip(made, wanted, strict=True)) / len(made)


def tile(picture: torch.Tensor, text: str):
    return labeled(to_uint8(picture), text)


as_trained = renders(run)
print(f"as trained, against the photographs: {mean_psnr(as_trained, truth(toys)):.2f} dB")
view, table = 2, [tile(as_trained[2], "as trained")]
for name, (edit, real) in edits.items():
    edited = run.edit(edit, out=args.out / name, overwrite=True)
    behind = ""
    if name != "duplicated":
        found = uncovered(run.model, edited.model, scene.splits["train"].cameras, torch.Generator().manual_seed(0))
        behind = f"; behind it {found.nothing:.0%} nothing, {found.unseen:.0%} never photographed"
    wanted = truth(real)
    made = {"edited": renders(edited)}
    for student in args.students.split(","):  # ordinary fields that know nothing of the edits
        made[f"to {student}"] = renders(edited.distill(student, steps=args.student_steps, overwrite=True))
    scores = {kind: mean_psnr(pictures, wanted) for kind, pictures in made.items()}
    unedited = mean_psnr(as_trained, wanted)
    print(f"{name}, against the true scene: left as it was {unedited:.2f} dB, "
          + ", ".join(f"{kind} {score:.2f} dB" for kind, score in scores.items())
          + behind)  # fmt: skip
    tiles = [tile(pictures[view], f"{name}: {kind}") for kind, pictures in made.items()]
    table += [*tiles, tile(wanted[view], f"{name}: the truth")]
width = len(args.students.split(",")) + 2
rows = [table[:1], *(table[i : i + width] for i in range(1, len(table), width))]
write_picture(args.out / "edits.png", sheet(rows))
print(f"written to {args.out / 'edits.png'}")
