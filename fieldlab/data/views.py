"""Views: the cameras and pixels of one split, and loading them from frames."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from fieldlab.data.cameras import Cameras
from fieldlab.data.frames import Frame, Skips
from fieldlab.data.images import available_memory, image_size, read_image, read_mask, resize_area, resize_mask
from fieldlab.data.options import SceneOptions
from fieldlab.errors import DataError

T = TypeVar("T")
R = TypeVar("R")

MEMORY_SHARE = 0.8


@dataclass
class Views:
    """One split of a scene.

    Args:
        cameras: N cameras.
        names: N names, unique within the split.
        pixels: uint8 [sum(H*W), 3|4], pictures one after another, row-major, sRGB, alpha straight.
        masks: bool [sum(H*W)], True = use this pixel; None when all are used.
    """

    cameras: Cameras
    names: list[str]
    pixels: Tensor
    masks: Tensor | None = None
    _offsets: Tensor | None = field(default=None, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def channels(self) -> int:
        """3, or 4 with alpha."""
        return self.pixels.shape[1]

    @property
    def offsets(self) -> Tensor:
        """int64 [N+1] on the cameras' device: picture i has the pixels from offsets[i] to offsets[i+1]."""
        if self._offsets is None:
            counts = self.cameras.pixel_counts()
            self._offsets = torch.cat((counts.new_zeros(1), counts.cumsum(0)))
        return self._offsets

    def image(self, i: int) -> Tensor:
        """Picture ``i`` as uint8 [H,W,C], without a copy."""
        return self._picture(self.pixels, i)

    def mask(self, i: int) -> Tensor | None:
        """bool [H,W], True = use this pixel; None when all are used."""
        return None if self.masks is None else self._picture(self.masks, i)

    def _picture(self, flat: Tensor, i: int) -> Tensor:
        i = range(len(self))[i]
        start, end = self.offsets[i : i + 2].tolist()
        width, height = self.cameras.size[i].tolist()
        return flat[start:end].reshape(height, width, *flat.shape[1:])

    def locate(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """Camera int64 [R] and pixel-center position float32 [R,2] of positions int64 [R] in ``pixels``."""
        index = torch.searchsorted(self.offsets, flat, right=True) - 1
        local = flat - self.offsets[index]
        width = self.cameras.size[index, 0]
        return index, torch.stack((local % width, local // width), dim=-1).float() + 0.5

    def subset(self, indices: Sequence[int]) -> Views:
        """The views at ``indices``, copied."""
        chosen = torch.as_tensor(list(indices), dtype=torch.int64, device=self.cameras.device)
        spans = [slice(*self.offsets[i : i + 2].tolist()) for i in indices]
        empty = self.pixels[:0]
        return Views(
            cameras=self.cameras[chosen],
            names=[self.names[i] for i in indices],
            pixels=torch.cat([empty, *(self.pixels[span] for span in spans)]),
            masks=None if self.masks is None else torch.cat([self.masks[:0], *(self.masks[span] for span in spans)]),
        )

    def to(self, device: torch.device | str) -> Views:
        masks = None if self.masks is None else self.masks.to(device)
        return Views(self.cameras.to(device), self.names, self.pixels.to(device), masks)

    def n_bytes(self) -> int:
        """Memory the pixels and masks take."""
        return self.pixels.numel() + (0 if self.masks is None else self.masks.numel())


@dataclass
class _Plan:
    """A frame with its true picture size and the size it is wanted in."""

    frame: Frame
    size: tuple[int, int]
    target: tuple[int, int]
    intrinsics: tuple[float, float, float, float]
    alpha: bool
    rescaled: bool


def load_views(
    frames_by_split: dict[str, list[Frame]], options: SceneOptions, skips: Skips, notes: list[str]
) -> dict[str, Views]:
    """Read all pictures in threads into one flat array; the splits share it.

    Args:
        frames_by_split: frames in the wanted order.
        skips: where frames go that cannot be read.
        notes: gets a line for everything a person should know.

    Raises:
        DataError: a picture or mask is missing, damaged or of the wrong size, or there is too little memory.
    """
    frames = [frame for split in frames_by_split.values() for frame in split]
    # One thread per processor; decoding releases the interpreter's lock.
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        plans = _collect(pool, frames, lambda frame: _plan(frame, options), skips)
        _check_shapes(plans)
        _report_sizes(plans, notes)
        pixels, masks, good = _read_all(pool, plans, options, skips)
    plans = [plan for plan, ok in zip(plans, good, strict=True) if ok]
    if pixels.shape[1] == 4 and bool((pixels[:, 3] == 255).all()):
        pixels = pixels[:, :3].contiguous()
    views, start = {}, 0
    for split, members in frames_by_split.items():
        wanted = {id(frame) for frame in members}
        mine = [plan for plan in plans if id(plan.frame) in wanted]
        if not mine:
            continue
        end = start + sum(plan.target[0] * plan.target[1] for plan in mine)
        views[split] = _views(mine, pixels[start:end], None if masks is None else masks[start:end])
        start = end
    return views


def _collect(pool: ThreadPoolExecutor, items: list[T], make: Callable[[T], R], skips: Skips) -> list[R]:
    """Like :meth:`Skips.collect`, in threads and in order."""
    futures = [pool.submit(make, item) for item in items]
    try:
        return skips.collect(futures, lambda future: future.result())
    finally:
        for future in futures:
            future.cancel()


def _plan(frame: Frame, options: SceneOptions) -> _Plan:
    width, height, alpha = image_size(frame.image, described_in=frame.file, field=frame.field)
    stated = frame.lens.size
    rescaled = stated is not None and stated != (width, height)
    if stated is not None and rescaled:
        # The same picture at another resolution differs from the stated aspect by no more than a pixel of rounding.
        off = min(abs(width * stated[1] / stated[0] - height), abs(height * stated[0] / stated[1] - width))
        if off > 1.0:
            raise DataError(
                "a picture has another shape than its camera",
                file=frame.image,
                field=f"{frame.field} in {frame.file.name}",
                found=f"{width}x{height}",
                expected=f"{stated[0]}x{stated[1]} or the same resized",
                hint="pictures must not be cropped or turned after the poses were estimated",
            )
    try:
        intrinsics = frame.lens.intrinsics(width, height)
    except ValueError as error:
        raise DataError(
            "the focal length is missing",
            file=frame.file,
            field=frame.field,
            found="neither fl_x nor camera_angle_x",
            expected="fl_x (pixels) or camera_angle_x (radians)",
        ) from error
    return _Plan(frame, (width, height), _target(width, height, options), intrinsics, alpha, rescaled)


def _target(width: int, height: int, options: SceneOptions) -> tuple[int, int]:
    factor = 1 / options.downscale
    if options.max_side is not None:
        factor = min(factor, options.max_side / max(width, height))
    return max(1, int(width * factor + 0.5)), max(1, int(height * factor + 0.5))


def _check_shapes(plans: list[_Plan]) -> None:
    """Where a file states one field of view and no picture size, its pictures must have one shape: a picture of another
    one was cropped or turned, and its rays would be wrong."""
    unstated = [plan for plan in plans if plan.frame.lens.size is None]
    if not unstated:
        return
    (width, height), _ = Counter(plan.size for plan in unstated).most_common(1)[0]
    for plan in unstated:
        if abs(plan.size[1] * width - plan.size[0] * height) > max(width, height):
            raise DataError(
                "pictures of one camera differ in shape", file=plan.frame.image,
                field=f"{plan.frame.field} in {plan.frame.file.name}", found=f"{plan.size[0]}x{plan.size[1]}",
                expected=f"{width}x{height}, as most others, or the same resized",
                hint="state w, h and fl_x for each frame, or remove the picture",
            )  # fmt: skip


def _report_sizes(plans: list[_Plan], notes: list[str]) -> None:
    rescaled = [plan for plan in plans if plan.rescaled]
    if rescaled:
        first = rescaled[0]
        stated = first.frame.lens.size or first.size
        notes.append(
            f"{len(rescaled)} pictures have another resolution than their cameras state ({first.frame.name}: "
            f"{first.size[0]}x{first.size[1]}, stated {stated[0]}x{stated[1]}); the intrinsics were scaled"
        )
    if len(sizes := {plan.target for plan in plans}) > 1:
        notes.append(f"pictures come in {len(sizes)} different sizes")


def _check_memory(plans: list[_Plan], channels: int, masked: bool, options: SceneOptions) -> None:
    need = sum(plan.target[0] * plan.target[1] for plan in plans) * (channels + masked)
    largest = max((plan.size[0] * plan.size[1] for plan in plans), default=0)
    # A picture being made smaller passes through float32 copies.
    need += largest * channels * (1 if all(plan.size == plan.target for plan in plans) else 10)
    if options.max_memory_gb is not None:
        limit, what = int(options.max_memory_gb * 2**30), "allowed"
    elif (free := available_memory()) is not None:
        limit, what = int(free * MEMORY_SHARE), f"at hand ({MEMORY_SHARE:.0%} of what is free)"
    else:
        return
    if need > limit:
        factor = int(np.ceil(np.sqrt(need / max(limit, 1)))) * options.downscale
        raise DataError(
            "the pictures do not fit in memory",
            file=plans[0].frame.file,
            found=f"{len(plans)} pictures need {need / 2**30:.2f} GiB",
            expected=f"at most {limit / 2**30:.2f} GiB, which are {what}",
            hint=f"read them smaller, with downscale = {max(factor, 2)} or a maximum side",
        )


def _read_all(
    pool: ThreadPoolExecutor, plans: list[_Plan], options: SceneOptions, skips: Skips
) -> tuple[Tensor, Tensor | None, list[bool]]:
    """Pixels [P,C], masks [P] or None, and which plans could be read; the others take no place."""
    channels = 4 if any(plan.alpha for plan in plans) else 3
    masked = any(plan.frame.mask is not None for plan in plans)
    _check_memory(plans, channels, masked, options)
    counts = [plan.target[0] * plan.target[1] for plan in plans]
    starts = np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))
    pixels = np.empty((int(starts[-1]), channels), dtype=np.uint8)
    masks = np.ones(int(starts[-1]), dtype=bool) if masked else None

    def read(i: int) -> int:
        span = slice(int(starts[i]), int(starts[i + 1]))
        _read_into(plans[i], pixels[span], None if masks is None else masks[span])
        return i

    done = set(_collect(pool, list(range(len(plans))), read, skips))
    good = [i in done for i in range(len(plans))]
    if not all(good):
        keep = np.repeat(good, counts)
        pixels, masks = pixels[keep], None if masks is None else masks[keep]
    return torch.from_numpy(pixels), None if masks is None else torch.from_numpy(masks), good


def _read_into(plan: _Plan, pixels: np.ndarray, mask: np.ndarray | None) -> None:
    frame = plan.frame
    image = read_image(frame.image, described_in=frame.file, field=frame.field)
    if (image.shape[1], image.shape[0]) != plan.size:
        raise DataError("a picture changed while it was read", file=frame.image)
    image = resize_area(image, *plan.target).reshape(-1, image.shape[2])
    pixels[:, : image.shape[1]] = image
    if image.shape[1] < pixels.shape[1]:
        pixels[:, 3] = 255
    if mask is not None and frame.mask is not None:
        mask[:] = resize_mask(read_mask(frame.mask, *plan.size), *plan.target).reshape(-1)


def _views(plans: list[_Plan], pixels: Tensor, masks: Tensor | None) -> Views:
    def tensor(rows: list[Any], dtype: torch.dtype) -> Tensor:
        return torch.from_numpy(np.asarray(rows)).to(dtype)

    cameras = Cameras(
        camera_to_world=tensor([plan.frame.camera_to_world for plan in plans], torch.float32),
        intrinsics=tensor([plan.intrinsics for plan in plans], torch.float32),
        size=tensor([plan.size for plan in plans], torch.int64),
        model=tensor([int(plan.frame.lens.model) for plan in plans], torch.int64),
        distortion=tensor([plan.frame.lens.distortion for plan in plans], torch.float32),
    ).resized(tensor([plan.target for plan in plans], torch.int64))
    views = Views(cameras, [plan.frame.name for plan in plans], pixels, masks)
    for i in range(len(plans)):
        if (valid := cameras.valid_pixels(i)) is not None:
            if views.masks is None:
                views.masks = torch.ones(pixels.shape[0], dtype=torch.bool)
            span = slice(*views.offsets[i : i + 2].tolist())
            views.masks[span] &= valid
    return views
