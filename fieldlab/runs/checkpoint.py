"""Checkpoints: arrays in safetensors with one JSON header. Never pickle.

The header holds the format version, the model's plain values, the scene's views and the training state. Together with
the run's ``config.toml`` that is enough to render or to go on, without the photographs.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fieldlab.errors import CheckpointError, ConfigError
from fieldlab.fields.encoding import part
from fieldlab.files import write_with
from fieldlab.render.model import RadianceModel
from fieldlab.runs.upgrade import upgraded_checkpoint

FORMAT_VERSION = 4
_KEY = "fieldlab"
_MAX_HEADER = 100 << 20


@dataclass
class Checkpoint:
    """Arrays by name (on the CPU) and plain values."""

    arrays: dict[str, Tensor]
    header: dict[str, Any]
    path: Path | None = None

    @property
    def step(self) -> int:
        """Steps done.

        Raises:
            CheckpointError: it does not say.
        """
        try:
            return int(self.header["training"]["progress"]["step"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError("a checkpoint lacks what is needed to go on training", file=self.path,
                                  found=error) from error  # fmt: skip

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The arrays whose names start with ``prefix`` and a dot, without it."""
        return part(self.arrays, prefix)


def write_checkpoint(path: Path, arrays: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Write a checkpoint, whole or not at all.

    Raises:
        RunFolderError: the disk is full or the folder cannot be written.
    """
    text = json.dumps({"format_version": FORMAT_VERSION, **header}, allow_nan=False)
    kept = {name: array.detach().cpu().contiguous() for name, array in arrays.items()}

    def save(temporary: Path) -> None:
        try:
            save_file(kept, str(temporary), metadata={_KEY: text})
        except SafetensorError as error:  # wraps the operating system's error as text
            raise _as_os_error(error) from error

    write_with(path, save)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint into main memory.

    Raises:
        CheckpointError: missing, cut short, damaged, of another program, or from a newer version.
    """
    _check_length(path)
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            header = _header(path, file.metadata())
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
    except (SafetensorError, OSError) as error:
        raise CheckpointError("a checkpoint is damaged", file=path, found=error) from error
    return Checkpoint(*upgraded_checkpoint(header["format_version"], arrays, header), path)


def load_model(model: RadianceModel, checkpoint: Checkpoint) -> None:
    """Give a model the state of a checkpoint, whatever stage of growth its field was at.

    Raises:
        CheckpointError: the arrays do not fit the model's configuration.
    """
    arrays = checkpoint.part("model")
    take_shapes(model.field, part(arrays, "field"), checkpoint.path)
    for name in model.heads:
        take_shapes(model.head(name), part(arrays, f"heads.{name}"), checkpoint.path)
    load_arrays(model, arrays, checkpoint.path)
    model.occupancy.changed()


class Resizable(Protocol):
    """What can take the shapes of a checkpoint's arrays."""

    def resize_like(self, arrays: Mapping[str, Tensor]) -> None: ...


def take_shapes(module: Resizable, arrays: Mapping[str, Tensor], path: Path | None) -> None:
    """Give a module the shapes of a checkpoint's arrays.

    Raises:
        CheckpointError: its configuration does not allow them.
    """
    try:
        module.resize_like(arrays)
    except ConfigError as error:
        raise CheckpointError("an array in a checkpoint does not fit its configuration", file=path, field=error.field,
                              found=error.found, expected=error.expected) from error  # fmt: skip


def load_arrays(module: torch.nn.Module, arrays: dict[str, Tensor], path: Path | None) -> None:
    """Copy arrays into the parameters and buffers of a module.

    Raises:
        CheckpointError: names, shapes or types differ.
    """
    own = module.state_dict()
    if differing := sorted(set(own) ^ set(arrays)):
        raise CheckpointError(
            "a checkpoint has other arrays than its configuration asks for", file=path, field=", ".join(differing)
        )
    for name, mine in own.items():
        if arrays[name].shape != mine.shape or arrays[name].dtype != mine.dtype:
            raise CheckpointError(
                "an array in a checkpoint has the wrong shape or type",
                file=path,
                field=name,
                found=f"{arrays[name].dtype} {tuple(arrays[name].shape)}",
                expected=f"{mine.dtype} {tuple(mine.shape)}",
            )
        mine.copy_(arrays[name])


def _check_length(path: Path) -> None:
    """Compare the file's length with what its header announces, before any memory is taken."""
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            start = file.read(8)
            if len(start) < 8:
                raise CheckpointError("a checkpoint is cut short", file=path, found=f"{size} bytes")
            (length,) = struct.unpack("<Q", start)
            if length > min(size - 8, _MAX_HEADER):
                raise CheckpointError("a checkpoint is cut short or damaged", file=path, found=f"{size} bytes")
            entries = json.loads(file.read(length))
    except OSError as error:
        raise CheckpointError("a checkpoint cannot be read", file=path, found=error.strerror) from error
    except ValueError as error:
        raise CheckpointError("a checkpoint is damaged", file=path, field="header", found=error) from error
    if not isinstance(entries, dict):
        raise CheckpointError("a checkpoint is damaged", file=path, field="header", found=type(entries).__name__)
    arrays = [entry for name, entry in entries.items() if name != "__metadata__"]
    try:
        end = 8 + length + max((int(entry["data_offsets"][1]) for entry in arrays), default=0)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise CheckpointError("a checkpoint is damaged", file=path, field="header", found=error) from error
    if end != size:
        raise CheckpointError(
            "a checkpoint is cut short" if size < end else "a checkpoint is longer than it should be",
            file=path, found=f"{size} bytes", expected=f"{end} bytes",
        )  # fmt: skip


def _header(path: Path, metadata: dict[str, str] | None) -> dict[str, Any]:
    if not metadata or _KEY not in metadata:
        raise CheckpointError("this is not a fieldlab checkpoint", file=path, field=_KEY, found="no header")
    header: Any
    try:
        header = json.loads(metadata[_KEY])
    except ValueError as error:
        raise CheckpointError("a checkpoint is damaged", file=path, field=_KEY, found=error) from error
    header = header if isinstance(header, dict) else {}
    version = header.get("format_version")
    if not isinstance(version, int) or version < 1:
        raise CheckpointError("a checkpoint has no version", file=path, field="format_version", found=version)
    if version > FORMAT_VERSION:
        raise CheckpointError(
            "a checkpoint is from a newer version of fieldlab", file=path, field="format_version", found=version,
            expected=f"at most {FORMAT_VERSION}", hint="update fieldlab",
        )  # fmt: skip
    return dict(header)


def _as_os_error(error: SafetensorError) -> OSError:
    import errno
    import re

    code = re.search(r"os error (\d+)", str(error))
    return OSError(int(code.group(1)) if code else errno.EIO, str(error))
