"""Several representations of one scene, trained alike: what is left to train, and how good each is."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

import torch
from torch import Tensor

from fieldlab.data.scene import Scene
from fieldlab.data.views import Views
from fieldlab.errors import RunFolderError
from fieldlab.render.model import RadianceModel
from fieldlab.runs.config import RunConfig
from fieldlab.runs.folder import RunFolder
from fieldlab.runs.load import load_run
from fieldlab.runs.photographs import reload_views
from fieldlab.training.build import FieldChoice, new_train_config
from fieldlab.training.config import TrainConfig
from fieldlab.training.evaluate import ViewScore, evaluate_views, mean_score
from fieldlab.training.lpips import Lpips

TIMED_FRAMES = 5
Left = Literal["everything", "everything again", "the rest", "nothing"]


@dataclass(frozen=True)
class Entry:
    """One representation of a comparison.

    Args:
        name: as the command line spells it.
        folder: of its run.
        left: what there is to train.
    """

    name: str
    folder: Path
    left: Left


@dataclass(frozen=True)
class Row:
    """What is known of one representation."""

    field: str
    psnr: float
    ssim: float
    lpips: float | None
    seconds: float
    steps: int
    trainable: int
    fixed: int
    bytes: int
    frame_ms: float


@dataclass(frozen=True)
class Measured:
    """One representation's row, and the score, render and photograph of the views that are shown, by number."""

    row: Row
    shown: dict[int, tuple[ViewScore, Tensor, Tensor]]


def plan(
    choices: Sequence[FieldChoice], scene: Scene, out: Path, device: torch.device, *, seconds: float,
    seed: int, overwrite: bool,
) -> list[Entry]:  # fmt: skip
    """What is to be trained, each for so many ``seconds``, in folders of ``out``. Trains and writes nothing.

    Raises:
        ConfigError: a representation or its budget makes no sense.
        RunFolderError: a run with other settings is there, and is not to be overwritten.
    """
    entries = []
    for choice in choices:
        folder = out / re.sub(r"[^\w+-]", "_", choice.kind)
        wanted = new_train_config(scene, choice, device, seconds=seconds, seed=seed)
        entries.append(Entry(choice.kind, folder, what_is_left(folder, wanted, overwrite)))
    return entries


def what_is_left(folder: Path, wanted: RunConfig, overwrite: bool) -> Left:
    """How far a run is on the way to what is wanted.

    Raises:
        RunFolderError: it has other settings, and is not to be overwritten.
    """
    if not (folder / "config.toml").exists():
        return "everything"
    there = RunFolder.open(folder)
    if there.config().to_dict() != wanted.to_dict():
        if not overwrite:
            raise RunFolderError(
                "there is a run with other settings already", file=folder,
                hint="choose another --out, or give --overwrite to train it again",
            )  # fmt: skip
        return "everything again"
    if not there.checkpoints():  # interrupted before there was anything to go on from
        return "everything again"
    done = float(there.latest_checkpoint().header["training"]["progress"]["seconds"])
    return "nothing" if done >= (wanted.get(TrainConfig).seconds or 0) else "the rest"


def measure(
    entry: Entry, split: str, n_shown: int, device: torch.device, network: Lpips | None,
    tick: Callable[[int, int], object] = lambda done, total: None,
) -> Measured:  # fmt: skip
    """Render the views of a split and compare them with the photographs.

    Args:
        entry: a run that was trained.
        split: test or val.
        n_shown: how many views are kept to be shown, evenly chosen.
        device: where to render.
        network: for LPIPS, None to leave it out.
        tick: called with how many views are done and how many there are.
    """
    model, info = load_run(entry.folder, device)
    views = reload_views(info, split)
    frame = frame_seconds(model, views)
    count = min(n_shown, len(views))
    wanted = {round((i + 0.5) * len(views) / count - 0.5) for i in range(count)}
    scores, shown = [], {}
    for i, found in enumerate(evaluate_views(model, views, model.background(None), network)):
        scores.append(found[0])
        if i in wanted:
            shown[i] = found
        tick(i + 1, len(views))
    mean, field = mean_score(scores), model.field
    row = Row(
        entry.name, mean.psnr, mean.ssim, mean.lpips, info.seconds, info.step, field.n_parameters, field.n_fixed,
        field.n_bytes, 1e3 * frame,
    )  # fmt: skip
    return Measured(row, shown)


@torch.no_grad()
def frame_seconds(model: RadianceModel, views: Views) -> float:
    """The median time to render a view at its photograph's size, after one for warming up."""
    seconds = []
    for i in range(min(len(views), TIMED_FRAMES + 1)):
        start = time.perf_counter()
        model.render_image(views.cameras, i)["rgb"].cpu()
        seconds.append(time.perf_counter() - start)
    return median(seconds[1:] or seconds)
