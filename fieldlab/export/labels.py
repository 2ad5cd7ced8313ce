"""Labels of views as files: arrays, 16-bit pictures with their palette, and COCO annotations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import torch
from pycocotools import mask as coco
from torch import Tensor

from fieldlab.data.cameras import Cameras
from fieldlab.errors import ConfigError
from fieldlab.files import write_json, write_with
from fieldlab.segment.files import tree_of
from fieldlab.segment.hierarchy import Hierarchy
from fieldlab.segment.segmentation import Segmentation
from fieldlab.segment.truth import short_name

LARGEST_ID = 65534  # of a 16-bit picture, in which 0 is nothing


def write_labels(
    folder: Path, segmentation: Segmentation, cameras: Cameras, names: Sequence[str], thresholds: Tensor,
    tick: Callable[[int, int], object] = lambda done, total: None,
) -> None:  # fmt: skip
    """Write the segments of views:

    * ``NAME.npz``: ``thresholds`` float32 [T], ``labels`` int32 [T,H,W]: node ids, -1 where nothing is;
    * ``labels/T/NAME.png`` for every threshold: 16 bits, node id + 1, 0 where nothing is;
    * for all views ``annotations.json`` (COCO, with ``parent_id``), ``palette.json`` and ``hierarchy.json``.

    Raises:
        ConfigError: node ids do not fit into 16 bits.
        RunFolderError: the folder cannot be written.
    """
    tree = segmentation.hierarchy
    if int(tree.ids.max()) > LARGEST_ID:
        raise ConfigError("node ids do not fit into pictures", found=int(tree.ids.max()), expected=LARGEST_ID)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for i, name in enumerate(names):
        short = short_name(name)
        leaves = segmentation.labeler.view(segmentation.model, cameras, i)
        labels = torch.stack([segmentation.labeler.labels(leaves, float(t)) for t in thresholds]).numpy()
        arrays = {"thresholds": thresholds.numpy().astype(np.float32), "labels": labels}
        write_with(folder / f"{short}.npz", partial(_save_arrays, arrays=arrays))
        for t, found in enumerate(labels):
            picture = (found + 1).astype(np.uint16)
            write_with(folder / "labels" / f"{t:02d}" / f"{short}.png", partial(iio.imwrite, image=picture))
        width, height = cameras.size[i].tolist()
        images.append({"id": i, "file_name": f"{short}.png", "width": width, "height": height})
        annotations += _annotations(tree, leaves.numpy(), i, len(annotations))
        tick(i + 1, len(names))
    found_all = {"images": images, "annotations": annotations, "categories": categories(tree)}
    write_json(folder / "annotations.json", found_all)
    colors = {str(int(n)): "#" + bytes(c.tolist()).hex() for n, c in zip(tree.ids, tree.colors, strict=True)}
    write_json(folder / "palette.json", {"thresholds": [float(t) for t in thresholds], "colors": colors})
    write_json(folder / "hierarchy.json", tree_of(tree))


def categories(tree: Hierarchy) -> list[dict[str, Any]]:
    """COCO's categories: one per node."""
    above = tree_of(tree)["nodes"]
    return [{"id": node["id"], "name": node["name"], "parent_id": node["parent"]} for node in above]


def _annotations(tree: Hierarchy, leaves: np.ndarray, image: int, first: int) -> list[dict[str, Any]]:
    """Every node that a view shows, with its run lengths; ids count from ``first`` over all views."""
    masks: dict[int, np.ndarray] = {}
    for row in tree.bottom_up():
        mask = masks.get(row, np.zeros(leaves.shape, bool)) | (leaves == row)
        if mask.any():
            masks[row] = mask
            above = int(tree.parent[row])
            if above >= 0:
                masks[above] = masks.get(above, np.zeros(leaves.shape, bool)) | mask
    made = []
    for n, row in enumerate(sorted(masks)):
        rle = coco.encode(np.asfortranarray(masks[row], dtype=np.uint8))
        above = int(tree.parent[row])
        made.append({
            "id": first + n, "image_id": image, "category_id": int(tree.ids[row]),
            "parent_id": None if above < 0 else int(tree.ids[above]), "area": int(coco.area(rle)),
            "bbox": [float(v) for v in coco.toBbox(rle)], "iscrowd": 0,
            "segmentation": {"size": list(rle["size"]), "counts": rle["counts"].decode()},
        })  # fmt: skip
    return made


def _save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with open(path, "wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
