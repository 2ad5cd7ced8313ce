"""Settings of all tests."""

from __future__ import annotations

import os

# Tests run side by side, a process a core, so each computes on one thread unless it asks for more; waiting threads
# sleep. It has to be said before PyTorch is imported, and for child processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from hypothesis import settings

# Examples are the same every time, so that a failure in one run is a failure in the next.
settings.register_profile("fieldlab", deadline=None, derandomize=True)
settings.load_profile("fieldlab")
