"""Feature heads: outputs of a model besides density and color, such as those a segmentation learns.

A head reads an encoding of its own, so that it means the same on top of any representation: distillation copies it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fieldlab.errors import ConfigError, require
from fieldlab.fields.base import Counted, FieldConfig
from fieldlab.fields.encoding import part
from fieldlab.fields.hashgrid import HashGridConfig
from fieldlab.fields.registry import config_from_dict, config_to_dict
from fieldlab.fields.training import ParamGroup
from fieldlab.ops.mlp import MLPSpec, init_mlp, mlp


@dataclass(frozen=True)
class HeadConfig:
    """Plain values of a head."""

    name: str = "features"
    """What it is called: letters, digits and underscores."""
    features: int = 64
    """Values per point."""
    encoding: FieldConfig = HashGridConfig()
    """Whose encoding it reads; its perceptrons are not used."""
    width: int = 64
    layers: int = 1
    """Hidden layers between the encoding and the features."""

    def __post_init__(self) -> None:
        require(self.name.isidentifier(), "head.name", self.name, "letters, digits and underscores")
        require(1 <= self.features <= 1024, "head.features", self.features, "1 to 1024")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint's header."""
        return {
            "name": self.name, "features": self.features, "encoding": config_to_dict(self.encoding),
            "width": self.width, "layers": self.layers,
        }  # fmt: skip

    @staticmethod
    def from_dict(values: dict[str, Any]) -> HeadConfig:
        """The inverse of ``to_dict``.

        Raises:
            ConfigError: a value is missing or impossible.
        """
        try:
            sizes = (values["features"], values["width"], values["layers"])
            require(all(type(v) is int for v in sizes), "head", sizes, "whole numbers")
            encoding = config_from_dict(values["encoding"])
            return HeadConfig(str(values["name"]), values["features"], encoding, values["width"], values["layers"])
        except (KeyError, TypeError) as error:
            raise ConfigError("a feature head is incomplete", field="heads", found=error) from error


class FeatureHead(Counted):
    """Encoding -> perceptron -> features.

    Args:
        config: its sizes.
        generator: CPU random numbers for the initial values.
    """

    def __init__(self, config: HeadConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.encoding = config.encoding.build_encoding(3, generator)
        self.net = MLPSpec(self.encoding.n_out, config.features, config.width, config.layers)
        self.params = nn.Parameter(init_mlp(self.net, generator))

    def forward(self, x: Tensor) -> Tensor:
        """Features [S,D] at x float32 [S,3] of the unit cube."""
        return mlp(self.encoding(x), self.params, self.net)

    @torch.no_grad()
    def begin_apart(self, x: Tensor) -> None:
        """Scale the encoding so that features at x [S,3] have a norm of about one and vary smoothly.

        Hash tables begin at almost nothing, for the sake of density; features that are compared by their directions
        would all begin as what lies behind the surface, and equal directions have no derivative that parts them. For
        encodings linear in their parameters.
        """
        self.encoding.begin_smooth()
        norm = self(x).norm(dim=1).mean()
        for parameter in self.encoding.parameters():
            parameter.mul_(1 / norm.clamp_min(1e-12))

    def param_groups(self) -> list[ParamGroup]:
        """All trainable parameters, grouped by how they are optimised."""
        return [*self.encoding.param_groups(), ParamGroup("head", [self.params], weight_decay=1e-6)]

    def resize_like(self, arrays: Mapping[str, Tensor]) -> None:
        """As :meth:`fieldlab.fields.encoding.Encoding.resize_like`."""
        self.encoding.resize_like(part(arrays, "encoding"))
