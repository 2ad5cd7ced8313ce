"""Random pixels over all training photographs, with their rays."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fieldlab.data.cameras import Cameras, Rays
from fieldlab.data.views import Views
from fieldlab.errors import DataError


@dataclass
class RayBatch:
    """R rays with what was photographed there; all on the training device.

    Args:
        rays: in the world.
        cameras: int64 [R] which photograph.
        rgb: float32 [R,3] sRGB in [0,1], straight.
        alpha: float32 [R,1], or None for photographs without.
    """

    rays: Rays
    cameras: Tensor
    rgb: Tensor
    alpha: Tensor | None

    def target(self, background: Tensor) -> Tensor:
        """The photographed color over ``background`` [R,3]."""
        if self.alpha is None:
            return self.rgb
        return torch.lerp(background, self.rgb, self.alpha)


class RayLoader:
    """Draws pixels uniformly over all training views; pixels stay 8-bit until they are drawn.

    Args:
        views: training photographs.
        device: where the batches shall be.
        memory: most bytes of the device the photographs may take; None for no limit. Photographs that do not fit stay
            in main memory and only the drawn pixels travel.

    Raises:
        DataError: there are no photographs, or every pixel is masked.
    """

    def __init__(self, views: Views, device: torch.device, memory: int | None = None) -> None:
        if len(views) == 0 or len(views.pixels) == 0:
            raise DataError("there are no training views", found=0, hint="check the split of the scene")
        self.device = device
        self.usable = _usable(views)
        resident = device.type != "cpu" and (memory is None or views.n_bytes() <= memory)
        self.store = views.to(device) if resident else views
        self.cameras: Cameras = self.store.cameras if resident else views.cameras.to(device)
        if resident and self.usable is not None:
            self.usable = self.usable.to(device)

    @property
    def n_pixels(self) -> int:
        """How many pixels can be drawn."""
        return len(self.store.pixels) if self.usable is None else len(self.usable)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Positions int64 [n] of random usable pixels, drawn with a CPU generator."""
        chosen = torch.randint(self.n_pixels, (n,), generator=generator)
        if self.usable is None:
            return chosen
        return self.usable[chosen.to(self.usable.device)]

    def batch(self, positions: Tensor, camera_to_world: Tensor | None = None) -> RayBatch:
        """The rays and colors of pixels.

        Args:
            positions: int64 [R] from :meth:`draw`.
            camera_to_world: [N,3,4] poses to use instead of the photographs' own.
        """
        positions = positions.to(self.store.pixels.device)
        pixels = self.store.pixels[positions].to(self.device)
        index, where = self.store.locate(positions)
        index, where = index.to(self.device), where.to(self.device)
        values = pixels.float().mul_(1.0 / 255.0)
        rays = self.cameras.rays(index, where, camera_to_world)
        alpha = values[:, 3:] if values.shape[1] == 4 else None
        return RayBatch(rays, index, values[:, :3], alpha)


def _usable(views: Views) -> Tensor | None:
    """Positions of the pixels that are not masked; None when all are usable."""
    if views.masks is None or bool(views.masks.all()):
        return None
    usable = views.masks.nonzero()[:, 0]
    if len(usable) == 0:
        raise DataError("the masks leave no pixel to train on", hint="masks are white where a pixel shall be used")
    return usable
