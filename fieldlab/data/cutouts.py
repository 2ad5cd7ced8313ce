"""Views that show one object and nothing else: which pixels are of it, however it was cut out.

An alpha channel says so itself. Masks may as well mark people who walked by or the rim of a lens, and dark borders may
be what undistortion left: masks and plain backgrounds cut an object out only if what is left keeps away from the
borders of nearly all pictures, is no more than most of each, and does not look the same in all of them. Whether it is
one object in space is asked of its visual hull, see :mod:`fieldlab.data.bounds`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d

from fieldlab.data.background import background_name
from fieldlab.data.hull import chosen_views, has_transparency, opaque
from fieldlab.data.views import Views

LEVELS = {"white": 255, "black": 0}
NEARLY_ALL = 0.9  # of the views
BORDER = 0.01  # width of a picture's border as a share of its shorter side
WIDE = 0.125  # the same where a black rim that undistortion left must not decide
TOLERANCE = (6, 24)  # levels that a plain background is off white or black: least that is taken, most allowed
PLAIN_BORDER = 0.05  # share of a border that may show an object before a plain background
MASKED_BORDER = 0.25  # the same for masks, which reach there where an object is not all in the picture
SHARE = (0.002, 0.7)  # of a picture, that an object takes in the middle of the views
ALIKE = 0.8  # overlap of what all views show, above which it is of the lens
DARK = 64  # levels that the middle one along borders has at most where surroundings are unlit
SPECKLE = 3  # pixels of 3x3 that differ from the background before they count as more than noise


@dataclass(frozen=True)
class Cutout:
    """How views show an object alone.

    Args:
        kind: 'alpha', 'masks', or 'white' or 'black' where opaque photographs have such a background.
        tolerance: levels of 255 by which the background differs from that color.
    """

    kind: str
    tolerance: int = 0

    @property
    def background(self) -> str | None:
        """The color of a plain background, 'white' or 'black'; None where pixels were cut out."""
        return self.kind if self.kind in LEVELS else None

    def shown(self, views: Views, i: int) -> Tensor:
        """bool [H,W] on the CPU: pixels of view ``i`` that are of the object, or may be."""
        if self.kind == "alpha":
            return opaque(views, i)
        mask = views.mask(i)
        if self.kind == "masks":
            assert mask is not None
            return mask.cpu()
        differs = _deviation(views.image(i), self.kind).cpu() > self.tolerance
        differs &= avg_pool2d(differs[None, None].float(), 3, 1, 1)[0, 0] > (SPECKLE - 0.5) / 9
        return _without_holes(differs if mask is None else differs | ~mask.cpu())


def find_cutout(views: Views) -> Cutout | None:
    """How the views show an object alone; None when they show more, or nobody can tell."""
    if has_transparency(views):
        return Cutout("alpha")
    chosen = chosen_views(len(views))
    if views.masks is not None and _is_object(views, chosen, masks := Cutout("masks"), MASKED_BORDER):
        return masks
    plain = _plain(views, chosen)
    return plain if plain is not None and _is_object(views, chosen, plain, PLAIN_BORDER) else None


def dark_surroundings(views: Views) -> str | None:
    """The color of what surrounds the middle of the pictures, where next to no light comes from there, as with a flash
    in the dark; None elsewhere.

    Such surroundings are no cutout, since something of them shows. But what is nearly black looks the same wherever on
    a ray it is, and learnt as a thing it comes to lie in front of cameras in whose place no photograph was taken.
    """
    found = []
    for i in chosen_views(len(views)):
        channels = [_border(channel, WIDE).float().median() for channel in views.image(i)[..., :3].unbind(-1)]
        found.append(torch.stack(channels).cpu())
    dark = [float(color.max()) <= DARK for color in found]
    if not dark or float(np.mean(dark)) < NEARLY_ALL:
        return None
    red, green, blue = torch.stack(found).median(0).values.round().int().tolist()
    return background_name(red, green, blue)


def _plain(views: Views, chosen: list[int]) -> Cutout | None:
    """The white or black that nearly all pixels along the borders of nearly all views have; None without."""
    for color in LEVELS:
        spreads: list[float] = []
        for seen, i in enumerate(chosen, 1):
            border = _border(_deviation(views.image(i), color)).cpu().numpy()
            if np.quantile(border, 1 - PLAIN_BORDER) <= TOLERANCE[1]:
                spreads.append(float(np.quantile(border, 0.95)))
            if seen - len(spreads) > (1 - NEARLY_ALL) * len(chosen):
                break
        else:
            if spreads:
                return Cutout(color, int(np.clip(np.ceil(1.5 * np.median(spreads)), *TOLERANCE)))
    return None


def _is_object(views: Views, chosen: list[int], cutout: Cutout, border: float) -> bool:
    """Whether what is shown may be an object in the middle of the pictures, of which ``border`` may touch it."""
    clear, shares, common, ever = 0, [], torch.ones(32, 32), torch.zeros(32, 32)
    for seen, i in enumerate(chosen, 1):
        shown = cutout.shown(views, i).float()
        clear += float(_border(shown).mean()) <= border
        if seen - clear > (1 - NEARLY_ALL) * len(chosen):
            return False
        shares.append(float(shown.mean()))
        small = adaptive_avg_pool2d(shown[None, None], 32)[0, 0]
        common, ever = torch.minimum(common, small), torch.maximum(ever, small)
    alike = len(chosen) > 1 and float(common.sum()) > ALIKE * float(ever.sum())
    return bool(shares) and SHARE[0] < float(np.median(shares)) < SHARE[1] and not alike


def _deviation(image: Tensor, color: str) -> Tensor:
    """uint8 [H,W]: how far the channel that differs most is from a color, of uint8 [H,W,3|4]."""
    return image[..., :3].amax(-1) if color == "black" else 255 - image[..., :3].amin(-1)


def _border(picture: Tensor, share: float = BORDER) -> Tensor:
    """The pixels [B] along the borders of [H,W], a ``share`` of its shorter side wide."""
    width = max(1, round(share * min(picture.shape)))
    sides = (picture[:width], picture[-width:], picture[:, :width], picture[:, -width:])
    return torch.cat([side.reshape(-1) for side in sides])


def _without_holes(shown: Tensor) -> Tensor:
    """bool [H,W] with holes filled: an eye socket or a highlight may have the color of the background."""
    labels, _ = ndimage.label(~shown.numpy())
    outside = np.unique(_border(torch.from_numpy(labels)).numpy())
    return torch.from_numpy(~np.isin(labels, outside[outside > 0]))
