"""Hash encoding and fused networks: native against reference, layout against tiny-cuda-nn's numbers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldlab.errors import ConfigError
from fieldlab.ops.hash_grid import HashGridSpec, hash_encode, hash_encode_reference
from fieldlab.ops.mlp import MLPSpec, from_tcnn, init_mlp, mlp, mlp_reference, sine_frequencies, split_params, to_tcnn


def test_layout_is_that_of_tiny_cuda_nn():
    spec = HashGridSpec()
    assert spec.resolutions == (16, 23, 31, 43, 59, 81, 112, 154, 213, 295, 407, 562, 777, 1073, 1483, 2048)
    assert spec.offsets[:7] == (0, 4096, 16264, 46056, 125568, 330952, 855240)
    assert sum(not h for h in spec.hashed) == 5
    assert spec.n_params == 12_196_240
    assert HashGridSpec(20, 2, 16, 32, 1.5).n_params == 2_555_904
    # float32 decides: the finest level of this one has 1025 vertices, not 1024.
    assert HashGridSpec(16, 2, 19, 16, HashGridSpec.growth_to(16, 1024, 16)).resolutions[-1] == 1025


def brute_force_encode(x, table, spec):
    """The formulas of the paper and of tiny-cuda-nn, one sample, level and corner at a time."""
    primes = (1, 2654435761, 805459861)
    out = np.zeros((len(x), spec.n_out))
    entries = table.double().numpy().reshape(-1, spec.n_features)
    for i, level in itertools.product(range(len(x)), range(spec.n_levels)):
        scale, res = np.float32(spec.scales[level]), spec.resolutions[level]
        position = (x[i].numpy() * scale + np.float32(0.5)).astype(np.float32)
        cell = np.floor(position).astype(np.int64)
        w = (position - cell).astype(np.float64)
        if spec.interpolation == "smoothstep":
            w = w * w * (3 - 2 * w)
        axes = range(spec.dims)
        for corner in itertools.product((0, 1), repeat=spec.dims):
            v = cell + corner
            weight = np.prod([w[a] if corner[a] else 1 - w[a] for a in axes])
            if res**spec.dims > spec.entries[level]:
                index = 0
                for a in axes:
                    index ^= int(v[a]) * primes[a] & 0xFFFFFFFF
            else:
                index = sum(int(v[a]) * res**a for a in axes)
            entry = spec.offsets[level] + index % spec.entries[level]
            lo = level * spec.n_features
            out[i, lo : lo + spec.n_features] += weight * entries[entry]
    return torch.from_numpy(out)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("interpolation", ["linear", "smoothstep"])
def test_reference_is_the_formula(dims, interpolation):
    spec = HashGridSpec(6, 2, 10 if dims == 3 else 7, 4, 1.9, interpolation, dims)
    assert set(spec.hashed) == {False, True}
    x = torch.cat([torch.rand(40, dims), torch.zeros(1, dims), torch.ones(1, dims)])
    table = torch.randn(spec.n_params)
    assert torch.allclose(hash_encode_reference(x, table, spec).double(), brute_force_encode(x, table, spec), atol=1e-5)


def leaf(tensor, like="cpu"):
    return tensor.detach().clone().to(like).requires_grad_()


def check_hash(spec, x, device):
    table = torch.randn(spec.n_params)
    grad = torch.randn(len(x), spec.n_out)
    a, ta = leaf(x, device), leaf(table, device)
    out = hash_encode(a, ta, spec)
    out.backward(grad.to(device))
    b, tb = leaf(x), leaf(table)
    expected = hash_encode_reference(b, tb, spec)
    expected.backward(grad)
    assert torch.allclose(out.cpu(), expected, atol=2e-5)
    assert torch.allclose(ta.grad.cpu(), tb.grad, atol=1e-4 * max(1, len(x) / 1000))
    assert torch.allclose(a.grad.cpu() / max(spec.scales), b.grad / max(spec.scales), atol=2e-5 * spec.n_out)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("features", [1, 2, 4, 8])
@pytest.mark.parametrize("interpolation", ["linear", "smoothstep"])
def test_hash_native_is_the_reference(device, dims, features, interpolation):
    # Positions on a fine dyadic lattice: a sample within rounding of a cell border would make derivatives differ.
    x = (torch.randint(0, 4096, (777, dims)) + 0.37) / 4096
    check_hash(HashGridSpec(5, features, 9 if dims == 3 else 6, 5, 1.7, interpolation, dims), x, device)


@pytest.mark.slow
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("interpolation", ["linear", "smoothstep"])
def test_hash_against_finite_differences(dims, interpolation):
    spec = HashGridSpec(3, 2, 6, 3, 1.7, interpolation, dims)
    x = ((torch.randint(0, 64, (9, dims)) + 0.37) / 64).double().requires_grad_()
    table = torch.randn(spec.n_params, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v, t: hash_encode_reference(v, t, spec), (x, table), eps=1e-7)


@settings(max_examples=25, deadline=None)
@given(
    levels=st.integers(1, 8),
    log2=st.integers(4, 12),
    base=st.integers(2, 20),
    growth=st.floats(1.0, 2.2),
    samples=st.integers(0, 40),
    seed=st.integers(0, 1000),
    dims=st.sampled_from([2, 3]),
)
def test_hash_values_for_many_shapes(levels, log2, base, growth, samples, seed, dims):
    spec = HashGridSpec(levels, 2, log2, base, growth, dims=dims)
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(samples, dims, generator=generator)
    x[: samples // 4] = x[: samples // 4].round()  # faces and corners of the square or cube
    table = torch.randn(spec.n_params, generator=generator)
    # Rounding at a cell border picks another cell with the same interpolated value, so values always agree.
    assert torch.allclose(hash_encode(x, table, spec), hash_encode_reference(x, table, spec), atol=3e-3)


def test_hash_clamps_positions(device):
    spec = HashGridSpec(4, 2, 9, 4, 1.8)
    table = torch.randn(spec.n_params, device=device)
    outside = torch.tensor([[-0.5, 0.3, 2.0]], device=device)
    assert torch.equal(hash_encode(outside, table, spec), hash_encode(outside.clamp(0, 1), table, spec))


def test_hash_table_size_is_checked():
    with pytest.raises(ConfigError, match="wrong size"):
        hash_encode(torch.rand(2, 3), torch.zeros(5), HashGridSpec())
    flat = HashGridSpec(dims=2)
    with pytest.raises(ConfigError, match="number of coordinates"):
        hash_encode(torch.rand(2, 3), torch.zeros(flat.n_params), flat)
    with pytest.raises(ConfigError, match="2 or 3 dimensions"):
        HashGridSpec(dims=4)


SHAPES = [
    MLPSpec(32, 16, 64, 1), MLPSpec(31, 3, 64, 2, output_activation="sigmoid"), MLPSpec(3, 1, 16, 1, bias=True),
    MLPSpec(20, 33, 128, 3, bias=True), MLPSpec(63, 4, 32, 2), MLPSpec(1, 5, 48, 8, bias=True),
    MLPSpec(40, 7, 64, 0, bias=True), MLPSpec(9, 3, 16, 0, output_activation="sigmoid"),
    MLPSpec(16, 3, 64, 1, sine=(1.0, 20.0)), MLPSpec(10, 3, 48, 4, bias=True, sine=(2.0, 2.0), skip=3),
    MLPSpec(40, 5, 32, 4, skip=1), MLPSpec(40, 5, 32, 4, skip=2), MLPSpec(63, 16, 256, 8, bias=True, skip=4),
    MLPSpec(70, 3, 160, 2, output_activation="sigmoid", sine=(1.0, 10.0)),
]  # fmt: skip


def away_from_kinks(spec: MLPSpec, params: torch.Tensor, samples: int) -> torch.Tensor:
    """Random inputs [samples,n_in] that put no hidden unit so near zero that rounding could switch it, and with it a
    whole derivative."""
    x = torch.randn(2 * samples + 8, spec.n_in)
    weights, biases = split_params(params.double(), spec)
    hidden, clear = x.double(), torch.ones(len(x), dtype=torch.bool)
    for layer, (weight, bias) in enumerate(zip(weights[:-1], biases[:-1], strict=True)):
        if spec.skip and layer == spec.skip:
            hidden = torch.cat([hidden, x.double()], 1)
        hidden = torch.nn.functional.linear(hidden, weight, bias)
        if spec.sine and layer == 0:
            hidden = hidden + (hidden * sine_frequencies(spec)).sin()
            continue
        clear &= (hidden.abs() > 2e-5 * hidden.square().mean().sqrt()).all(1)
        hidden = hidden.relu()
    assert int(clear.sum()) >= samples
    return x[clear][:samples]


@pytest.mark.slow
@pytest.mark.parametrize("spec", SHAPES, ids=str)
@pytest.mark.parametrize("samples", [0, 1, 95, 96, 1000])
def test_mlp_native_is_the_reference(device, spec, samples):
    params = init_mlp(spec) + 0.05 * torch.randn(spec.n_params)
    x, grad = away_from_kinks(spec, params, samples), torch.randn(samples, spec.n_out)
    a, pa = leaf(x, device), leaf(params, device)
    out = mlp(a, pa, spec)
    out.backward(grad.to(device))
    b, pb = leaf(x, torch.float64), leaf(params, torch.float64)
    expected = mlp_reference(b, pb, spec)
    expected.backward(grad.double())
    assert torch.allclose(out.cpu().double(), expected, atol=1e-4)
    for found, wanted in ((a.grad, b.grad), (pa.grad, pb.grad)):
        scale = wanted.abs().max().clamp_min(1.0) if wanted.numel() else 1.0
        assert torch.allclose(found.cpu().double(), wanted, rtol=0, atol=2e-4 * float(scale))


def test_mlp_of_two_inputs_in_any_layout(device):
    spec = MLPSpec(31, 3, 64, 2, output_activation="sigmoid")
    params = init_mlp(spec).to(device)
    first, second = torch.randn(200, 15, device=device), torch.randn(200, 16, device=device)
    a = first.t().contiguous().t().requires_grad_()
    b = torch.randn(200, 40, device=device)
    b[:, 3:35:2] = second
    b = b[:, 3:35:2].requires_grad_()
    out = mlp((a, b), params, spec)
    joined = torch.cat([first, second], 1).requires_grad_()
    expected = mlp_reference(joined, params, spec)
    assert torch.allclose(out, expected, atol=1e-5)
    grads = torch.autograd.grad(out.square().sum(), (a, b))
    (wanted,) = torch.autograd.grad(expected.square().sum(), joined)
    assert torch.allclose(torch.cat(grads, 1), wanted, atol=1e-4)


def test_mlp_against_finite_differences():
    spec = MLPSpec(5, 3, 16, 2, bias=True, output_activation="sigmoid")
    params = init_mlp(spec).double() + 0.1
    x = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v, p: mlp_reference(v, p, spec), (x, params.requires_grad_()), atol=1e-6)


def test_tcnn_arrays_round_trip():
    spec = MLPSpec(31, 3, 64, 2)
    params = init_mlp(spec)
    padded = to_tcnn(params, spec)
    assert padded.numel() == 64 * 32 + 64 * 64 + 16 * 64
    assert torch.equal(padded[: 64 * 32].view(64, 32)[:, :31], split_params(params, spec)[0][0])
    assert torch.equal(from_tcnn(padded, spec), params)
    with pytest.raises(ConfigError):
        from_tcnn(padded[:-1], spec)


def test_gradients_do_not_depend_on_the_run_on_one_thread():
    spec, shape = HashGridSpec(8, 2, 12, 8, 1.6), MLPSpec(16, 4, 32, 1)
    torch.manual_seed(3)
    x, table, params = torch.rand(5000, 3), torch.randn(spec.n_params), init_mlp(shape)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        results = []
        for _ in range(2):
            t, p = table.clone().requires_grad_(), params.clone().requires_grad_()
            mlp(hash_encode(x, t, spec), p, shape).square().sum().backward()
            results.append((t.grad, p.grad))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_share_the_work(device, threads):
    spec, shape = HashGridSpec(6, 2, 11, 8, 1.6), MLPSpec(12, 4, 32, 1)
    torch.manual_seed(3)
    x, table, params = torch.rand(40_000, 3, device=device), torch.randn(spec.n_params), init_mlp(shape)

    def gradients():
        t, p = leaf(table, device), leaf(params, device)
        mlp(hash_encode(x, t, spec), p, shape).square().mean().backward()
        return t.grad, p.grad

    before = torch.get_num_threads()
    alone = gradients()
    try:
        torch.set_num_threads(threads)
        shared = gradients()
    finally:
        torch.set_num_threads(before)
    # Each level's scatter belongs to one thread, so only rounding of what it adds up may differ.
    assert torch.allclose(alone[0], shared[0], atol=1e-6)
    assert torch.allclose(alone[1], shared[1], rtol=1e-3, atol=1e-5)
