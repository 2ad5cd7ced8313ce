"""A run as it was left: its model, ready to render, and what is known of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fieldlab.data.cameras import Cameras
from fieldlab.errors import CheckpointError, ConfigError
from fieldlab.fields.head import HeadConfig
from fieldlab.fields.registry import config_to_dict
from fieldlab.render.build import build_model
from fieldlab.render.model import ModelConfig, RadianceModel, config_dict
from fieldlab.runs.checkpoint import load_arrays, load_model
from fieldlab.runs.config import RunConfig, Stored, from_dict
from fieldlab.runs.folder import Run
from fieldlab.runs.scene_record import SceneRecord
from fieldlab.train.pose import PoseCorrections


def run_header(config: Stored, model: RadianceModel, training: dict[str, Any], scene: SceneRecord) -> dict[str, Any]:
    """Everything of a checkpoint that is no array."""
    return {
        "run": config.to_dict(),
        "model": config_dict(model.config),
        "heads": [model.head(name).config.to_dict() for name in model.heads],
        "training": training,
        "scene": scene.header(),
    }


@dataclass
class RunInfo:
    """What a run knows besides its model.

    Args:
        run: its folder.
        config: what it was made from.
        scene: where it came from, cameras (with the corrections of pose refinement) and names of its views.
        step, seconds: how long it was trained.
        psnr: over the last training rays in dB, None before the first step.
        checkpoint: the file that was read.
        distilled: whether it learnt from another field instead of photographs, and ``psnr`` is against that field.
    """

    run: Run
    config: RunConfig
    scene: SceneRecord
    step: int
    seconds: float
    psnr: float | None
    checkpoint: Path | None
    distilled: bool = False


def load_run(path: str | Path, device: torch.device | str = "cpu") -> tuple[RadianceModel, RunInfo]:
    """The newest state of a run, ready to render; the photographs are not needed.

    Raises:
        RunFolderError: the folder is missing or is no run.
        CheckpointError: there is no checkpoint, or it cannot be read.
    """
    run = Run.open(path)
    checkpoint = run.latest_checkpoint()
    header = checkpoint.header
    try:
        config = RunConfig.from_dict(header["run"], checkpoint.path)
        model_config = from_dict(ModelConfig, header["model"], "model", checkpoint.path)
        heads = [HeadConfig.from_dict(values) for values in header.get("heads", [])]
        scene, progress = SceneRecord.read(checkpoint), header["training"]["progress"]
        step, seconds = int(progress["step"]), float(progress["seconds"])
    except ConfigError as error:
        if error.field == "kind":  # not of a scene at all
            raise
        raise CheckpointError("a checkpoint holds an impossible configuration", file=checkpoint.path, found=error.what,
                              field=error.field) from error  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError("a checkpoint's header is incomplete", file=checkpoint.path, field=str(error)) from error
    model = build_model(config.field, model_config, seed=0)
    for head in heads:
        model.add_head(head)
    load_model(model, checkpoint)
    if "train" in scene.cameras and (corrections := checkpoint.part("poses")):
        scene.cameras["train"] = _corrected(scene.cameras["train"], corrections, model, checkpoint.path)
    rows = [row for row in run.metrics() if row.get("psnr") is not None and row.get("step", 0) <= step]
    psnr = float(rows[-1]["psnr"]) if rows else None
    distilled = "stage" in header["training"]["progress"]  # which a training run's progress lacks
    info = RunInfo(run, config, scene, step, seconds, psnr, checkpoint.path, distilled)
    return model.to(device).eval().requires_grad_(False), info


def _corrected(cameras: Cameras, arrays: dict[str, Tensor], model: RadianceModel, path: Path | None) -> Cameras:
    corrections = PoseCorrections(len(cameras), model.field.unit_length)
    load_arrays(corrections, arrays, path)
    with torch.no_grad():
        poses = corrections(cameras.camera_to_world)
    return Cameras(poses, cameras.intrinsics, cameras.size, cameras.model, cameras.distortion)


def fingerprint(model: RadianceModel, scene: SceneRecord) -> str:
    """What a run is known by wherever it is: its field's and model's settings and its training cameras."""
    plain = json.dumps([config_to_dict(model.field.config), config_dict(model.config), scene.names], sort_keys=True)
    poses = scene.cameras["train"].camera_to_world.cpu().contiguous().numpy().tobytes()
    return hashlib.sha256(plain.encode() + poses).hexdigest()[:16]
