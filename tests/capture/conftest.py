"""Photographs of a corner, rendered once for all tests."""

from __future__ import annotations

import numpy as np
import pytest

from tests.capture.corner import pictures, poses_around, textures


@pytest.fixture(scope="session")
def corner() -> list[np.ndarray]:
    """Seven photographs, uint8 [240,320,3], from :func:`poses_around`."""
    return pictures(poses_around(7), textures())
