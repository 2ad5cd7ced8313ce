"""Choosing where to compute."""

from __future__ import annotations

import os

import torch

from fieldlab.errors import BackendError, ConfigError
from fieldlab.ops import native


def choose_device(name: str) -> torch.device:
    """The device of a name: ``cpu``, ``cuda``, or ``auto``, which prefers CUDA.

    Among several processes, ``LOCAL_RANK`` says which of the CUDA devices is this one's.

    Raises:
        ConfigError: no device is called so.
        BackendError: CUDA was asked for and there is none, or it is too old for the native kernels.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError("there is no such device", found=name, expected="auto | cpu | cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise BackendError("there is no CUDA device here", found=name, hint="use --device cpu or auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
        native.check_capability(device)
        return device
    return torch.device(name)
