"""What a fitted signal is made from, as plain values: stored as ``config.toml`` and in every checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

from fieldlab.errors import require
from fieldlab.runs.config import RunConfig
from fieldlab.runs.kinds import RunKind

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

    sign: str = "closed"
    """closed: the mesh has to bound a volume; filled: its holes are filled with flat fans first;
    winding: inside is where the generalized winding number passes 1/2."""
    pool: int = 1 << 23
    """Points whose distances are computed beforehand; steps draw from them."""

    def __post_init__(self) -> None:
        require(self.sign in SIGNS, "signal.sign", self.sign, " | ".join(SIGNS))
        require(self.pool >= 8, "signal.pool", self.pool, "8 or more points")


SignalOptions = ImageOptions | SdfOptions

_SAYS = "is a fitted signal, not a scene"
IMAGE = RunKind("image", "fieldlab fit image", {"signal": ImageOptions, "fit": FitSettings}, ("scores.json",), _SAYS)
SDF = RunKind("sdf", "fieldlab fit sdf", {"signal": SdfOptions, "fit": FitSettings}, ("scores.json",), _SAYS)


def signal_of(config: RunConfig) -> SignalOptions:
    """Which signal a run was fitted to.

    Raises:
        ConfigError: it is no fitted signal.
    """
    return config.get(ImageOptions) if config.kind == IMAGE.name else config.get(SdfOptions)
