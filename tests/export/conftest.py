"""The ball that exports are tested with too."""

from tests.mesh.conftest import ball as ball
