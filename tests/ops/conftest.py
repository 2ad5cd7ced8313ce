"""Backends under test: every instruction set this processor runs, and the CUDA device if there is one."""

from __future__ import annotations

import pytest
import torch

from fieldlab.ops import native


def _backends() -> list[str]:
    names = [] if native.library is None else list(native.library.instruction_sets())
    if torch.cuda.is_available() and native.library is not None and native.library.has_cuda:
        names.append("cuda")
    return names


@pytest.fixture(params=_backends())
def device(request):
    """The device of a native backend; on the CPU its instruction set is chosen for the test."""
    if request.param == "cuda":
        yield torch.device("cuda")
        return
    before = native.library.instruction_set()
    native.library.choose_instruction_set(request.param)
    yield torch.device("cpu")
    native.library.choose_instruction_set(before)
