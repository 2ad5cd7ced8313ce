"""Two processes train like one with the combined batch."""

from __future__ import annotations

import faulthandler
import os
import socket
from pathlib import Path

import pytest
import torch

from fieldlab.errors import BackendError
from fieldlab.fields.base import FieldConfig
from fieldlab.fields.neurbf import NeuRBFConfig
from fieldlab.fields.vm import VMConfig
from fieldlab.fields.voxel import VoxelConfig
from fieldlab.render.build import build_model
from fieldlab.training.build import choose_model
from fieldlab.training.config import TrainConfig
from fieldlab.training.distributed import ProcessGroup, connect, disconnect
from fieldlab.training.trainer import Trainer
from tests.scenes import ball_scene, tiny_field

pytestmark = pytest.mark.slow

STEPS = 12
VM = VMConfig(density_rank=2, appearance_rank=3, initial_resolution=8, resolution=16, density_l1=0.1)
FIELDS = [
    tiny_field(),
    VM,  # with a penalty that matters, and growth
    VoxelConfig(cells=16, upsamplings=1, density_variation=1e-2, color_variation=1e-2),  # sparse gradients
    NeuRBFConfig(grid=VM, n_kernels=200, place_at=0.3),  # random places
]


def train(field: FieldConfig, rays: int, world=None) -> Trainer:
    """A trainer that has done STEPS steps with a fixed number of rays per process."""
    torch.set_num_threads(1)
    scene = ball_scene()
    config = TrainConfig(steps=STEPS, samples_per_step=4096, warmup_steps=2)
    model = build_model(field, choose_model(scene, config), 0)
    trainer = Trainer(model, scene.splits["train"], config, world)
    for _ in range(STEPS):
        trainer.progress.rays = rays
        trainer.step()
    return trainer


def worker(rank: int, port: int, out: str) -> None:
    faulthandler.enable()
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    world = connect(torch.device("cpu"))
    for field in FIELDS:
        trainer = train(field, 64, world)
        torch.save([p.detach() for p in trainer.model.parameters()], f"{out}/{field.kind}-{rank}.pt")
    disconnect()
    os._exit(0)  # once in some fifty runs gloo's threads abort a process that ends by itself


@pytest.fixture(scope="module")
def together(tmp_path_factory) -> Path:
    """Parameters that two processes have trained, of every field and process."""
    out = tmp_path_factory.mktemp("together")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(worker, args=(port, str(out)), nprocs=2)
    return out


@pytest.mark.parametrize("field", FIELDS, ids=lambda f: f.kind)
def test_two_processes_equal_one(field, together):
    first, second = (torch.load(together / f"{field.kind}-{rank}.pt", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    threads = torch.get_num_threads()
    one = [p.detach() for p in train(field, 128).model.parameters()]
    torch.set_num_threads(threads)
    start = [p.detach() for p in build_model(field, choose_model(ball_scene(), TrainConfig()), 0).parameters()]
    assert [p.shape for p in first] == [p.shape for p in one]
    for a, b, c in zip(first, one, start, strict=True):
        if not a.numel():  # an option not taken
            continue
        moved = (b - c).abs().mean() if b.shape == c.shape else b.abs().mean()
        assert float(moved) > 1e-3
        # Adam's step does not depend on the gradient's size, so entries whose sums cancel may differ; few do.
        assert float((a - b).abs().mean()) < 0.02 * float(moved)


def test_no_process_group():
    with pytest.raises(BackendError, match="process group"):
        ProcessGroup()
