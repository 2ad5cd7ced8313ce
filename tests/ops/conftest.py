"""Backends under test: every instruction set this processor runs, and the CUDA device if there is one."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from fieldlab.ops import limits, native


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


@pytest.fixture(scope="session")
def emulation(tmp_path_factory):
    """Builds and loads a C++ file of this folder that runs GPU code on CPU threads."""
    here = Path(__file__).parent
    compiler, headers = shutil.which("c++") or shutil.which("g++"), here.parent.parent / "cuda"

    def load(name: str) -> ctypes.CDLL:
        if compiler is None or not headers.is_dir():
            pytest.skip("needs a C++ compiler and the native sources")
        built = tmp_path_factory.mktemp(name) / f"{name}.so"
        sizes = [f"-DFL_{name}={value}" for name, value in vars(limits).items() if name.isupper()]
        flags = ["-std=c++17", "-O1", "-shared", "-fPIC", "-pthread", f"-I{headers}", *sizes]
        subprocess.run([compiler, *flags, str(here / f"{name}.cpp"), "-o", str(built)], check=True)
        return ctypes.CDLL(str(built))

    return load
