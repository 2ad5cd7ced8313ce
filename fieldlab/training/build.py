"""From a scene and settings to a model: everything that is chosen by looking at the scene, in one place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fieldlab.data.cameras import Cameras
from fieldlab.data.scene import Scene
from fieldlab.errors import ConfigError, DataError
from fieldlab.fields.base import FieldConfig
from fieldlab.fields.registry import config_named, with_settings
from fieldlab.render.model import ModelConfig, diagonal
from fieldlab.runs.config import RunConfig
from fieldlab.training.config import TRAINED, TrainConfig

DEFAULT_SECONDS = {"cpu": 300.0, "cuda": 120.0}
CASCADES = 5  # of unbounded scenes: 16 times the box
CONE_ANGLE = 1.0 / 128.0
EMPTY = 0.003  # weight of opacity where surroundings are the background
GRID_RESOLUTIONS = (128, 64, 32)  # of occupancy
STEPS_UNBOUNDED = 512  # along the diagonal of the box
STEPS_BOUNDED = (256, 1024)
PIXELS_PER_STEP = 1.2  # finer steps cost rays per second and gain nothing


@dataclass(frozen=True)
class FieldChoice:
    """What a person may say about the field; the scene decides the rest."""

    kind: str = "hashgrid"
    """A representation, or several joined as :func:`fieldlab.fields.registry.config_named` says."""
    settings: tuple[str, ...] = ()
    """Settings of it, ``name=value``, see :func:`fieldlab.fields.registry.with_settings`."""
    n_parameters: int | None = None
    """Largest number of trainable values."""
    n_bytes: int | None = None
    """Most bytes of the field, everything fixed included."""


def new_train_config(
    scene: Scene,
    choice: FieldChoice,
    device: torch.device,
    *,
    steps: int | None = None,
    seconds: float | None = None,
    samples_per_step: int = 0,
    teacher: str | Path | None = None,
    **settings: Any,
) -> RunConfig:
    """What a new run on a scene is made from.

    Args:
        scene: the scene as it was read; where and how is kept, to read it again.
        choice: the field.
        device: where it is trained.
        steps, seconds: limits; what suits the device with neither.
        samples_per_step: 0 chooses by representation and device.
        teacher: run of the same scene where the field begins.
        settings: more of :class:`TrainConfig`; None leaves the choice to representation and scene.

    Raises:
        ConfigError: settings that make no sense.
    """
    if steps is None and seconds is None:
        seconds = DEFAULT_SECONDS[device.type]
    named = config_named(choice.kind)
    recipe = dict(named.recipe)
    if samples_per_step:
        recipe["samples_per_step"] = samples_per_step
    if scene.unbounded:
        recipe["distortion"] = named.distortion
        if scene.plain:
            recipe["opacity"] = EMPTY
    chosen = {name: value for name, value in settings.items() if value is not None}
    train = TrainConfig(steps=steps, seconds=seconds, **{**recipe, **chosen})
    field = choose_field(choice, footprint_of(scene), train.appearance, device)
    parent = None if teacher is None else str(Path(teacher).resolve())
    return RunConfig(TRAINED.name, scene.source, field, (train, scene.options), parent)


def choose_field(choice: FieldChoice, footprint: float, appearance: int, device: torch.device) -> FieldConfig:
    """The field's configuration: detail as fine as the photographs' pixels, size by budget or device.

    Args:
        choice: what a person says.
        footprint: pixels that the side of the field's cube spans, see :func:`cells_per_side`.
        appearance: values per photograph, 0 for none.
        device: where it is trained.
    """
    config = config_named(choice.kind)
    config = config.fitted_to_footprint(footprint)
    config = with_settings(config.fitted_to_device(device.type), choice.settings)
    if appearance:
        config = config.with_appearance(appearance)
    if choice.n_parameters is not None:
        config = config.fitted_to(choice.n_parameters)
    if choice.n_bytes is not None:
        config = fitted_to_bytes(config, choice.n_bytes)
    return config


def fitted_to_bytes(config: FieldConfig, n_bytes: int) -> FieldConfig:
    """The same configuration with the largest capacity that takes at most ``n_bytes``.

    Raises:
        ConfigError: even the smallest is larger, or this field has no size to choose.
    """
    low, high = config.least_size(), n_bytes // 4  # trainable values
    best = config.fitted_to(low)
    if best.size().n_bytes > n_bytes:
        raise ConfigError(
            f"the budget is smaller than the smallest {config.kind} field", field="megabytes", found=n_bytes / 1e6,
            expected=f"at least {best.size().n_bytes / 1e6:.4f}",
        )  # fmt: skip
    while low < high:
        middle = (low + high + 1) // 2
        candidate = config.fitted_to(middle)
        if candidate.size().n_bytes <= n_bytes:
            best, low = candidate, middle
        else:
            high = middle - 1
    return best


def choose_model(scene: Scene, train: TrainConfig) -> ModelConfig:
    """Step, cascades and box of the model, and cells of its occupancy grid no finer than pixels are."""
    cascades = CASCADES if scene.unbounded else 1
    return ModelConfig(
        aabb=tuple(scene.aabb.flatten().tolist()),
        step=diagonal(scene.aabb) / steps_along_diagonal(scene),
        near=float(scene.near),
        content=float(scene.content),
        unbounded=scene.unbounded,
        cone_angle=CONE_ANGLE if scene.unbounded else 0.0,
        cascades=cascades,
        grid_resolution=next((n for n in GRID_RESOLUTIONS if n <= footprint_of(scene)), GRID_RESOLUTIONS[-1]),
        background=scene.background,
        n_images=len(scene.splits["train"]) if train.appearance else 0,
    )


def training_views(scene: Scene) -> None:
    """Check that there is something to train on.

    Raises:
        DataError: the scene has no training views.
    """
    if "train" not in scene.splits or len(scene.splits["train"]) == 0:
        raise DataError(
            "the scene has no training views", file=scene.source, field="train", found=0,
            hint="check the list of frames, or hold out fewer views",
        )  # fmt: skip


def steps_along_diagonal(scene: Scene) -> float:
    """Steps about as long as a pixel is wide where the scene is; with a cone, which lengthens them, a fixed number."""
    if scene.unbounded:
        return STEPS_UNBOUNDED
    side = float((scene.aabb[1] - scene.aabb[0]).max())
    wanted = diagonal(scene.aabb) / side * footprint_of(scene) / PIXELS_PER_STEP
    return min(max(wanted, STEPS_BOUNDED[0]), STEPS_BOUNDED[1])


def footprint_of(scene: Scene) -> float:
    """:func:`cells_per_side` of a scene's training photographs."""
    return cells_per_side(scene.splits["train"].cameras, scene.aabb, scene.unbounded)


def cells_per_side(cameras: Cameras, aabb: Tensor, unbounded: bool) -> float:
    """How many pixels of a typical photograph the side of the field's unit cube spans, seen from there."""
    center = aabb.mean(0)
    distance = (cameras.origins - center).norm(dim=-1)
    side = float((aabb[1] - aabb[0]).max()) * (2 if unbounded else 1)
    # From inside the box content is about as near as the box is wide.
    distance = distance.clamp_min(side / 4)
    pixels: Tensor = cameras.intrinsics[:, :2].mean(-1) * side / distance
    return float(pixels.median()) if math.isfinite(float(pixels.median())) else 1024.0
