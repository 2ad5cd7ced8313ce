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
from fieldlab.view.gbuffer import GBuffer
from fieldlab.view.shown_run import ShownRun

MOST_SAMPLES = 64.0  # of a ray that is lightest
GRAY = 0.55  # of what no photograph can say anything about
SAME_DEPTH = 0.03  # share of its distance by which a point may be behind what a photograph's camera sees
LEGEND_HEIGHT = 140


def paint(buffer: GBuffer, run: ShownRun, display: DisplaySettings) -> Tensor:
    """The picture float32 [H,W,3] that the settings ask for."""
    return PAINTERS[display.channel](buffer, run, display)


def _background(buffer: GBuffer, display: DisplaySettings) -> Tensor:
    return torch.tensor(display.background, device=buffer.rgb.device)


def color(buffer: GBuffer, run: ShownRun, display: DisplaySettings) -> Tensor:
    """As a camera would see it; chosen segments stand out."""
    made = buffer.rgb + (1 - buffer.opacity)[..., None] * _background(buffer, display)
    if display.chosen and run.hierarchy is not None:
        rows = run.hierarchy.below(run.hierarchy.row_of(i) for i in display.chosen)
        leaf = leaves(buffer, run)
        stands_out = (rows[leaf.clamp_min(0)] & (leaf >= 0)).to(made.device)
        made = torch.where(stands_out[..., None], 0.5 * made + 0.5 * made.new_tensor((1.0, 0.55, 0.0)), made)
    return made.clamp(0, 1)


def depth(buffer: GBuffer, run: ShownRun, display: DisplaySettings) -> Tensor:
    """Distance along the ray, near red and far blue."""
    return color_depth(buffer.depth, buffer.opacity, run.depth_scale, _background(buffer, display))


def normals(buffer: GBuffer, run: ShownRun, display: DisplaySettings) -> Tensor:
    """World normals as (n + 1) / 2."""
    return color_normals(buffer.normals, buffer.opacity, _background(buffer, display))


def opacity(buffer: GBuffer, run: ShownRun, display: DisplaySettings) -> Tensor:
    """From black for nothing to white."""
    return color_opacity(buffer.opacity)


def samples(buffer: GBuffer, run: ShownRun, display: DisplaySettings) -> Tensor:
    """How many samples every ray cost."""
    return heat(buffer.cost / MOST_SAMPLES)


def features(buffer: GBuffer, run: ShownRun, display: DisplaySettings) -> Tensor:
    """The main directions of the features of what is seen."""
    return _over(buffer, run.feature_colors(buffer.points), display)


def segments(buffer: GBuffer, run: ShownRun, display: DisplaySettings) -> Tensor:
    """The segments at the threshold, tinted over the colors; chosen ones as they are."""
    tree = run.hierarchy
    if tree is None:
        return color(buffer, run, display)
    leaf = leaves(buffer, run)
    tint = palette_at(tree, display.threshold, display.chosen).to(buffer.rgb.device)[leaf.clamp_min(0)]
    plain = buffer.rgb + (1 - buffer.opacity)[..., None] * _background(buffer, display)
    shade = plain.mean(2, keepdim=True) * 0.6 + 0.4  # so that shapes stay visible
    share = torch.where(leaf >= 0, display.tint, 0.0).to(plain)[..., None]
    if display.chosen:
        rows = tree.below(tree.row_of(i) for i in display.chosen)
        stands_out = (rows[leaf.clamp_min(0)] & (leaf >= 0)).to(plain.device)[..., None]
        share = torch.where(stands_out, 1.0, share * 0.5)
    return torch.lerp(plain, tint * shade, share).clamp(0, 1)


def error(buffer: GBuffer, run: ShownRun, display: DisplaySettings) -> Tensor:
    """Difference to the photograph from nearest by, where it shows the same surface; gray elsewhere."""
    view = nearest_view(buffer, run)
    photograph = run.photograph(view)
    made = torch.full((*buffer.shape, 3), GRAY, device=buffer.rgb.device)
    if photograph is None:
        return made
    truth, known = project_photograph(buffer, run, view, photograph.to(buffer.rgb.device))
    mine = (buffer.rgb / buffer.opacity.clamp_min(1e-6)[..., None]).view(-1, 3)[buffer.hit]
    wrong = heat((mine - truth).square().mean(1).sqrt() * display.gain)
    flat = made.view(-1, 3)
    flat[buffer.hit.nonzero()[:, 0][known]] = wrong[known]
    return made


PAINTERS: Mapping[str, Callable[[GBuffer, ShownRun, DisplaySettings], Tensor]] = {
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


def difference(first: GBuffer, second: GBuffer, display: DisplaySettings) -> Tensor:
    """Where two runs differ: root mean square over channels, times the gain."""
    back = _background(first, display)
    a, b = (buffer.rgb + (1 - buffer.opacity)[..., None] * back for buffer in (first, second))
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


def leaves(buffer: GBuffer, run: ShownRun) -> Tensor:
    """int64 [H,W]: row of the finest segment that each pixel shows, -1 for none; found once per picture."""
    if buffer.leaf is None:
        assert run.labeler is not None
        found = torch.full((buffer.depth.numel(),), -1)
        found[buffer.hit.cpu()] = run.labeler.leaves(buffer.points.cpu())
        buffer.leaf = found.view(buffer.shape)
    return buffer.leaf


def palette_at(tree: Hierarchy, threshold: float, chosen: frozenset[int] = frozenset()) -> Tensor:
    """float32 [M,3]: color of the segment that every node belongs to at a threshold; of chosen ones their own."""
    rows = tree.cut(threshold)
    for node in chosen:
        row = tree.row_of(node)
        rows = torch.where(tree.below([row]), row, rows)
    return tree.colors[rows].float() / 255


def nearest_view(buffer: GBuffer, run: ShownRun) -> int:
    """The training view that looks most like a picture's camera: near to it, in the same direction."""
    cameras = run.scene.cameras["train"]
    pose, all_poses = buffer.cameras.camera_to_world[0].cpu(), cameras.camera_to_world.cpu()
    apart = (all_poses[:, :, 3] - pose[:, 3]).norm(dim=1)
    turned = 1 - all_poses[:, :, 2] @ pose[:, 2]
    distance = float((pose[:, 3] - run.middle).norm())
    return int((apart / max(distance, 1e-6) + turned).argmin())


def project_photograph(buffer: GBuffer, run: ShownRun, view: int, photograph: Tensor) -> tuple[Tensor, Tensor]:
    """Colors [P,3] that a photograph uint8 [H,W,C] has for the points of a picture, and which of them it shows."""
    cameras, points = run.scene.cameras["train"], buffer.points.cpu()
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
    return colors[:, :3].to(buffer.rgb), known.to(buffer.rgb.device)


def _over(buffer: GBuffer, colors: Tensor, display: DisplaySettings) -> Tensor:
    """Colors [P,3] of what is hit, the background elsewhere."""
    made = _background(buffer, display).expand(buffer.depth.numel(), 3).clone()
    made[buffer.hit] = colors
    return made.view(*buffer.shape, 3)
