"""Masks from a model of the SAM family in a local folder, through Hugging Face transformers' mask generation."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fieldlab.errors import BackendError, DataError
from fieldlab.segment.masks import Rle

Masks = list[tuple[Rle, float]]
"""Run lengths of masks and how good the model thinks they are."""


class MaskGenerator:
    """Finds all masks of a picture.

    Args:
        model: a folder with ``config.json``, ``model.safetensors`` and ``preprocessor_config.json``, as
            ``save_pretrained`` or a download writes it. Nothing is fetched from anywhere, and no code in it is run.
        device: where to run it.
        points: a picture's sides are asked at so many points each.
        quality: least predicted intersection over union of a mask that is kept.
        stability: least share of a mask that stays when its border is drawn at other values.

    Raises:
        BackendError: transformers is not installed, or torchvision, where the model needs it.
        DataError: the folder holds no such model.
    """

    def __init__(
        self, model: Path, device: torch.device | str = "cpu", points: int = 32, quality: float = 0.88,
        stability: float = 0.95,
    ) -> None:  # fmt: skip
        self._pipeline = _load(model, torch.device(device))
        self._options: dict[str, Any] = {"points_per_crop": points, "pred_iou_thresh": quality,
                                         "stability_score_thresh": stability, "output_rle_mask": True}  # fmt: skip

    def __call__(self, picture: NDArray[np.uint8]) -> Masks:
        """Masks of a picture [H,W,3], larger ones first."""
        from PIL import Image
        from pycocotools import mask as coco

        height, width = picture.shape[:2]
        try:
            found = self._pipeline(Image.fromarray(picture), **self._options)
        except ImportError as error:
            raise _not_installed("torchvision", error) from error
        made: Masks = []
        for rle, score in zip(found["rle_mask"], found["scores"].tolist(), strict=True):
            counts = {"size": [height, width], "counts": [int(c) for c in rle["counts"]]}
            made.append((coco.frPyObjects(counts, height, width), float(score) if math.isfinite(score) else 0.0))
        return sorted((mask for mask in made if coco.area(mask[0])), key=lambda mask: -int(coco.area(mask[0])))


def sam_entries(masks: Masks) -> list[dict[str, Any]]:
    """What SAM's automatic mask generator writes of masks, as plain values."""
    from pycocotools import mask as coco

    return [
        {
            "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()}, "area": int(coco.area(rle)),
            "bbox": coco.toBbox(rle).tolist(), "predicted_iou": round(score, 4),
        }
        for rle, score in masks
    ]  # fmt: skip


def _load(model: Path, device: torch.device) -> Callable[..., dict[str, Any]]:
    if not (model / "config.json").is_file():
        raise DataError("this folder holds no model", file=model, hint="download one such as sam-vit-base first",
                        expected="config.json, model.safetensors and preprocessor_config.json")  # fmt: skip
    from safetensors import SafetensorError

    try:
        from transformers import AutoImageProcessor, AutoModelForMaskGeneration, pipeline
        from transformers.utils import logging
    except ImportError as error:
        raise _not_installed("transformers", error) from error
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        network = AutoModelForMaskGeneration.from_pretrained(model, local_files_only=True, use_safetensors=True)
        processor = AutoImageProcessor.from_pretrained(model, local_files_only=True)
        made = pipeline("mask-generation", model=network, image_processor=processor, device=device)
    except ImportError as error:
        raise _not_installed("torchvision", error) from error
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError("a model cannot be read", file=model, found=said,
                        expected="a model of the SAM family in safetensors") from error  # fmt: skip
    processor.post_process_for_mask_generation = _best_of_overlapping
    return made  # type: ignore[no-any-return]


def _best_of_overlapping(masks: list[Any], scores: Tensor, boxes: Tensor, overlap: float) -> tuple[Any, ...]:
    """What transformers asks a processor to do with the masks of all points and crops: keep the best of those whose
    boxes nearly coincide. Done here because there it needs torchvision, which not every machine has in a fitting build.
    """
    kept = suppress(boxes.float().cpu(), scores.float().cpu(), overlap)
    chosen = [masks[i] for i in kept.tolist()]
    return chosen, scores.cpu()[kept], chosen, boxes.cpu()[kept]


def suppress(boxes: Tensor, scores: Tensor, overlap: float) -> Tensor:
    """int64 [K]: boxes [B,4] (x0, y0, x1, y1) from the highest score on, without those whose intersection over union
    with a kept one is above ``overlap``."""
    order = scores.argsort(descending=True, stable=True)
    boxes = boxes[order]
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    alive = torch.ones(len(boxes), dtype=torch.bool)
    for i in range(len(boxes)):
        if not alive[i]:
            continue
        low = torch.maximum(boxes[i, :2], boxes[i + 1 :, :2])
        high = torch.minimum(boxes[i, 2:], boxes[i + 1 :, 2:])
        shared = (high - low).clamp_min(0).prod(1)
        alive[i + 1 :] &= shared <= overlap * (area[i] + area[i + 1 :] - shared)
    return order[alive]


def _not_installed(what: str, error: Exception) -> BackendError:
    return BackendError(f"{what} is not installed", found=str(error).strip().splitlines()[0],
                        hint="pip install 'fieldlab[sam]'")  # fmt: skip
