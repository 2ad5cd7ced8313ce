"""A signal: an encoding of the unit square or cube, and the perceptron that reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from fieldlab.fields.base import Counted, FieldConfig, ParamGroup
from fieldlab.fields.encoding import part
from fieldlab.ops.mlp import init_mlp, mlp


class Signal(Counted):
    """Values of positions in the unit square or cube.

    Args:
        config: the representation.
        dims: 2 or 3.
        n_out: values per position.
        generator: CPU random numbers for the initial values.

    Raises:
        ConfigError: the representation has no encoding in so many dimensions.
    """

    def __init__(self, config: FieldConfig, dims: int, n_out: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.encoding = config.build_encoding(dims, generator)
        self.decoder = config.decoder(self.encoding.n_out, n_out)
        self.decoder_params = nn.Parameter(init_mlp(self.decoder, generator))

    def forward(self, x: Tensor, neighbors: Tensor | None = None) -> Tensor:
        """Values [S,n_out] at x float32 [S,dims] in [0,1]; ``neighbors`` is what the encoding's ``nearest`` said."""
        features = self.encoding(x) if neighbors is None else self.encoding(x, neighbors)
        return mlp(features, self.decoder_params, self.decoder)

    @torch.no_grad()
    def evaluate(self, x: Tensor, chunk: int = 1 << 18) -> Tensor:
        """The same without derivatives, a chunk at a time; x and the values are on the CPU."""
        device = self.decoder_params.device
        parts = [self(piece.to(device)).cpu() for piece in x.split(chunk)]
        return torch.cat(parts) if parts else torch.empty(0, self.decoder.n_out)

    def param_groups(self, encoding_scale: float = 1.0) -> list[ParamGroup]:
        """All trainable parameters; the encoding's learning rates are ``encoding_scale`` times as high."""
        groups = [replace(group, lr_scale=group.lr_scale * encoding_scale) for group in self.encoding.param_groups()]
        return [*groups, ParamGroup("decoder", [self.decoder_params])]

    def resize_like(self, arrays: Mapping[str, Tensor]) -> None:
        """Give the encoding the shapes of a checkpoint's arrays."""
        self.encoding.resize_like(part(arrays, "encoding"))
