"""Fixtures for the data room."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.data.data_builders import Capture


@pytest.fixture
def capture(tmp_path: Path) -> Callable[..., Capture]:
    return lambda count=10, alpha=False: Capture(tmp_path / "scene", count, alpha)


@pytest.fixture
def real_data() -> Callable[[str], Path]:
    """A real capture by name; the test is skipped when it is not there."""
    root = Path(os.environ.get("FIELDLAB_DATA", Path(__file__).parents[3] / "shared/data"))

    def find(name: str) -> Path:
        if not (root / name).is_dir():
            pytest.skip(f"the capture {name} is not there")
        return root / name

    return find
