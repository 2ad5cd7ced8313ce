"""The native module itself: its name, what it accepts, the life of arrays, other threads, and CUDA devices' age."""

from __future__ import annotations

import gc
import importlib.machinery
import sys
import threading
import time
import types
import weakref
from pathlib import Path

import pytest
import torch

from fieldlab.errors import BackendError
from fieldlab.ops import limits, native
from fieldlab.ops.adam import adam_step
from fieldlab.ops.composite import composite
from fieldlab.ops.contract import contract
from fieldlab.ops.distortion import distortion_loss
from fieldlab.ops.occupancy import cell_points, update_occupancy
from fieldlab.ops.samples import Samples

needs_library = pytest.mark.skipif(native.library is None, reason="built without native kernels")


@needs_library
def test_file_name_says_which_versions_it_serves():
    name = Path(native.library.__file__).name
    stable = ".abi3.so" in importlib.machinery.EXTENSION_SUFFIXES and sys.version_info >= (3, 12)
    assert name == ("_native.abi3.so" if stable else "_native" + importlib.machinery.EXTENSION_SUFFIXES[0])


@needs_library
def test_limits_are_those_it_was_built_with():
    assert native.library.limits == {k: v for k, v in vars(limits).items() if k.isupper()}


@needs_library
def test_fields_are_named():
    x, out = torch.rand(5, 3), torch.empty(5, 4)
    given = {"n": 5, "degree": 2, "directions": native.array(x), "out": native.array(out)}
    forward, target = native.library.spherical_harmonics_forward, native.target(x)
    forward(target, **given)
    with pytest.raises(TypeError, match="spherical_harmonics_forward needs degree"):
        forward(target, **{k: v for k, v in given.items() if k != "degree"})
    with pytest.raises(TypeError, match="nothing else: n degree directions out"):
        forward(target, **given, grad_out=None)
    for name, value in (("degree", "two"), ("out", out.data_ptr()), ("out", native.pointer(out))):
        with pytest.raises(TypeError, match=f"takes no such {name}"):
            forward(target, **{**given, name: value})


def strided(*shape: int) -> torch.Tensor:
    """Not contiguous."""
    return torch.rand(*shape, 2)[..., 0]


def run_adam() -> None:
    param = torch.rand(40)
    adam_step(param, strided(40), param.clone(), param.clone(), step=1, lr=0.1)


def run_sparse_adam() -> None:
    param = torch.rand(9, 4)
    grad = torch.sparse_coo_tensor(
        torch.tensor([[1, 5]]), strided(2, 4), (9, 4), is_coalesced=True, check_invariants=False
    )
    adam_step(param, grad, param.clone(), param.clone(), step=1, lr=0.1)


def run_occupancy() -> None:
    cells = torch.arange(20)[::2]
    update_occupancy(torch.rand(64), cells, strided(10), 0.9)
    cell_points(cells, 4, strided(2, 3), strided(10, 3))


def run_rays() -> None:
    samples = Samples(torch.tensor([0, 2, 4]), torch.rand(4), torch.rand(4) + 1, torch.tensor([0, 0, 1, 1]))
    sigmas = strided(4).requires_grad_()
    seen = composite(sigmas, strided(4, 3), samples)
    (seen.opacity.expand(3, 2).sum(0) * strided(2)).sum().backward()
    distortion_loss(strided(4), samples)
    contract(strided(4, 3), strided(2, 3))


@pytest.mark.slow
@needs_library
@pytest.mark.parametrize("work", [run_adam, run_sparse_adam, run_occupancy, run_rays])
def test_arrays_live_until_the_call_is_over(work, monkeypatch):
    """A copy made for the kernels, of an array that is not contiguous, must not be freed before they read it."""
    given: list[tuple[weakref.ref, int]] = []

    def watched(describe):
        def made(tensor, *rest):
            if tensor is not None:
                given.append((weakref.ref(tensor), tensor.data_ptr()))
            return describe(tensor, *rest)

        return made

    class Library:
        calls = 0

        def __getattr__(self, name):
            real = getattr(native_library, name)

            def call(*args, **fields):
                gc.collect()
                Library.calls += 1
                assert given
                assert all(ref() is not None for ref, _ in given), f"{name} was given the address of what is gone"
                given.clear()
                return real(*args, **fields)

            return call if callable(real) and name != "Target" else real

    native_library = native.library
    monkeypatch.setattr(native, "library", Library())
    monkeypatch.setattr(native, "pointer", watched(native.pointer))
    monkeypatch.setattr(native, "array", watched(native.array))
    work()
    assert Library.calls


def test_adam_takes_gradients_in_any_layout(device):
    grad = torch.randn(64, 48, device=device)
    found, expected = torch.zeros(64, 48, device=device), torch.zeros(64, 48, device=device)
    for param, g in ((found, grad.t().contiguous().t()), (expected, grad)):
        adam_step(param, g, torch.zeros_like(grad), torch.zeros_like(grad), step=1, lr=0.1)
    assert torch.equal(found, expected)


@needs_library
def test_other_threads_run_on_during_a_call():
    """Another thread, which needs Python's lock, counts on while one call is under way."""
    n = 2_000_000
    path = torch.arange(n - 1)
    arrays = {"order": path, "first": path, "second": path + 1, "parent": torch.empty(n, dtype=torch.int64)}
    arrays |= {"time": torch.empty(n, dtype=torch.int64), "joined": torch.empty(n, 2, dtype=torch.int64)}
    arrays |= {"joined_by": torch.empty(n, dtype=torch.int64)}
    param, fields = torch.zeros(n), {"rate": 0.1, "root_correction": 1.0, "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-8}
    moments = {name: native.pointer(torch.zeros(n)) for name in ("param", "grad", "first", "second")}
    calls = [
        lambda: native.library.single_linkage(
            n_points=n, n_edges=n - 1, **{name: native.pointer(a, torch.int64) for name, a in arrays.items()}
        ),
        lambda: native.library.adam_step(
            native.target(param), n=n, **moments, **fields, decay=0.0, sparse=False
        ),
    ]  # fmt: skip
    before = sys.getswitchinterval()
    sys.setswitchinterval(100)  # the lock changes hands only where it is given up
    try:
        assert all(counts_during(call) for call in calls)
        assert not counts_during(native.library.instruction_sets)
    finally:
        sys.setswitchinterval(before)


def counts_during(call) -> bool:
    """Whether another thread gets on while this one is in ``call``, in one of many tries."""
    counted, over = [0], threading.Event()

    def count():
        while not over.is_set():
            counted[0] += 1
            time.sleep(1e-3)

    thread = threading.Thread(target=count)
    thread.start()
    try:
        for _ in range(50):
            at = counted[0]
            call()
            if counted[0] > at:
                return True
        return False
    finally:
        over.set()
        thread.join()


@pytest.fixture
def cuda_library(monkeypatch):
    """A stand-in for a native module compiled for devices from 8.0 on, and the capability of the device to come."""
    monkeypatch.setattr(native, "library", types.SimpleNamespace(has_cuda=True, oldest_cuda_capability=(8, 0)))

    def capability(found):
        native._capability.cache_clear()
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index=None: found)
        return types.SimpleNamespace(device=torch.device("cuda", 0))

    yield capability
    native._capability.cache_clear()


def test_old_cuda_devices_are_refused(cuda_library):
    tensor = cuda_library((7, 5))
    with pytest.raises(BackendError, match="older than") as error:
        native.active(tensor)
    assert "7.5" in str(error.value)
    assert "8.0" in str(error.value)
    with pytest.raises(BackendError, match="older than"):
        native.check_capability(tensor.device)
    with native.use_backend("reference"):
        assert not native.active(tensor)
        native.check_capability(tensor.device)
    native.check_capability(torch.device("cpu"))


@pytest.mark.parametrize("found", [(8, 0), (8, 9), (9, 0), (12, 0)])
def test_newer_cuda_devices_are_accepted(cuda_library, found):
    assert native.active(cuda_library(found))
