"""What a fitted signal is made from, as plain values: stored as ``config.toml`` and in every checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from fieldlab.errors import ConfigError, require
from fieldlab.fields.base import FieldConfig
from fieldlab.fields.registry import config_from_dict, config_to_dict
from fieldlab.runs.config import from_dict, read_toml, to_dict

CROPS = ("none", "square")
SIGNS = ("closed", "filled", "winding")
MOST_PIXELS = 16384  # along a side


@dataclass(frozen=True)
class FitSettings:
    """How a signal is fitted."""

    steps: int | None = None
    """Stop after so many steps."""
    seconds: float | None = None
    """Stop after so much time of fitting alone."""
    seed: int = 0
    batch: int = 1 << 18
    """Points per step."""
    decoder_rate: float = 1e-2
    """First learning rate of the perceptron."""
    encoding_rate: float = 5e-3
    """First learning rate of the encoding."""
    final_rate: float = 0.01
    """Last learning rate as a fraction of the first; between them half a cosine."""

    def __post_init__(self) -> None:
        require(self.steps is None or self.steps >= 0, "fit.steps", self.steps, "0 or more")
        require(self.seconds is None or self.seconds >= 0, "fit.seconds", self.seconds, "0 or more")
        require(self.batch >= 1, "fit.batch", self.batch, "1 or more")
        require(self.decoder_rate > 0, "fit.decoder_rate", self.decoder_rate, "above 0")
        require(self.encoding_rate > 0, "fit.encoding_rate", self.encoding_rate, "above 0")
        require(0 < self.final_rate <= 1, "fit.final_rate", self.final_rate, "above 0, at most 1")


IMAGE_SETTINGS = FitSettings(steps=3500)
SDF_SETTINGS = {
    "cpu": FitSettings(steps=3000, batch=1 << 15, decoder_rate=2e-3, encoding_rate=1e-2, final_rate=0.01),
    "cuda": FitSettings(steps=20_000, decoder_rate=1e-3, encoding_rate=5e-3, final_rate=0.01),
}


@dataclass(frozen=True)
class ImageOptions:
    """Which image of a file is fitted."""

    kind: ClassVar[str] = "image"

    crop: str = "none"
    """none, or square: the largest square in the middle."""
    size: int | None = None
    """Make the longer side so many pixels (area average), after cropping."""

    def __post_init__(self) -> None:
        require(self.crop in CROPS, "signal.crop", self.crop, " | ".join(CROPS))
        fits = self.size is None or 1 <= self.size <= MOST_PIXELS
        require(fits, "signal.size", self.size, f"1 to {MOST_PIXELS} pixels")


@dataclass(frozen=True)
class SdfOptions:
    """Which signed distance of a mesh is fitted."""

    kind: ClassVar[str] = "sdf"

    sign: str = "closed"
    """closed: the mesh has to bound a volume; filled: its holes are filled with flat fans first;
    winding: inside is where the generalized winding number passes 1/2."""
    pool: int = 1 << 23
    """Points whose distances are computed beforehand; steps draw from them."""

    def __post_init__(self) -> None:
        require(self.sign in SIGNS, "signal.sign", self.sign, " | ".join(SIGNS))
        require(self.pool >= 8, "signal.pool", self.pool, "8 or more points")


SignalOptions = ImageOptions | SdfOptions
_KINDS: dict[str, type[ImageOptions] | type[SdfOptions]] = {o.kind: o for o in (ImageOptions, SdfOptions)}


@dataclass(frozen=True)
class FitConfig:
    """Everything a fitted signal is made from."""

    source: str
    """The file of the image or mesh."""
    field: FieldConfig
    signal: SignalOptions
    fit: FitSettings

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values without None."""
        return {
            "kind": self.signal.kind,
            "source": self.source,
            "field": config_to_dict(self.field),
            "signal": to_dict(self.signal),
            "fit": to_dict(self.fit),
        }

    @staticmethod
    def from_dict(values: dict[str, Any], file: Path | None = None) -> FitConfig:
        """The inverse of ``to_dict``.

        Raises:
            ConfigError: a section is missing, a key unknown or a value impossible.
        """
        if values.get("kind") not in _KINDS:
            raise ConfigError(
                "this run is not a fitted signal", file=file, field="kind", found=values.get("kind"),
                expected=" | ".join(_KINDS),
            )  # fmt: skip
        for name, kind in (("source", str), ("field", dict), ("signal", dict), ("fit", dict)):
            if not isinstance(values.get(name), kind):
                raise ConfigError("a run configuration is incomplete", file=file, field=name, found=values.get(name))
        return FitConfig(
            source=values["source"],
            field=config_from_dict(values["field"]),
            signal=from_dict(_KINDS[values["kind"]], values["signal"], "signal", file),
            fit=from_dict(FitSettings, values["fit"], "fit", file),
        )


def read_fit_config(path: Path) -> FitConfig:
    """Read what a run folder's ``config.toml`` says.

    Raises:
        ConfigError: the file is missing, not TOML, or not of a fitted signal.
    """
    return FitConfig.from_dict(read_toml(path), path)
