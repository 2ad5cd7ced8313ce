"""A new model from its configuration."""

from __future__ import annotations

import torch

from fieldlab.fields.base import FieldConfig
from fieldlab.fields.registry import build_field
from fieldlab.render.model import ModelConfig, RadianceModel, unit_length


def build_model(field: FieldConfig, config: ModelConfig, seed: int) -> RadianceModel:
    """A freshly initialised model on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    return RadianceModel(build_field(field, unit_length(config), generator), config)
