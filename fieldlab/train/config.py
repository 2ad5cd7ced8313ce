"""What a run is made from, as plain values: stored as ``config.toml`` and in every checkpoint."""

from __future__ import annotations

import dataclasses
import math
import sys
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import tomli_w

from fieldlab.data.options import SceneOptions
from fieldlab.errors import ConfigError, require
from fieldlab.fields.base import FieldConfig
from fieldlab.fields.registry import config_from_dict, config_to_dict
from fieldlab.files import write_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")


@dataclass(frozen=True)
class TrainConfig:
    """How a field is trained. Zero or None stands for "chosen by device and scene"."""

    steps: int | None = None
    """Stop after so many steps."""
    seconds: float | None = None
    """Stop after so much training time (loading, evaluating and writing do not count)."""
    seed: int = 0
    samples_per_step: int = 0
    """Samples along rays that a step trains on; the number of rays follows."""
    learning_rate: float = 1e-2
    """Of Adam (beta 0.9 and 0.99, epsilon 1e-15: Müller et al. 2022, section 4)."""
    warmup_steps: int = 30
    final_learning_rate: float = 0.03
    """Last learning rate as a fraction of the first; the decay is exponential."""
    decay_start: float = 0.3
    """Fraction of training after which the learning rate decays."""
    loss: str = "mse"
    """mse or huber."""
    distortion: float = 0.0
    """Weight of the distortion loss (Barron et al. 2022, eq. 15) against floaters."""
    background: str = "random"
    """What pictures with alpha are composited on: random, white or black."""
    hull: bool = True
    """Start the occupancy grid from the visual hull of the alpha channels."""
    prune: bool = True
    """Find and drop samples behind the visible surface before training on the others."""
    occupancy_warmup: int = 256
    """Steps for which everything that can be occupied is taken to be."""
    occupancy_passes: int = 4
    """Places in each cell that are looked at then."""
    occupancy_every: int = 16
    """Steps between two updates of the occupancy grid."""
    pose_refinement: bool = False
    """Correct the camera poses while training (6D rotations, Zhou et al. 2019)."""
    appearance: int = 0
    """Values of the appearance vector that each photograph gets; 0 for none (Martin-Brualla et al. 2021)."""
    device_memory_gb: float | None = None
    """Most memory of the device that photographs may take; those that do not fit stay in main memory."""

    def __post_init__(self) -> None:
        require(self.steps is None or self.steps >= 0, "train.steps", self.steps, "0 or more")
        require(self.seconds is None or self.seconds >= 0, "train.seconds", self.seconds, "0 or more")
        require(self.samples_per_step >= 0, "train.samples_per_step", self.samples_per_step, "0 or more")
        require(0 < self.learning_rate < math.inf, "train.learning_rate", self.learning_rate, "above 0")
        require(self.loss in ("mse", "huber"), "train.loss", self.loss, "mse | huber")
        known = ("random", "white", "black")
        require(self.background in known, "train.background", self.background, " | ".join(known))
        require(self.distortion >= 0, "train.distortion", self.distortion, "0 or more")
        require(0 <= self.decay_start < 1, "train.decay_start", self.decay_start, "0 to 1")
        require(self.appearance >= 0, "train.appearance", self.appearance, "0 or more")
        require(self.occupancy_passes >= 1, "train.occupancy_passes", self.occupancy_passes, "1 or more")
        require(self.occupancy_every >= 1, "train.occupancy_every", self.occupancy_every, "1 or more")


@dataclass(frozen=True)
class RunConfig:
    """Everything a run is made from."""

    source: str
    """The scene as it was named: a folder, a TOML file or a procedural scene."""
    field: FieldConfig
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    scene: SceneOptions = dataclasses.field(default_factory=SceneOptions)
    teacher: str | None = None
    """The run whose field this one's was initialised from."""

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values without None."""
        teacher = {} if self.teacher is None else {"teacher": self.teacher}
        return {
            "source": self.source,
            **teacher,
            "field": config_to_dict(self.field),
            "train": to_dict(self.train),
            "scene": to_dict(self.scene),
        }

    @staticmethod
    def from_dict(values: dict[str, Any], file: Path | None = None) -> RunConfig:
        """The inverse of ``to_dict``.

        Raises:
            ConfigError: a section is missing, a key unknown or a value impossible.
        """
        if "kind" in values:
            raise ConfigError(
                "this run is a fitted signal, not a scene", file=file, field="kind", found=values["kind"],
                hint="its pictures, numbers and mesh are in its folder",
            )  # fmt: skip
        for name, kind in (("source", str), ("field", dict), ("train", dict)):
            if not isinstance(values.get(name), kind):
                raise ConfigError("a run configuration is incomplete", file=file, field=name, found=values.get(name))
        return RunConfig(
            source=values["source"],
            field=config_from_dict(values["field"]),
            train=from_dict(TrainConfig, values["train"], "train", file),
            scene=from_dict(SceneOptions, values.get("scene", {}), "scene", file),
            teacher=None if values.get("teacher") is None else str(values["teacher"]),
        )


class Stored(Protocol):
    """A configuration that can be written as nested plain values."""

    def to_dict(self) -> dict[str, Any]: ...


def write_config(path: Path, config: Stored) -> None:
    """Write ``config`` as TOML, whole or not at all."""
    write_text(path, tomli_w.dumps(config.to_dict()))


def read_config(path: Path) -> RunConfig:
    """Read what ``write_config`` wrote.

    Raises:
        ConfigError: the file is missing, not TOML, or not a run configuration.
    """
    return RunConfig.from_dict(read_toml(path), path)


def read_toml(path: Path) -> dict[str, Any]:
    """The values of a run's ``config.toml``.

    Raises:
        ConfigError: the file is missing or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError("a run configuration cannot be read", file=path, found=error.strerror) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("a run configuration is not TOML", file=path, found=error) from error


def to_dict(config: Any) -> dict[str, Any]:
    """Fields of a flat dataclass without those that are None; tuples become lists, as in TOML and JSON."""
    values = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items() if v is not None}


def from_dict(cls: type[T], values: dict[str, Any], section: str, file: Path | None = None) -> T:
    """A flat dataclass from plain values.

    Raises:
        ConfigError: a key is unknown or missing, or a value has the wrong type.
    """
    hints = typing.get_type_hints(cls)
    made = {}
    for name, value in values.items():
        if name not in hints:
            raise ConfigError(
                "there is no such setting", file=file, field=f"{section}.{name}", expected=", ".join(hints)
            )
        made[name] = _typed(value, hints[name], f"{section}.{name}", file)
    try:
        return cls(**made)
    except TypeError as error:
        raise ConfigError("a setting is missing", file=file, field=section, found=error) from error


def _typed(value: Any, hint: Any, name: str, file: Path | None) -> Any:
    allowed = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    for kind in allowed:
        if typing.get_origin(kind) is tuple and isinstance(value, (list, tuple)):
            inner = typing.get_args(kind)
            if Ellipsis in inner or len(inner) == len(value):
                return tuple(_typed(v, inner[0], name, file) for v in value)
        elif kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        elif isinstance(kind, type) and type(value) is kind:
            return value
    expected = getattr(hint, "__name__", str(hint))
    raise ConfigError("a setting has the wrong type", file=file, field=name, found=repr(value), expected=expected)
