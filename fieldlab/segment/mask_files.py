"""Reading masks as segmenters and people leave them: one file or folder per photograph, in any of these forms.

* ``NAME.json``: a list of dicts with ``segmentation`` (COCO run lengths, compressed or not, or polygons), as SAM's and
  SAM 2's automatic mask generators write it;
* ``NAME/*.png``: one picture per mask, not black where it is;
* ``NAME.png`` or ``.tif``, also ``NAME_0.png``, ``NAME_1.png``, ...: pictures of labels, 0 for none, as many as wanted;
* one ``.json`` of a whole data set with ``images`` and ``annotations`` (COCO);
* the folder of a NeRF-Synthetic scene with ``train_seg/NAME/*.png`` beside ``train`` (Ultrametric Feature Fields). Its
  tables of what lies inside what are not read: that is computed again for every source.

A folder may have the photographs' split below it, as in ``masks/train/NAME.json``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from fieldlab.errors import DataError
from fieldlab.segment.masks import ImageMasks, Rle
from fieldlab.segment.picture_files import read_picture

PICTURES = (".png", ".tif", ".tiff", ".bmp")
LARGEST_FILE = 1 << 30
MOST_LABELS = 4096  # of one picture
MOST_PIXELS = 1 << 28  # of one mask
MOST_OUTLINE = 1 << 22  # pixels along a polygon's edges
LONGEST_RUN = 6  # characters of a compressed one, more than MOST_PIXELS needs


def read_masks(source: Path, names: Sequence[str], sizes: Sequence[tuple[int, int]], split: str = "train",
               others: Sequence[str] = ()) -> dict[str, ImageMasks]:  # fmt: skip
    """The masks of photographs ``names`` with ``sizes`` (H, W); photographs without any are left out.

    Args:
        source: a folder or file as above.
        names: of the photographs.
        sizes: in the same order.
        split: what a folder for them may be called.
        others: names for which masks are ignored, such as test views.

    Raises:
        DataError: nothing is there, masks are for views that do not exist or of another size or damaged, or fewer than
            two photographs have any.
    """
    if not source.exists():
        raise DataError("there are no masks", file=source, hint="give the folder they are in, or auto")
    by_name = _coco_files(source) if source.is_file() else _by_name(_folder(source, split), names)
    unknown = sorted(set(by_name) - set(names) - set(others))
    if unknown:
        raise DataError("masks are for views that do not exist", file=source, found=", ".join(unknown[:5]),
                        expected=f"names such as {', '.join(list(names)[:3])}")  # fmt: skip
    found: dict[str, ImageMasks] = {}
    for name, size in zip(names, sizes, strict=True):
        if name in by_name:
            masks = by_name[name](size).without_doubles()
            if len(masks):
                found[name] = masks
    if len(found) < 2:
        raise DataError("fewer than two photographs have masks", file=source, found=len(found), expected="2 or more",
                        hint="masks are files or folders with the photographs' names")  # fmt: skip
    return found


class Reader:
    """Reads the masks of one photograph when its size is known."""

    def __init__(self, *sources: Path | Mapping[str, Any], file: Path) -> None:
        self.sources, self.file = sources, file

    def __call__(self, size: tuple[int, int]) -> ImageMasks:
        rles: list[Rle] = []
        for source in self.sources:
            if isinstance(source, Mapping):
                rles.append(_rle(source, size, self.file))
            elif source.is_dir():
                pictures = sorted((p for p in source.iterdir() if p.suffix.lower() in PICTURES), key=_by_number)
                rles += [_encoded(_flat(_picture(p, size)) > 0) for p in pictures]
            elif source.suffix == ".json":
                rles += [_rle(entry, size, source) for entry in _entries(source)]
            else:
                rles += _labels(_picture(source, size), source)
        return ImageMasks(size, tuple(rles))


def _folder(source: Path, split: str) -> Path:
    """Where the masks are below a folder."""
    for below in (source / f"{split}_seg", source / split):
        if below.is_dir() and not any(below.glob("*.jpg")):
            return below
    return source


def _by_name(folder: Path, names: Sequence[str]) -> dict[str, Reader]:
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir(), key=_by_number):
        if path.is_dir() and not any(p.suffix.lower() in PICTURES for p in path.iterdir()):
            continue
        if path.is_file() and path.suffix.lower() not in (*PICTURES, ".json"):
            continue
        name = path.name if path.is_dir() else path.stem
        level = re.sub(r"_\d+$", "", name)
        found.setdefault(level if name not in names and level in names else name, []).append(path)
    return {name: Reader(*paths, file=paths[0]) for name, paths in found.items()}


def _coco_files(file: Path) -> dict[str, Reader]:
    data = _json(file)
    if not isinstance(data, dict) or not isinstance(data.get("images"), list):
        raise DataError("these are no masks of a data set", file=file, expected='"images" and "annotations"')
    try:
        names = {image["id"]: Path(image["file_name"]).stem for image in data["images"]}
        entries: dict[str, list[Any]] = {}
        for entry in data.get("annotations", []):
            entries.setdefault(names[entry["image_id"]], []).append(entry)
    except (KeyError, TypeError) as error:
        raise DataError("masks of a data set are incomplete", file=file, field=str(error)) from error
    return {name: Reader(*found, file=file) for name, found in entries.items()}


def _entries(file: Path) -> list[Any]:
    data = _json(file)
    if isinstance(data, dict):
        data = data.get("annotations", data.get("masks"))
    if not isinstance(data, list) or not all(isinstance(entry, dict) for entry in data):
        raise DataError("masks are a list of objects", file=file, expected='[{"segmentation": ...}, ...]')
    return data


def _json(file: Path) -> Any:
    if file.stat().st_size > LARGEST_FILE:
        raise DataError("a file of masks is too large", file=file, found=file.stat().st_size, expected=LARGEST_FILE)
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError("masks cannot be read", file=file, found=error) from error


def _rle(entry: Mapping[str, Any], size: tuple[int, int], file: Path) -> Rle:
    """COCO's compressed run lengths of one mask, checked."""
    given = entry.get("segmentation")
    if isinstance(given, list):
        return _polygons(given, size, file)
    if not isinstance(given, dict) or "counts" not in given or "size" not in given:
        raise DataError("a mask has no segmentation", file=file, field="segmentation", found=type(given).__name__,
                        expected="COCO run lengths or polygons")  # fmt: skip
    try:
        found = tuple(int(v) for v in given["size"])
        height, width = found
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError("a mask has no size", file=file, field="segmentation.size", found=given["size"]) from error
    _check_shape(height, width, size, file)  # before memory is taken for it
    counts = given["counts"]
    if isinstance(counts, list):
        whole = all(type(run) is int and run >= 0 for run in counts)
        if not whole or sum(counts) != height * width:
            raise _wrong_counts(file, sum(counts) if whole else "no numbers of pixels", height * width)
        made = coco.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    elif isinstance(counts, str):
        made = {"size": [height, width], "counts": counts.encode(errors="surrogatepass")}
        runs_sum = _sum_of_compressed(made["counts"], file)
        if runs_sum != height * width:
            raise _wrong_counts(file, runs_sum, height * width)
    else:
        raise _wrong_counts(file, type(counts).__name__, "a list or a string")
    return made if found == size else _encoded(_fitted(coco.decode(made), size, file))


def _sum_of_compressed(text: bytes, file: Path) -> int:
    """Pixels that compressed run lengths describe: LEB128 in printable characters, from the fourth on as differences to
    the run two before (pycocotools would read beyond its arrays where they are wrong)."""
    runs: list[int] = []
    value = shift = 0
    for byte in text:
        bits = byte - 48
        if not 0 <= bits < 64:
            raise _wrong_counts(file, "characters that are no run lengths", "COCO's compressed run lengths")
        value |= (bits & 31) << shift
        shift += 5
        if shift > 5 * LONGEST_RUN:
            raise _wrong_counts(file, "a run without an end", "COCO's compressed run lengths")
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
            if runs[-1] < 0:
                raise _wrong_counts(file, runs[-1], "no negative run")
    if shift:
        raise _wrong_counts(file, "an unfinished run", "COCO's compressed run lengths")
    return sum(runs)


def _polygons(given: list[Any], size: tuple[int, int], file: Path) -> Rle:
    """Polygons in pixels of the photograph. They may leave it, but not go far: pycocotools walks along their edges."""
    try:
        parts = [[float(v) for v in polygon] for polygon in given]
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError("a polygon is no list of numbers", file=file, field="segmentation", found=error) from error
    if any(len(p) < 6 or len(p) % 2 or not np.isfinite(p).all() for p in parts):
        raise DataError("a mask's polygon has three corners or more", file=file, field="segmentation",
                        expected="x y of each corner")  # fmt: skip
    extent = np.array(size[::-1])
    for corners in (np.array(part).reshape(-1, 2) for part in parts):
        if (corners < -extent).any() or (corners > 2 * extent).any():
            raise DataError("a mask's polygon is far outside its photograph", file=file, field="segmentation",
                            found=f"x y from {corners.min(0)} to {corners.max(0)}",
                            expected=f"corners about within {size[1]} x {size[0]} pixels")  # fmt: skip
        outline = np.abs(corners - np.roll(corners, 1, axis=0)).max(1).sum()
        if outline > MOST_OUTLINE:
            raise DataError("a mask's polygon is too long", file=file, field="segmentation",
                            found=f"{outline:.0f} pixels", expected=f"at most {MOST_OUTLINE}")  # fmt: skip
    if not parts:
        return _encoded(np.zeros(size, bool))
    return coco.merge(coco.frPyObjects(parts, *size))


def _labels(picture: NDArray[Any], file: Path) -> list[Rle]:
    """A mask for every label of a picture but 0; a picture in color has a label for every color but black."""
    if picture.ndim == 3:
        values = picture[..., :3].astype(np.int64)
        picture = (values[..., 0] << 32) + (values[..., 1] << 16) + values[..., 2]
    labels = np.unique(picture)
    if len(labels) > MOST_LABELS:
        raise DataError("a picture has too many labels", file=file, found=len(labels), hint="is it a photograph?",
                        expected=f"at most {MOST_LABELS}")  # fmt: skip
    return [_encoded(picture == label) for label in labels if label]


def _picture(file: Path, size: tuple[int, int]) -> NDArray[Any]:
    return _fitted(read_picture(file, "masks"), size, file)


def _flat(picture: NDArray[Any]) -> NDArray[Any]:
    return picture[..., :3].max(-1) if picture.ndim == 3 else picture


def _fitted(picture: NDArray[Any], size: tuple[int, int], file: Path) -> NDArray[Any]:
    """A picture of the photograph's shape in its size: nearest pixels.

    Raises:
        DataError: it has another shape.
    """
    height, width = picture.shape[:2]
    _check_shape(height, width, size, file)
    if (height, width) == size:
        return picture
    rows = ((np.arange(size[0]) + 0.5) * height / size[0]).astype(int)
    columns = ((np.arange(size[1]) + 0.5) * width / size[1]).astype(int)
    return picture[rows][:, columns]


def _check_shape(height: int, width: int, size: tuple[int, int], file: Path) -> None:
    """Masks have their photograph's size, or its shape.

    Raises:
        DataError: they have another shape, or more pixels than any photograph.
    """
    fits = height > 0 and width > 0 and height * width <= MOST_PIXELS
    scale = height / size[0] if fits else 0.0
    if not fits or abs(width - scale * size[1]) > max(1.0, scale):
        raise DataError("masks are of another size than their photograph", file=file, found=f"{width} x {height}",
                        expected=f"{size[1]} x {size[0]}, or a multiple")  # fmt: skip


def _encoded(mask: NDArray[Any]) -> Rle:
    return coco.encode(np.asfortranarray(mask, dtype=np.uint8))  # type: ignore[no-any-return]


def _by_number(path: Path) -> list[Any]:
    return [int(word) if word.isdecimal() else word for word in re.split(r"(\d+)", path.name)]


def _wrong_counts(file: Path, found: object, expected: object) -> DataError:
    return DataError("a mask's run lengths do not add up", file=file, field="segmentation.counts", found=found,
                     expected=expected)  # fmt: skip
