"""A run as it was left: its model, ready to render, and what is known of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fieldlab.data.cameras import Cameras
from fieldlab.data.pose import PoseCorrections
from fieldlab.errors import CheckpointError, ConfigError
from fieldlab.fields.head import HeadConfig
from fieldlab.fields.registry import config_to_dict
from fieldlab.render.build import build_model
from fieldlab.render.model import ModelConfig, RadianceModel, config_dict
from fieldlab.runs.checkpoint import Checkpoint, load_arrays, load_model
from fieldlab.runs.config import RunConfig
from fieldlab.runs.folder import RunFolder
from fieldlab.runs.scene_record import SceneRecord
from fieldlab.runs.values import from_dict

GUIDES = ("content", "step_scale")  # settings of a model that only guide learning, or follow from it


@dataclass
class RunInfo:
    """What a run knows besides its model.

    Args:
        run: its folder.
        config: what it was made from.
        scene: where it came from, cameras (with the corrections of pose refinement) and names of its views.
        step, seconds: how long it was trained.
        psnr: over the last training rays in dB, or, of a distilled run, over rays of its teacher; None before the first
            step.
        held_out: PSNR in dB on the photographs that were held out of training for that; None without any.
        checkpoint: the file that was read.
    """

    run: RunFolder
    config: RunConfig
    scene: SceneRecord
    step: int
    seconds: float
    psnr: float | None
    held_out: float | None
    checkpoint: Path | None


def load_run(path: str | Path, device: torch.device | str = "cpu") -> tuple[RadianceModel, RunInfo]:
    """The best state of a run, ready to render; the photographs are not needed.

    Raises:
        RunFolderError: the folder is missing or is no run.
        ConfigError: it is of no scene.
        CheckpointError: there is no checkpoint, or it cannot be read.
    """
    run = RunFolder.open(path)
    config = run.config()
    _ = config.scene  # says it where there is none
    checkpoint = run.best_checkpoint()
    header = checkpoint.header
    try:
        model_config = stored_model(checkpoint)
        heads = [HeadConfig.from_dict(values) for values in header.get("heads", [])]
        scene, progress = SceneRecord.read(checkpoint), header["training"]["progress"]
        step, seconds = int(progress["step"]), float(progress["seconds"])
        held_out = None if progress.get("validation") is None else float(progress["validation"])
    except ConfigError as error:
        raise CheckpointError("a checkpoint holds an impossible configuration", file=checkpoint.path, found=error.what,
                              field=error.field) from error  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError("a checkpoint's header is incomplete", file=checkpoint.path, field=str(error)) from error
    model = build_model(config.field, model_config, seed=0)
    for head in heads:
        model.add_head(head)
    load_model(model, checkpoint)
    if "train" in scene.cameras and (corrections := checkpoint.part("poses")):
        scene.cameras["train"] = _corrected(scene.cameras["train"], corrections, model, checkpoint.path)
    rows = [row for row in run.metrics() if row.get("psnr") is not None and row.get("step", 0) <= step]
    psnr = float(rows[-1]["psnr"]) if rows else None
    info = RunInfo(run, config, scene, step, seconds, psnr, held_out, checkpoint.path)
    return model.to(device).eval().requires_grad_(False), info


def stored_model(checkpoint: Checkpoint) -> ModelConfig:
    """Box, steps and the like of the model in a checkpoint.

    Raises:
        CheckpointError: it has none.
        ConfigError: they make no sense.
    """
    values = checkpoint.header.get("model")
    if not isinstance(values, dict):
        raise CheckpointError("a checkpoint's header is incomplete", file=checkpoint.path, field="model")
    return from_dict(ModelConfig, values, "model", checkpoint.path)


def _corrected(cameras: Cameras, arrays: dict[str, Tensor], model: RadianceModel, path: Path | None) -> Cameras:
    corrections = PoseCorrections(len(cameras), model.field.unit_length)
    load_arrays(corrections, arrays, path)
    with torch.no_grad():
        poses = corrections(cameras.camera_to_world)
    return Cameras(poses, cameras.intrinsics, cameras.size, cameras.model, cameras.distortion)


def fingerprint(model: RadianceModel, scene: SceneRecord) -> str:
    """What a run is known by wherever it is: its field's and model's settings and its training cameras. What was learnt
    does not count, nor what only guides learning: a run that learnt for longer is the same."""
    settings = {name: value for name, value in config_dict(model.config).items() if name not in GUIDES}
    plain = json.dumps([config_to_dict(model.field.config), settings, scene.names], sort_keys=True)
    poses = scene.cameras["train"].camera_to_world.cpu().contiguous().numpy().tobytes()
    return hashlib.sha256(plain.encode() + poses).hexdigest()[:16]


def check_parent(config: RunConfig, model: RadianceModel, info: RunInfo) -> None:
    """Refuse to go on with a run that came from another one than ``info``'s.

    Raises:
        ConfigError: it did.
    """
    if config.parent_fingerprint != fingerprint(model, info.scene):
        raise ConfigError("the run to go on with was made from another one", field="parent",
                          found=f"{info.run.path}, of {info.scene.name}", expected=config.parent)  # fmt: skip
