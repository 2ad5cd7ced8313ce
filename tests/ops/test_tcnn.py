"""The tiny-cuda-nn backend: what it is asked for, by a stand-in, and against the real one where it imports."""

from __future__ import annotations

import sys
import types

import pytest
import torch

from fieldlab.errors import BackendError
from fieldlab.ops import native, tcnn
from fieldlab.ops.hash_grid import HashGridSpec, hash_encode_reference, hash_encode_tcnn
from fieldlab.ops.mlp import MLPSpec, from_tcnn, init_mlp, mlp_reference, mlp_tcnn


@pytest.fixture
def stand_in(monkeypatch):
    """A module with tinycudann's interface and layout that computes with our references, on the CPU."""

    class Encoding(torch.nn.Module):
        def __init__(self, n_in, config):
            super().__init__()
            assert n_in == 3
            assert config["otype"] == "HashGrid"
            self.spec = HashGridSpec(
                config["n_levels"], config["n_features_per_level"], config["log2_hashmap_size"],
                config["base_resolution"], config["per_level_scale"], config["interpolation"].lower(),
            )  # fmt: skip
            self.params = torch.nn.Parameter(torch.zeros(self.spec.n_params))

        def forward(self, x):
            return hash_encode_reference(x, self.params, self.spec).half()

    class Network(torch.nn.Module):
        def __init__(self, n_in, n_out, config):
            super().__init__()
            assert config["activation"] == "ReLU"
            self.spec = MLPSpec(
                n_in, n_out, config["n_neurons"], config["n_hidden_layers"],
                output_activation=config["output_activation"].lower(),
            )  # fmt: skip
            self.params = torch.nn.Parameter(torch.zeros(0))

        def forward(self, x):
            return mlp_reference(x, from_tcnn(self.params, self.spec), self.spec).half()

    module = types.ModuleType("tinycudann")
    module.Encoding, module.Network = Encoding, Network
    monkeypatch.setitem(sys.modules, "tinycudann", module)
    tcnn._module.cache_clear()
    yield
    tcnn._module.cache_clear()


@pytest.mark.usefixtures("stand_in")
def test_encoding_and_network_use_our_parameters():
    grid = HashGridSpec(4, 2, 10, 4, 1.7)
    x, table = torch.rand(50, 3), torch.randn(grid.n_params, requires_grad=True)
    out = hash_encode_tcnn(x, table, grid)
    assert torch.allclose(out, hash_encode_reference(x, table, grid), atol=1e-2)
    out.sum().backward()
    assert table.grad.abs().sum() > 0

    spec = MLPSpec(8 + 5, 3, 64, 2, output_activation="sigmoid")
    params = init_mlp(spec).requires_grad_()
    extra = torch.randn(50, 5)
    out = mlp_tcnn(torch.randn(50, 8), extra, params, spec)
    assert out.shape == (50, 3)
    out.sum().backward()
    assert params.grad.shape == params.shape
    assert params.grad.abs().sum() > 0


def test_it_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "tinycudann", None)
    with pytest.raises(BackendError, match="tiny-cuda-nn"):
        native.set_backend("tcnn")
    assert native.backend() == "native"


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_native_is_tiny_cuda_nn():
    pytest.importorskip("tinycudann")
    grid, spec = HashGridSpec(), MLPSpec(32, 16, 64, 1)
    x = torch.rand(5000, 3, device="cuda")
    table, params = torch.randn(grid.n_params, device="cuda"), init_mlp(spec).cuda()
    from fieldlab.ops.hash_grid import hash_encode
    from fieldlab.ops.mlp import mlp

    with native.use_backend("tcnn"):
        encoded = hash_encode(x, table, grid)
        out = mlp(encoded, params, spec)
    assert torch.allclose(encoded, hash_encode(x, table, grid), atol=2e-2)
    assert torch.allclose(out, mlp(encoded, params, spec), atol=5e-2)
