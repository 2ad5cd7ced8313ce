"""Settings of all tests."""

from __future__ import annotations

import os

# As in the command line: waiting threads sleep. It has to be said before PyTorch is imported, and for child processes.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from hypothesis import settings

# Examples are the same every time, so that a failure in one run is a failure in the next.
settings.register_profile("fieldlab", deadline=None, derandomize=True)
settings.load_profile("fieldlab")
