"""The ball most tests export."""

from __future__ import annotations

import pytest
import torch

from tests.mesh.formula_model import CENTER, FormulaModel, ball_color, ball_density


@pytest.fixture
def ball() -> FormulaModel:
    """A ball of radius 0.6 in a box of side 2, away from the origin; surface_level is its density at the surface."""
    aabb = torch.stack((CENTER - 1, CENTER + 1))
    return FormulaModel(aabb, ball_density, ball_color)
