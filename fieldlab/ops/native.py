"""The native module: finding it, choosing between it and the PyTorch references, and handing arrays to it.

Three backends have one meaning:

* ``native``: the compiled kernels of ``cuda/``, on the CPU or on a CUDA device (the default where they were built);
* ``reference``: plain PyTorch, slow and obvious, what everything else is tested against;
* ``tcnn``: tiny-cuda-nn for encoding and MLP on CUDA where it is installed, native for the rest.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from fieldlab.errors import BackendError
from fieldlab.ops import tcnn

try:
    from fieldlab import _native as library  # type: ignore[attr-defined]
except ImportError:  # built without a compiler, or not built at all
    library = None

BACKENDS = ("native", "reference", "tcnn")

_chosen = "native"


class NativeMissingWarning(UserWarning):
    """The native kernels cannot be used, so the PyTorch references run instead (ten to twenty times slower)."""


def backend() -> str:
    """The name of the backend in use: one of ``BACKENDS``."""
    return _chosen


def set_backend(name: str) -> None:
    """Choose the backend for all operations from here on.

    Raises:
        BackendError: the name is unknown, or tiny-cuda-nn was asked for and cannot be imported.
    """
    global _chosen
    if name not in BACKENDS:
        raise BackendError("there is no such backend", found=name, expected=" | ".join(BACKENDS))
    if name == "tcnn":
        tcnn.require()
    _chosen = name


@contextlib.contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Choose the backend inside a ``with`` block."""
    before = _chosen
    set_backend(name)
    try:
        yield
    finally:
        set_backend(before)


def active(*tensors: Tensor) -> bool:
    """Whether the native kernels shall work on these tensors (all on one device).

    Raises:
        BackendError: they are on a CUDA device that is too old for the kernels.
    """
    if _chosen == "reference":
        return False
    device = tensors[0].device
    if library is None:
        _warn_once("fieldlab's native kernels were not built (no C++ compiler was found when it was installed)")
        return False
    if device.type == "cuda" and not library.has_cuda:
        _warn_once("fieldlab's native kernels have no CUDA half (no CUDA compiler was found when it was installed)")
        return False
    if device.type == "cuda":
        check_capability(device)
    return device.type in ("cpu", "cuda")


def check_capability(device: torch.device) -> None:
    """Make sure that the backend in use runs on a device; any does on a CPU.

    Raises:
        BackendError: it is a CUDA device that is older than those the native kernels were compiled for.
    """
    if device.type != "cuda" or _chosen == "reference" or library is None or not library.has_cuda:
        return
    found, oldest = _capability(device.index), library.oldest_cuda_capability
    if found < oldest:
        raise BackendError(
            "this CUDA device is older than those that fieldlab's native kernels were compiled for",
            found="compute capability {}.{}".format(*found),
            expected="{}.{} or newer".format(*oldest),
            hint="use --device cpu or --backend reference, or reinstall fieldlab with"
            " -C cmake.define.CMAKE_CUDA_ARCHITECTURES={}{}".format(*found),
        )


@functools.cache
def _capability(index: int | None) -> tuple[int, int]:
    return torch.cuda.get_device_capability(index)


_warned: set[str] = set()


def _warn_once(reason: str) -> None:
    if reason not in _warned:
        _warned.add(reason)
        warnings.warn(
            f"{reason}; the slow PyTorch references run instead. Install a compiler and reinstall fieldlab for speed.",
            NativeMissingWarning,
            stacklevel=3,
        )


def target(tensor: Tensor) -> Any:
    """Where a native call on this tensor runs: PyTorch's CPU threads, or its device and current stream."""
    assert library is not None
    if tensor.is_cuda:
        index = tensor.device.index
        return library.Target(cuda=True, device=index, stream=torch.cuda.current_stream(index).cuda_stream)
    return library.Target(cuda=False, threads=torch.get_num_threads())


def array(tensor: Tensor | None, dtype: torch.dtype = torch.float32) -> tuple[int, int, int, Tensor] | None:
    """Address and strides of an array [S,C] in any layout, or [S], and itself, so that it lives until the call is over.

    Raises:
        BackendError: it has another type or number of dimensions.
    """
    if tensor is None:
        return None
    if tensor.dtype != dtype or tensor.dim() not in (1, 2):
        raise BackendError(
            "a native operation takes arrays [S,C] or [S]", found=f"{tensor.dtype} {tuple(tensor.shape)}",
            expected=dtype,
        )  # fmt: skip
    return tensor.data_ptr(), tensor.stride(0), tensor.stride(1) if tensor.dim() == 2 else 0, tensor


def pointer(tensor: Tensor | None, dtype: torch.dtype = torch.float32) -> tuple[int, Tensor] | None:
    """Address of a contiguous array, and itself, so that it lives until the call is over.

    Raises:
        BackendError: it has another type or is not contiguous.
    """
    if tensor is None:
        return None
    if tensor.dtype != dtype or not tensor.is_contiguous():
        raise BackendError("a native operation takes contiguous arrays", found=tensor.dtype, expected=dtype)
    return tensor.data_ptr(), tensor


def empty_samples(like: Tensor, samples: int, channels: int) -> Tensor:
    """An uninitialised float32 array [S,C] stored feature by feature, which is how the kernels like to write."""
    return torch.empty((channels, samples), dtype=torch.float32, device=like.device).t()
