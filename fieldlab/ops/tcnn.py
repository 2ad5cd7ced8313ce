"""tiny-cuda-nn, where it is installed, for the hash encoding and the perceptrons on CUDA.

Parameters stay ours: arrays are handed over in its layout at every call, so that checkpoints do not depend on the
backend. Nothing here is needed to use fieldlab, and tiny-cuda-nn computes in half precision, so results differ in the
third digit. What its modules are for is said where they are used, in ``hash_grid.py`` and ``mlp.py``.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from fieldlab.errors import BackendError


def require() -> Any:
    """The tinycudann module.

    Raises:
        BackendError: it is not installed, or there is no CUDA device for it.
    """
    try:
        import tinycudann
    except (ImportError, OSError) as error:  # OSError is how it says that there is no usable device
        raise BackendError(
            "the backend tcnn needs tiny-cuda-nn's PyTorch extension and a CUDA device",
            found=error,
            hint="use --backend native, which needs neither",
        ) from error
    return tinycudann


def evaluate(kind: str, sizes: tuple[int, ...], params: Tensor, x: Tensor, **config: Any) -> Tensor:
    """One of its modules with parameters of ours.

    Args:
        kind: name of the module's class.
        sizes: what the class takes before its configuration.
        params: float32, in its layout.
        x: float32 [S,inputs].
        config: as its documentation names them.

    Returns:
        float32 [S,outputs]; differentiable in both.
    """
    module = _module(kind, sizes, tuple(config.items()))
    return torch.func.functional_call(module, {"params": params}, (x.contiguous(),)).float()


@functools.lru_cache(maxsize=32)
def _module(kind: str, sizes: tuple[int, ...], config: tuple[tuple[str, Any], ...]) -> torch.nn.Module:
    return getattr(require(), kind)(*sizes, dict(config))
