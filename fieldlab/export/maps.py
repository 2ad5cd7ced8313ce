"""Pictures of a field and maps of depth, normals, opacity and segments beside them: a data set for other programs.

One folder holds ``images/NAME.png`` with ``transforms.json`` and ``sparse/0``, so that fieldlab, nerfstudio and COLMAP
read it as a capture, and the maps that were asked for, pixel by pixel the same views:

* ``depth/NAME``: distance along the ray in world units, and for perspective cameras ``depth_z/NAME``: z-depth, along
  the optical axis. Both are 0 where less than half of the light is stopped. Frames of ``transforms.json`` have as
  ``depth_file_path`` what nerfstudio's depth losses expect: z-depth for perspective cameras, distance for others.
* ``normal/NAME``: unit normals in the world that face the camera, zero where there is none.
* ``opacity/NAME.png``: 16 bits, 65535 is opaque.
* ``label/NAME.png``: 16 bits, node id + 1, 0 where nothing is; ``label/palette.json`` has the colors of the ids.

As ``exr``, depth (channel Z) and normals (R, G, B) are float32, ZIP-compressed. As ``png``, depth has 16 bits of one
scale for the whole folder, which ``maps.json`` tells, and normals are 0.5 + 0.5 n in 8 bits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import torch

from fieldlab.data.cameras import CameraModel, Cameras
from fieldlab.errors import ConfigError
from fieldlab.export.cameras_files import checked_names, refusals, write_cameras
from fieldlab.export.points import OPAQUE, PointCloud
from fieldlab.files import write_json, write_with
from fieldlab.pictures.sheets import to_uint8, write_picture
from fieldlab.render.model import RadianceModel
from fieldlab.segment.segmentation import Segmentation
from fieldlab.segment.truth import short_name

KINDS = ("depth", "normal", "opacity", "label")
FORMATS = ("exr", "png")
LARGEST = 65535  # of 16 bits
LONGEST_NAME = 60  # characters, of up to four bytes; file systems hold 255

MEANINGS = {
    "depth": "distance along the ray in world units; 0: nothing",
    "depth_z": "z-depth along the optical axis in world units; 0: nothing",
    "normal": "unit normal in the world, facing the camera; zero: nothing",
    "opacity": "share of the light that is stopped",
    "label": "node id + 1; 0: nothing",
}


@dataclass
class _View:
    """What a view shows, on the CPU.

    Args:
        picture: uint8 [H,W,3|4], sRGB, alpha straight.
        depth: float32 [H,W], distance, 0 where nothing is; z: the same as z-depth, for perspective cameras.
        opacity: float32 [H,W]; normal: float32 [H,W,3], zero where nothing is.
    """

    picture: np.ndarray
    depth: np.ndarray
    z: np.ndarray | None
    opacity: np.ndarray
    normal: np.ndarray


def write_maps(
    folder: str | Path,
    model: RadianceModel,
    cameras: Cameras,
    names: Sequence[str],
    kinds: Sequence[str] = ("depth", "normal", "opacity"),
    *,
    format: str = "exr",
    segmentation: Segmentation | None = None,
    threshold: float | None = None,
    cutouts: bool | None = None,
    splits: Sequence[str] | None = None,
    points: PointCloud | None = None,
    tick: Callable[[int, int], object] = lambda done, total: None,
) -> list[str]:
    """Render N views into ``folder``, see above; files that are there already are replaced.

    Args:
        names: of the views; they may have folders and suffixes, see :func:`file_names`.
        kinds: of maps, from KINDS.
        format: of depth and normals: exr or png.
        segmentation: of the model, for labels.
        threshold: of the labels; the middle one of all different cuts by default.
        cutouts: whether pictures are transparent where the field is; by default where nothing is outside its box.
        splits: 'train', 'val' or 'test' of every view.
        points: written as ``points.ply`` and into COLMAP's model.
        tick: called with the numbers of views done and of all.

    Returns:
        A sentence on the format of cameras that cannot hold these, if any.

    Raises:
        ConfigError: something asked for is impossible, or neither format of cameras holds these.
        RunFolderError: the folder cannot be written.
    """
    tree = None if segmentation is None else segmentation.hierarchy
    check_maps(kinds, format, None if tree is None else int(tree.ids.max()))
    cameras, files = cameras.to("cpu"), file_names(names)
    pictures = checked_names([f"{name}.png" for name in files], len(cameras))
    refusals(cameras)
    scale = farthest(model, cameras) / LARGEST if format == "png" else 1.0
    writer = _Writer(Path(folder), kinds, format, scale)
    cutouts = not model.config.unbounded if cutouts is None else cutouts
    labels = None if segmentation is None or "label" not in kinds else _Labels(segmentation, threshold)
    for i, name in enumerate(files):
        view = _render_view(model, cameras, i, cutouts, "normal" in kinds)
        writer.view(name, view)
        if labels is not None:
            writer.gray("label", name, labels.ids(cameras, i, view) + 1)
        tick(i + 1, len(files))
    if labels is not None:
        write_json(writer.folder / "label" / "palette.json", labels.palette())
    write_json(writer.folder / "maps.json", writer.legend())
    depths = [f"{'depth_z' if _flat(cameras, i) else 'depth'}/{name}.{format}" for i, name in enumerate(files)]
    # Cameras last, so that a folder that has them is complete.
    return write_cameras(
        folder, cameras, pictures, splits=splits, depths=depths if "depth" in kinds else None, depth_scale=scale,
        points=points,
    )  # fmt: skip


def check_maps(kinds: Sequence[str], format: str, largest_id: int | None) -> None:
    """Whether such maps can be written.

    Args:
        largest_id: of the nodes; None for a model without segments.

    Raises:
        ConfigError: a kind or the format is unknown, there are no segments, or ids do not fit into 16 bits.
    """
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise ConfigError("there is no such map", found=", ".join(unknown), expected=" | ".join(KINDS))
    if format not in FORMATS:
        raise ConfigError("maps cannot be written in this format", found=format, expected=" | ".join(FORMATS))
    if "label" in kinds and largest_id is None:
        raise ConfigError("there are no segments to label", hint="run fieldlab segment first, or leave out label")
    if "label" in kinds and largest_id is not None and largest_id >= LARGEST:
        raise ConfigError("node ids do not fit into pictures", found=largest_id, expected=f"at most {LARGEST - 1}")


def file_names(names: Sequence[str]) -> list[str]:
    """A file name without suffix for every view, all different also where upper and lower case are one.

    The names of their pictures; where two are the same, all have their folders before them, and where that does not
    tell them apart, a number behind. Letters, digits and ``_.-`` stay, others become ``_``; none leads out of a folder.
    """
    short = [short_name(name.replace("\\", "/")) for name in names]
    if len({name.casefold() for name in short}) < len(short):
        parents = [[part for part in re.split(r"[\\/]", name)[:-1] if part not in ("", ".", "..")] for name in names]
        short = ["_".join([*above, name]) for above, name in zip(parents, short, strict=True)]
    made: dict[str, str] = {}
    for name in short:
        found = first = re.sub(r"[^\w.-]", "_", name).lstrip(".")[:LONGEST_NAME] or "view"
        number = 2
        while found.casefold() in made:
            found, number = f"{first}_{number}", number + 1
        made[found.casefold()] = found
    return list(made.values())


def farthest(model: RadianceModel, cameras: Cameras) -> float:
    """Distance of the farthest corner of the box in which there is anything from any of the cameras."""
    origins, (low, high) = cameras.origins.cpu(), model.outer_box.cpu()
    reach = torch.maximum((origins - low).abs(), (origins - high).abs())
    return float(reach.double().norm(dim=-1).max())


def write_exr(path: Path, channels: dict[str, np.ndarray], meaning: str) -> None:
    """Write float32 channels [H,W] by name as an OpenEXR picture, whole or not at all.

    Raises:
        RunFolderError: the file cannot be written.
    """
    import OpenEXR  # takes a while to import

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage, "comments": meaning}
    planes = {name: np.ascontiguousarray(plane, dtype=np.float32) for name, plane in channels.items()}

    def write(temporary: Path) -> None:
        try:
            OpenEXR.File(header, planes).write(str(temporary))
        except RuntimeError as error:  # a full disk, to this library
            raise OSError(str(error)) from error

    write_with(path, write)


def _flat(cameras: Cameras, i: int) -> bool:
    """Whether a view has a z-depth worth writing: other lenses see what is beside and behind the camera too."""
    return bool(cameras.model[i] == CameraModel.PERSPECTIVE)


def _render_view(model: RadianceModel, cameras: Cameras, i: int, cutouts: bool, normals: bool) -> _View:
    """Render view ``i``; pixels that the lens model does not define show nothing."""
    channels = ("rgb", "depth", "opacity", *(("normal",) if normals else ()))
    background = torch.zeros(3, device=model.aabb.device) if cutouts else None
    seen = {name: image.cpu() for name, image in
            model.render_image(cameras, i, background=background, channels=channels).items()}  # fmt: skip
    opacity = seen["opacity"][..., 0].clamp(0, 1)
    valid = cameras.valid_pixels(i)
    if valid is not None:
        opacity = opacity * valid.view(opacity.shape)
    there = opacity > OPAQUE
    depth = torch.where(there, seen["depth"][..., 0], 0.0)
    z = None
    if _flat(cameras, i):
        z = (depth * (cameras.image_rays(i).directions @ cameras.forward[i]).view(depth.shape)).numpy()
    normal = torch.where(there[..., None], seen["normal"], 0.0) if normals else torch.zeros(*depth.shape, 3)
    alpha = opacity[..., None]  # straight: colors on black are weighted with it
    picture = torch.cat((seen["rgb"] / alpha.clamp_min(1e-3), alpha), dim=-1) if cutouts else seen["rgb"]
    return _View(to_uint8(picture), depth.numpy(), z, opacity.numpy(), normal.numpy())


@dataclass(frozen=True)
class _Writer:
    """Writes what views show into ``folder``; ``scale`` is that of 16-bit depth in world units."""

    folder: Path
    kinds: Sequence[str]
    format: str
    scale: float

    def view(self, name: str, view: _View) -> None:
        write_picture(self.folder / "images" / f"{name}.png", view.picture)
        if "depth" in self.kinds:
            self._depth("depth", name, view.depth)
            if view.z is not None:
                self._depth("depth_z", name, view.z)
        if "normal" in self.kinds:
            self._normal(name, view.normal)
        if "opacity" in self.kinds:
            self.gray("opacity", name, view.opacity * LARGEST)

    def gray(self, kind: str, name: str, values: np.ndarray) -> None:
        """Values [H,W] from 0 to 65535 as a 16-bit picture."""
        picture = np.rint(values).astype(np.uint16)
        write_with(self.folder / kind / f"{name}.png", partial(iio.imwrite, image=picture))

    def _depth(self, kind: str, name: str, depth: np.ndarray) -> None:
        if self.format == "exr":
            write_exr(self.folder / kind / f"{name}.exr", {"Z": depth}, MEANINGS[kind])
        else:  # what is seen is never 0, which stands for nothing
            self.gray(kind, name, np.where(depth > 0, (depth / self.scale).clip(1, LARGEST), 0))

    def _normal(self, name: str, normal: np.ndarray) -> None:
        path = self.folder / "normal" / f"{name}.{self.format}"
        if self.format == "exr":
            write_exr(path, {"RGB"[axis]: normal[..., axis] for axis in range(3)}, MEANINGS["normal"])
        else:
            write_picture(path, to_uint8(torch.from_numpy(0.5 + 0.5 * normal)))

    def legend(self) -> dict[str, Any]:
        """What the files hold, for programs that read them: value = offset + scale * what is stored."""
        steps = {"depth": (0.0, self.scale), "depth_z": (0.0, self.scale), "normal": (-1.0, 2 / 255),
                 "opacity": (0.0, 1 / LARGEST), "label": (-1.0, 1.0)}  # fmt: skip
        legend: dict[str, Any] = {}
        for kind in [*self.kinds, *(("depth_z",) if "depth" in self.kinds else ())]:
            suffix = "png" if kind in ("opacity", "label") else self.format
            offset, step = steps[kind] if suffix == "png" else (0.0, 1.0)
            files, meaning = f"{kind}/NAME.{suffix}", MEANINGS[kind]
            legend[kind] = {"files": files, "meaning": meaning, "offset": offset, "scale": step}
        return legend


class _Labels:
    """Node ids of views at one threshold, the middle one of all different cuts where none is given."""

    def __init__(self, segmentation: Segmentation, threshold: float | None) -> None:
        self.model, self.tree, self.labeler = segmentation.model, segmentation.hierarchy, segmentation.labeler
        self.threshold = self.tree.middle_threshold() if threshold is None else threshold

    def ids(self, cameras: Cameras, i: int, view: _View) -> np.ndarray:
        """int32 [H,W], -1 where nothing is."""
        leaves = self.labeler.view(self.model, cameras, i)
        return np.where(view.opacity > OPAQUE, self.labeler.labels(leaves, self.threshold).numpy(), -1)

    def palette(self) -> dict[str, Any]:
        ids = [str(node) for node in self.tree.ids.tolist()]
        colors = ["#" + bytes(color).hex() for color in self.tree.colors.tolist()]
        return {"thresholds": [self.threshold], "colors": dict(zip(ids, colors, strict=True)),
                "names": dict(zip(ids, self.tree.names, strict=True))}  # fmt: skip
