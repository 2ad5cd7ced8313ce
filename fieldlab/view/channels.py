"""From what rays saw to a picture: one function for every channel, and comparisons of two runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from fieldlab.pictures.colormap import color_depth, color_normals, color_opacity, heat
from fieldlab.pictures.sheets import depth_legend, error_legend
from fieldlab.segment.hierarchy import Hierarchy
from fieldlab.view.look import Look
from fieldlab.view.seen import Seen
from fieldlab.view.subject import Subject

MOST_SAMPLES = 64.0  # of a ray that is lightest
GRAY = 0.55  # of what no photograph can say anything about
SAME_DEPTH = 0.03  # share of its distance by which a point may be behind what a photograph's camera sees
LEGEND_HEIGHT = 140


def paint(seen: Seen, subject: Subject, look: Look) -> Tensor:
    """The picture float32 [H,W,3] of a look."""
    return PAINTERS[look.channel](seen, subject, look)


def _background(seen: Seen, look: Look) -> Tensor:
    return torch.tensor(look.background, device=seen.rgb.device)


def color(seen: Seen, subject: Subject, look: Look) -> Tensor:
    """As a camera would see it; chosen parts stand out."""
    made = seen.rgb + (1 - seen.opacity)[..., None] * _background(seen, look)
    if look.chosen and subject.hierarchy is not None:
        rows = subject.hierarchy.below(subject.hierarchy.row_of(i) for i in look.chosen)
        leaf = leaves(seen, subject)
        stands_out = (rows[leaf.clamp_min(0)] & (leaf >= 0)).to(made.device)
        made = torch.where(stands_out[..., None], 0.5 * made + 0.5 * made.new_tensor((1.0, 0.55, 0.0)), made)
    return made.clamp(0, 1)


def depth(seen: Seen, subject: Subject, look: Look) -> Tensor:
    """Distance along the ray, near red and far blue."""
    return color_depth(seen.depth, seen.opacity, subject.depth_scale, _background(seen, look))


def normals(seen: Seen, subject: Subject, look: Look) -> Tensor:
    """World normals as (n + 1) / 2."""
    return color_normals(seen.normals, seen.opacity, _background(seen, look))


def opacity(seen: Seen, subject: Subject, look: Look) -> Tensor:
    """From black for nothing to white."""
    return color_opacity(seen.opacity)


def samples(seen: Seen, subject: Subject, look: Look) -> Tensor:
    """How many samples every ray cost."""
    return heat(seen.cost / MOST_SAMPLES)


def features(seen: Seen, subject: Subject, look: Look) -> Tensor:
    """The main directions of the features of what is seen."""
    return _over(seen, subject.feature_colors(seen.points), look)


def parts(seen: Seen, subject: Subject, look: Look) -> Tensor:
    """The parts at the level, tinted over the colors; chosen ones as they are."""
    tree = subject.hierarchy
    if tree is None:
        return color(seen, subject, look)
    leaf = leaves(seen, subject)
    tint = palette_at(tree, look.level, look.chosen).to(seen.rgb.device)[leaf.clamp_min(0)]
    plain = seen.rgb + (1 - seen.opacity)[..., None] * _background(seen, look)
    shade = plain.mean(2, keepdim=True) * 0.6 + 0.4  # so that shapes stay visible
    share = torch.where(leaf >= 0, look.tint, 0.0).to(plain)[..., None]
    if look.chosen:
        rows = tree.below(tree.row_of(i) for i in look.chosen)
        stands_out = (rows[leaf.clamp_min(0)] & (leaf >= 0)).to(plain.device)[..., None]
        share = torch.where(stands_out, 1.0, share * 0.5)
    return torch.lerp(plain, tint * shade, share).clamp(0, 1)


def error(seen: Seen, subject: Subject, look: Look) -> Tensor:
    """Difference to the photograph from nearest by, where it shows the same surface; gray elsewhere."""
    view = nearest_view(seen, subject)
    photograph = subject.photograph(view)
    made = torch.full((*seen.shape, 3), GRAY, device=seen.rgb.device)
    if photograph is None:
        return made
    truth, known = project_photograph(seen, subject, view, photograph.to(seen.rgb.device))
    mine = (seen.rgb / seen.opacity.clamp_min(1e-6)[..., None]).view(-1, 3)[seen.hit]
    wrong = heat((mine - truth).square().mean(1).sqrt() * look.gain)
    flat = made.view(-1, 3)
    flat[seen.hit.nonzero()[:, 0][known]] = wrong[known]
    return made


PAINTERS: Mapping[str, Callable[[Seen, Subject, Look], Tensor]] = {
    "color": color, "depth": depth, "normals": normals, "opacity": opacity, "samples": samples, "features": features,
    "parts": parts, "error": error,
}  # fmt: skip


def channels_of(subject: Subject) -> tuple[str, ...]:
    """Those that there is something to see in."""
    lacking = set()
    if not subject.model.heads:
        lacking.add("features")
    if subject.hierarchy is None:
        lacking.add("parts")
    return tuple(name for name in PAINTERS if name not in lacking)


def difference(first: Seen, second: Seen, look: Look) -> Tensor:
    """Where two runs differ: root mean square over channels, times the gain."""
    back = _background(first, look)
    a, b = (seen.rgb + (1 - seen.opacity)[..., None] * back for seen in (first, second))
    return heat((a - b).square().mean(2).sqrt() * look.gain)


def legend(subject: Subject, look: Look) -> np.ndarray | None:
    """The scale of a channel's colors, uint8 [h,w,3]; None where colors are no quantity."""
    if look.compare == "difference" or look.channel == "error":
        return error_legend(LEGEND_HEIGHT, 1 / look.gain)
    if look.channel == "depth":
        return depth_legend(LEGEND_HEIGHT, subject.depth_scale)
    if look.channel == "samples":
        return error_legend(LEGEND_HEIGHT, MOST_SAMPLES)
    return None


def leaves(seen: Seen, subject: Subject) -> Tensor:
    """int64 [H,W]: row of the finest part that each pixel shows, -1 for none; found once per picture."""
    if seen.leaf is None:
        assert subject.labeler is not None
        found = torch.full((seen.depth.numel(),), -1)
        found[seen.hit.cpu()] = subject.labeler.leaves(seen.points.cpu())
        seen.leaf = found.view(seen.shape)
    return seen.leaf


def palette_at(tree: Hierarchy, level: float, chosen: frozenset[int] = frozenset()) -> Tensor:
    """float32 [M,3]: color of the part that every node belongs to at a level; of chosen ones their own."""
    rows = tree.cut(level)
    for node in chosen:
        row = tree.row_of(node)
        rows = torch.where(tree.below([row]), row, rows)
    return tree.colors[rows].float() / 255


def nearest_view(seen: Seen, subject: Subject) -> int:
    """The training view that looks most like a picture's camera: near to it, in the same direction."""
    cameras = subject.scene.cameras["train"]
    pose, all_poses = seen.cameras.camera_to_world[0].cpu(), cameras.camera_to_world.cpu()
    apart = (all_poses[:, :, 3] - pose[:, 3]).norm(dim=1)
    turned = 1 - all_poses[:, :, 2] @ pose[:, 2]
    distance = float((pose[:, 3] - subject.middle).norm())
    return int((apart / max(distance, 1e-6) + turned).argmin())


def project_photograph(seen: Seen, subject: Subject, view: int, photograph: Tensor) -> tuple[Tensor, Tensor]:
    """Colors [P,3] that a photograph uint8 [H,W,C] has for the points of a picture, and which of them it shows."""
    cameras, points = subject.scene.cameras["train"], seen.points.cpu()
    pixels, _, known = cameras.to("cpu").project(view, points)
    width, height = cameras.size[view].tolist()
    known &= ((pixels >= 0) & (pixels < torch.tensor([width, height]))).all(1)
    x, y = pixels.nan_to_num(0.0).long().clamp_min(0).unbind(1)
    colors = photograph.cpu()[y.clamp_max(height - 1), x.clamp_max(width - 1)].float() / 255
    if colors.shape[1] == 4:
        known &= colors[:, 3] > 0.5
    there = subject.near_view(view)
    small = torch.tensor([there.shape[1] / width, there.shape[0] / height])
    sx, sy = (pixels.nan_to_num(0.0) * small).long().clamp_min(0).unbind(1)
    shown = there.depth.cpu()[sy.clamp_max(there.shape[0] - 1), sx.clamp_max(there.shape[1] - 1)]
    distance = (points - cameras.origins[view].cpu()).norm(dim=1)
    known &= distance <= shown * (1 + SAME_DEPTH)
    return colors[:, :3].to(seen.rgb), known.to(seen.rgb.device)


def _over(seen: Seen, colors: Tensor, look: Look) -> Tensor:
    """Colors [P,3] of what is hit, the background elsewhere."""
    made = _background(seen, look).expand(seen.depth.numel(), 3).clone()
    made[seen.hit] = colors
    return made.view(*seen.shape, 3)
