"""From what rays saw to a picture: one function for every channel, and comparisons of two runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from fieldlab.pictures.colormap import color_depth, color_normals, color_opacity, heat
from fieldlab.pictures.sheets import depth_legend, error_legend
from fieldlab.segment.hierarchy import Hierarchy
from fieldlab.view.display import DisplaySettings
from fieldlab.view.pixels import Pixels
from fieldlab.view.shown_run import ShownRun

MOST_SAMPLES = 64.0  # of a ray that is lightest
GRAY = 0.55  # of what no photograph can say anything about
SAME_DEPTH = 0.03  # share of its distance by which a point may be behind what a photograph's camera sees
LEGEND_HEIGHT = 140


def paint(pixels: Pixels, run: ShownRun, display: DisplaySettings) -> Tensor:
    """The picture float32 [H,W,3] that the settings ask for."""
    return PAINTERS[display.channel](pixels, run, display)


def _background(pixels: Pixels, display: DisplaySettings) -> Tensor:
    return torch.tensor(display.background, device=pixels.rgb.device)


def color(pixels: Pixels, run: ShownRun, display: DisplaySettings) -> Tensor:
    """As a camera would see it; chosen segments stand out."""
    made = pixels.rgb + (1 - pixels.opacity)[..., None] * _background(pixels, display)
    if display.chosen and run.hierarchy is not None:
        rows = run.hierarchy.below(run.hierarchy.row_of(i) for i in display.chosen)
        leaf = leaves(pixels, run)
        stands_out = (rows[leaf.clamp_min(0)] & (leaf >= 0)).to(made.device)
        made = torch.where(stands_out[..., None], 0.5 * made + 0.5 * made.new_tensor((1.0, 0.55, 0.0)), made)
    return made.clamp(0, 1)


def depth(pixels: Pixels, run: ShownRun, display: DisplaySettings) -> Tensor:
    """Distance along the ray, near red and far blue."""
    return color_depth(pixels.depth, pixels.opacity, run.depth_scale, _background(pixels, display))


def normals(pixels: Pixels, run: ShownRun, display: DisplaySettings) -> Tensor:
    """World normals as (n + 1) / 2."""
    return color_normals(pixels.normals, pixels.opacity, _background(pixels, display))


def opacity(pixels: Pixels, run: ShownRun, display: DisplaySettings) -> Tensor:
    """From black for nothing to white."""
    return color_opacity(pixels.opacity)


def samples(pixels: Pixels, run: ShownRun, display: DisplaySettings) -> Tensor:
    """How many samples every ray cost."""
    return heat(pixels.cost / MOST_SAMPLES)


def features(pixels: Pixels, run: ShownRun, display: DisplaySettings) -> Tensor:
    """The main directions of the features of what is seen."""
    return _over(pixels, run.feature_colors(pixels.points), display)


def segments(pixels: Pixels, run: ShownRun, display: DisplaySettings) -> Tensor:
    """The segments at the threshold, tinted over the colors; chosen ones as they are."""
    tree = run.hierarchy
    if tree is None:
        return color(pixels, run, display)
    leaf = leaves(pixels, run)
    tint = palette_at(tree, display.threshold, display.chosen).to(pixels.rgb.device)[leaf.clamp_min(0)]
    plain = pixels.rgb + (1 - pixels.opacity)[..., None] * _background(pixels, display)
    shade = plain.mean(2, keepdim=True) * 0.6 + 0.4  # so that shapes stay visible
    share = torch.where(leaf >= 0, display.tint, 0.0).to(plain)[..., None]
    if display.chosen:
        rows = tree.below(tree.row_of(i) for i in display.chosen)
        stands_out = (rows[leaf.clamp_min(0)] & (leaf >= 0)).to(plain.device)[..., None]
        share = torch.where(stands_out, 1.0, share * 0.5)
    return torch.lerp(plain, tint * shade, share).clamp(0, 1)


def error(pixels: Pixels, run: ShownRun, display: DisplaySettings) -> Tensor:
    """Difference to the photograph from nearest by, where it shows the same surface; gray elsewhere."""
    view = nearest_view(pixels, run)
    photograph = run.photograph(view)
    made = torch.full((*pixels.shape, 3), GRAY, device=pixels.rgb.device)
    if photograph is None:
        return made
    truth, known = project_photograph(pixels, run, view, photograph.to(pixels.rgb.device))
    mine = (pixels.rgb / pixels.opacity.clamp_min(1e-6)[..., None]).view(-1, 3)[pixels.hit]
    wrong = heat((mine - truth).square().mean(1).sqrt() * display.gain)
    flat = made.view(-1, 3)
    flat[pixels.hit.nonzero()[:, 0][known]] = wrong[known]
    return made


PAINTERS: Mapping[str, Callable[[Pixels, ShownRun, DisplaySettings], Tensor]] = {
    "color": color, "depth": depth, "normals": normals, "opacity": opacity, "samples": samples, "features": features,
    "segments": segments, "error": error,
}  # fmt: skip


def channels_of(run: ShownRun) -> tuple[str, ...]:
    """Those that there is something to see in."""
    lacking = set()
    if not run.model.heads:
        lacking.add("features")
    if run.hierarchy is None:
        lacking.add("segments")
    return tuple(name for name in PAINTERS if name not in lacking)


def difference(first: Pixels, second: Pixels, display: DisplaySettings) -> Tensor:
    """Where two runs differ: root mean square over channels, times the gain."""
    back = _background(first, display)
    a, b = (pixels.rgb + (1 - pixels.opacity)[..., None] * back for pixels in (first, second))
    return heat((a - b).square().mean(2).sqrt() * display.gain)


def legend(run: ShownRun, display: DisplaySettings) -> np.ndarray | None:
    """The scale of a channel's colors, uint8 [h,w,3]; None where colors are no quantity."""
    if display.compare == "difference" or display.channel == "error":
        return error_legend(LEGEND_HEIGHT, 1 / display.gain)
    if display.channel == "depth":
        return depth_legend(LEGEND_HEIGHT, run.depth_scale)
    if display.channel == "samples":
        return error_legend(LEGEND_HEIGHT, MOST_SAMPLES)
    return None


def leaves(pixels: Pixels, run: ShownRun) -> Tensor:
    """int64 [H,W]: row of the finest segment that each pixel shows, -1 for none; found once per picture."""
    if pixels.leaf is None:
        assert run.labeler is not None
        found = torch.full((pixels.depth.numel(),), -1)
        found[pixels.hit.cpu()] = run.labeler.leaves(pixels.points.cpu())
        pixels.leaf = found.view(pixels.shape)
    return pixels.leaf


def palette_at(tree: Hierarchy, level: float, chosen: frozenset[int] = frozenset()) -> Tensor:
    """float32 [M,3]: color of the segment that every node belongs to at a level; of chosen ones their own."""
    rows = tree.cut(level)
    for node in chosen:
        row = tree.row_of(node)
        rows = torch.where(tree.below([row]), row, rows)
    return tree.colors[rows].float() / 255


def nearest_view(pixels: Pixels, run: ShownRun) -> int:
    """The training view that looks most like a picture's camera: near to it, in the same direction."""
    cameras = run.scene.cameras["train"]
    pose, all_poses = pixels.cameras.camera_to_world[0].cpu(), cameras.camera_to_world.cpu()
    apart = (all_poses[:, :, 3] - pose[:, 3]).norm(dim=1)
    turned = 1 - all_poses[:, :, 2] @ pose[:, 2]
    distance = float((pose[:, 3] - run.middle).norm())
    return int((apart / max(distance, 1e-6) + turned).argmin())


def project_photograph(pixels: Pixels, run: ShownRun, view: int, photograph: Tensor) -> tuple[Tensor, Tensor]:
    """Colors [P,3] that a photograph uint8 [H,W,C] has for the points of a picture, and which of them it shows."""
    cameras, points = run.scene.cameras["train"], pixels.points.cpu()
    at, _, known = cameras.to("cpu").project(view, points)
    width, height = cameras.size[view].tolist()
    known &= ((at >= 0) & (at < torch.tensor([width, height]))).all(1)
    x, y = at.nan_to_num(0.0).long().clamp_min(0).unbind(1)
    colors = photograph.cpu()[y.clamp_max(height - 1), x.clamp_max(width - 1)].float() / 255
    if colors.shape[1] == 4:
        known &= colors[:, 3] > 0.5
    there = run.near_view(view)
    small = torch.tensor([there.shape[1] / width, there.shape[0] / height])
    sx, sy = (at.nan_to_num(0.0) * small).long().clamp_min(0).unbind(1)
    shown = there.depth.cpu()[sy.clamp_max(there.shape[0] - 1), sx.clamp_max(there.shape[1] - 1)]
    distance = (points - cameras.origins[view].cpu()).norm(dim=1)
    known &= distance <= shown * (1 + SAME_DEPTH)
    return colors[:, :3].to(pixels.rgb), known.to(pixels.rgb.device)


def _over(pixels: Pixels, colors: Tensor, display: DisplaySettings) -> Tensor:
    """Colors [P,3] of what is hit, the background elsewhere."""
    made = _background(pixels, display).expand(pixels.depth.numel(), 3).clone()
    made[pixels.hit] = colors
    return made.view(*pixels.shape, 3)
