"""What earlier versions stored, said as today's does. Nothing else in fieldlab knows of earlier versions.

Format 3 looked at all cells of the occupancy grid at once, at a step that was a setting, and had steps along rays be
longer before. Format 2 (fieldlab 0.1 until November 2026) did not store the kind of a run: it followed from which
sections its configuration had. The configuration stood in every checkpoint too, and loops had names of their own for
the running average. Format 1 named one array differently.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fieldlab.render.occupancy import UNKNOWN

_ARRAYS = {1: {"model.field.table": "model.field.encoding.table"}}
_AVERAGES = ("mse", "right", "loss")


def upgraded_config(values: dict[str, Any]) -> dict[str, Any]:
    """A run's configuration with its kind and its parent, and without settings that are none any more."""
    if isinstance(values.get("scene"), dict):  # no views were held out for validation once
        values = {**values, "scene": {"validation": 0.0, **values["scene"]}}
    for section in ("train", "distill"):
        if isinstance(values.get(section), dict) and "occupancy_passes" in values[section]:
            kept = {name: value for name, value in values[section].items() if name != "occupancy_passes"}
            values = {**values, section: kept}
    if "kind" in values:
        return values
    values = {**values, "kind": _kind_of_format_2(values)}
    if "teacher" in values:
        values["parent"] = values.pop("teacher")
    for section, name in (("distill", "teacher_print"), ("segment", "run_print")):
        if isinstance(values.get(section), dict) and name in values[section]:
            values[section] = {**values[section]}
            values["parent_fingerprint"] = values[section].pop(name)
    return values


def _kind_of_format_2(values: dict[str, Any]) -> str:
    if "segment" in values:
        return "segmented"
    field = values.get("field")
    if isinstance(field, dict) and field.get("kind") == "edited":
        return "edited"
    return "distilled" if "distill" in values else "trained"


def upgraded_checkpoint(
    version: int, arrays: dict[str, Tensor], header: dict[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A checkpoint's arrays and header."""
    for known, names in _ARRAYS.items():
        if version <= known:
            arrays = {names.get(name, name): array for name, array in arrays.items()}
    if version <= 2:
        header = {name: value for name, value in header.items() if name != "run"}
        training = header.get("training")
        if isinstance(training, dict) and isinstance(training.get("progress"), dict):
            progress = {"average" if k in _AVERAGES else k: v for k, v in training["progress"].items()}
            header["training"] = {**training, "progress": progress}
    if version <= 3:
        header = _with_step_scale(header)
        values = arrays.get("model.occupancy.values")
        if values is not None and values.numel() and float(values.max()) <= 0:  # nobody had looked at it yet
            arrays = {**arrays, "model.occupancy.values": values.where(values < 0, UNKNOWN)}
    return arrays, header


def _with_step_scale(header: dict[str, Any]) -> dict[str, Any]:
    training = header.get("training")
    if not isinstance(training, dict) or not isinstance(training.get("progress"), dict):
        return header
    progress = training["progress"]
    if "cells_due" not in progress or "kept_fraction" not in progress:  # of another loop than training
        return header
    return {**header, "training": {**training, "progress": {**progress, "step_scale": 1.0}}}
