"""Procedural scenes as ready-made data: pictures, cameras and exact ground truth."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fieldlab.data.cameras import Cameras
from fieldlab.data.scene import Scene
from fieldlab.data.views import Views
from fieldlab.errors import ConfigError
from fieldlab.synthetic.cameras import orbit_cameras
from fieldlab.synthetic.catalog import SCENES
from fieldlab.synthetic.model import PartTree, SceneModel, part_tree
from fieldlab.synthetic.render import Geometry, batches, cast_images, render_images
from fieldlab.synthetic.scene_file import ProceduralOptions, check_options, read_scene_file, scene_files

FORMAT = "procedural"


def scene_names() -> list[str]:
    """The procedural scenes there are."""
    return list(SCENES)


@functools.lru_cache(maxsize=len(SCENES))
def scene_model(name: str) -> SceneModel:
    """The description of a scene.

    Raises:
        ConfigError: there is no such scene.
    """
    if name not in SCENES:
        names = ", ".join(SCENES)
        raise ConfigError("there is no such procedural scene", found=name, expected=f"one of {names}")
    return SCENES[name]()


def default_options(name: str) -> ProceduralOptions:
    """What the TOML file of the scene says, or the plain defaults where it has none."""
    scene_model(name)
    file = scene_files().get(name)
    return ProceduralOptions() if file is None else read_scene_file(file)[1]


def part_names(name: str) -> PartTree:
    """The label tree of a scene: names and parents of all ids on the three levels."""
    return part_tree(scene_model(name))


def procedural_cameras(name: str, options: ProceduralOptions | None = None) -> dict[str, Cameras]:
    """Train and test cameras of a scene; the same for the same options on every machine."""
    model = scene_model(name)
    options = check_options(options or default_options(name))
    return {
        "train": orbit_cameras(model.orbit, options.n_train, options.size, options.seed),
        "test": orbit_cameras(model.orbit, options.n_test, options.size, options.seed + 1, phase=0.5),
    }


@torch.no_grad()
def load_procedural(name: str, options: ProceduralOptions | None = None) -> Scene:
    """Render a procedural scene with train and test splits.

    Args:
        name: one of :func:`scene_names`.
        options: how many pictures; those of the scene's TOML file when absent.

    Pictures are kept in memory, so that asking again for the same is free.

    Raises:
        ConfigError: there is no such scene, or the options are impossible.
    """
    model = scene_model(name)
    options = check_options(options or default_options(name))
    return Scene(
        name=name,
        source=f"{FORMAT}:{name}",
        format=FORMAT,
        splits={split: replace(views) for split, views in _views(name, options).items()},
        aabb=torch.tensor(model.aabb),
        unbounded=model.unbounded,
        background="black" if model.unbounded else "white",
        points=None,
        near=model.near,
    )


@functools.lru_cache(maxsize=4)
def _views(name: str, options: ProceduralOptions) -> dict[str, Views]:
    model = scene_model(name)
    splits = procedural_cameras(name, options)
    cameras = Cameras.concatenate(list(splits.values()))
    channels = 3 if model.sky is not None else 4
    pictures = []
    for images in batches(cameras):
        color, _ = render_images(model, cameras, images, options.samples)
        pictures.append((color[:, :channels] * 255).round().to(torch.uint8))
    pixels = torch.cat(pictures).split([int(own.pixel_counts().sum()) for own in splits.values()])
    return {
        split: Views(own, [f"r_{i}" for i in range(len(own))], part)
        for (split, own), part in zip(splits.items(), pixels, strict=True)
    }


@dataclass
class Truth:
    """What the center rays of one picture meet, exactly.

    Attributes:
        depth: float32 [H,W], distance along the unit ray, 0 where nothing is hit.
        normal: float32 [H,W,3], unit, outward, in world axes; 0 where nothing is hit.
        ids: int16 [3,H,W], object, group and part (:func:`part_names`), -1 where nothing is hit.
    """

    depth: Tensor
    normal: Tensor
    ids: Tensor


@torch.no_grad()
def ground_truth(name: str, cameras: Cameras, i: int) -> Truth:
    """Depth, normals and labels of picture ``i``, without the cost of light."""
    model = scene_model(name)
    i = range(len(cameras))[i]
    geometry = cast_images(model, cameras, range(i, i + 1))
    return _truth(model, geometry, cameras, i)


@torch.no_grad()
def ground_truths(name: str, cameras: Cameras) -> Iterator[Truth]:
    """:func:`ground_truth` of all pictures, in much less time for each when they are small."""
    model, counts = scene_model(name), cameras.pixel_counts().tolist()
    for images in batches(cameras):
        geometry, start = cast_images(model, cameras, images), 0
        for i in images:
            own = torch.arange(start, start + counts[i])
            start += counts[i]
            yield _truth(model, geometry.subset(own), cameras, i)


@torch.no_grad()
def render_procedural(name: str, cameras: Cameras, i: int, samples: int = 2) -> dict[str, Tensor]:
    """Picture ``i`` and its ground truth.

    Returns:
        rgb float32 [H,W,3] (sRGB, straight alpha) and alpha float32 [H,W], both in [0,1]; depth float32 [H,W]; normal
        float32 [H,W,3]; ids int16 [3,H,W] (see :class:`Truth`).
    """
    model = scene_model(name)
    i = range(len(cameras))[i]
    color, geometry = render_images(model, cameras, range(i, i + 1), samples)
    truth = _truth(model, geometry, cameras, i)
    height, width = truth.depth.shape
    color = color.view(height, width, 4)
    shown = {"rgb": color[..., :3].contiguous(), "alpha": color[..., 3].contiguous()}
    return shown | {"depth": truth.depth, "normal": truth.normal, "ids": truth.ids}


def _truth(model: SceneModel, geometry: Geometry, cameras: Cameras, i: int) -> Truth:
    width, height = cameras.size[i].tolist()
    hit = geometry.hits.part >= 0
    depth = torch.where(hit, geometry.hits.t, torch.zeros_like(geometry.hits.t)).view(height, width)
    normal = torch.stack(geometry.normal, dim=-1).view(height, width, 3)
    lineage = torch.tensor([*model.lineage, (-1, -1, -1)], dtype=torch.int16, device=hit.device)
    ids = lineage[geometry.hits.part].T.reshape(3, height, width).contiguous()
    return Truth(depth, normal, ids)
