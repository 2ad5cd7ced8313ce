"""tiny-cuda-nn, where it is installed, for the hash encoding and the perceptrons on CUDA.

Parameters stay ours: arrays are handed over in its layout at every call, so that checkpoints do not depend on the
backend. Nothing here is needed to use fieldlab, and tiny-cuda-nn computes in half precision, so results differ in the
third digit.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fieldlab.errors import BackendError

if TYPE_CHECKING:
    from fieldlab.ops.hash_grid import HashGridSpec
    from fieldlab.ops.mlp import MLPSpec


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


def hash_encode(x: Tensor, table: Tensor, spec: HashGridSpec) -> Tensor:
    """As :func:`fieldlab.ops.hash_grid.hash_encode`."""
    return _call(_encoding(spec), table, x.clamp(0.0, 1.0))


def mlp(first: Tensor, second: Tensor | None, params: Tensor, spec: MLPSpec) -> Tensor:
    """As :func:`fieldlab.ops.mlp.mlp`, for networks without biases."""
    from fieldlab.ops.mlp import to_tcnn

    inputs = first if second is None else torch.cat([first, second], 1)
    return _call(_network(spec), to_tcnn(params, spec), inputs)


def _call(module: torch.nn.Module, params: Tensor, x: Tensor) -> Tensor:
    return torch.func.functional_call(module, {"params": params}, (x.contiguous(),)).float()


@functools.lru_cache(maxsize=32)
def _encoding(spec: HashGridSpec) -> torch.nn.Module:
    config = {
        "otype": "HashGrid",
        "n_levels": spec.n_levels,
        "n_features_per_level": spec.n_features,
        "log2_hashmap_size": spec.log2_hashmap_size,
        "base_resolution": spec.base_resolution,
        "per_level_scale": spec.per_level_scale,
        "interpolation": spec.interpolation.capitalize(),
    }
    return require().Encoding(spec.dims, config)


@functools.lru_cache(maxsize=32)
def _network(spec: MLPSpec) -> torch.nn.Module:
    config = {
        "otype": "FullyFusedMLP" if spec.width in (16, 32, 64, 128) else "CutlassMLP",
        "activation": "ReLU",
        "output_activation": "Sigmoid" if spec.output_activation == "sigmoid" else "None",
        "n_neurons": spec.width,
        "n_hidden_layers": spec.n_hidden,
    }
    return require().Network(spec.n_in, spec.n_out, config)
