"""A picture that was rendered: its channels, a file of it, and how a notebook shows it."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from fieldlab.errors import ConfigError
from fieldlab.pictures.sheets import to_uint8, write_picture


@dataclass(frozen=True, repr=False)
class Picture:
    """Channels of one view, each float32 [H,W,C] as :meth:`RadianceModel.render_image` gives them."""

    channels: Mapping[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        """One channel.

        Raises:
            ConfigError: it was not rendered.
        """
        if name not in self.channels:
            raise ConfigError("the picture has no such channel", found=name, expected=", ".join(self.channels))
        return self.channels[name]

    def __repr__(self) -> str:
        height, width = next(iter(self.channels.values())).shape[:2]
        return f"<picture {width}x{height}: {', '.join(self.channels)}>"

    @property
    def rgb(self) -> Tensor:
        """float32 [H,W,3] in [0,1], sRGB."""
        return self["rgb"]

    def save(self, path: str | Path) -> Path:
        """Write the colors as .png, .jpg or .webp."""
        write_picture(path, self._pixels())
        return Path(path)

    def _pixels(self) -> np.ndarray:
        return to_uint8(self.rgb)

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        Image.fromarray(self._pixels()).save(file, "PNG")
        return file.getvalue()

    def html(self, rows: Sequence[tuple[str, str]] = ()) -> str:
        """The picture, with labels and values beside it, as HTML that needs no other file."""
        picture = base64.b64encode(self._repr_png_()).decode()
        cells = "".join(f"<tr><th>{html.escape(a)}</th><td>{html.escape(b)}</td></tr>" for a, b in rows)
        return (
            f'<div style="display:flex;gap:1em"><img src="data:image/png;base64,{picture}" alt="render">'
            f"<table>{cells}</table></div>"
        )
