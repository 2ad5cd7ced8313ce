"""Colors by name."""

from __future__ import annotations

import pytest

from fieldlab.data.background import background_color, background_name
from fieldlab.errors import ConfigError


def test_names_and_levels():
    assert background_color("white") == (1.0, 1.0, 1.0)
    assert background_color("black") == (0.0, 0.0, 0.0)
    assert background_name(25, 18, 0) == "#191200"
    assert background_color("#191200") == pytest.approx((25 / 255, 18 / 255, 0))


@pytest.mark.parametrize("name", ["", "grey", "#12", "#12345g", "#1234567", "123456", "#12345\n"])
def test_what_is_no_color(name):
    with pytest.raises(ConfigError, match="no such background"):
        background_color(name)
