"""Two processes train like one with the combined batch."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import torch

from fieldlab.errors import BackendError
from fieldlab.train.build import build_model, choose_model
from fieldlab.train.config import TrainConfig
from fieldlab.train.distributed import ProcessGroup, connect, disconnect
from fieldlab.train.trainer import Trainer
from tests.scenes import ball_scene, tiny_field

STEPS = 12


def train(rays: int, world=None) -> Trainer:
    """A trainer that has done STEPS steps with a fixed number of rays per process."""
    torch.set_num_threads(1)
    scene = ball_scene()
    config = TrainConfig(steps=STEPS, samples_per_step=4096, warmup_steps=2)
    model = build_model(tiny_field(), choose_model(scene, config), 0)
    trainer = Trainer(model, scene.splits["train"], config, world)
    for _ in range(STEPS):
        trainer.progress.rays = rays
        trainer.step()
    return trainer


def worker(rank: int, port: int, out: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    world = connect(torch.device("cpu"))
    trainer = train(64, world)
    torch.save([p.detach() for p in trainer.model.parameters()], f"{out}/{rank}.pt")
    disconnect()


def test_two_processes_equal_one(tmp_path: Path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(worker, args=(port, str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    threads = torch.get_num_threads()
    one = [p.detach() for p in train(128).model.parameters()]
    torch.set_num_threads(threads)
    start = [p.detach() for p in build_model(tiny_field(), choose_model(ball_scene(), TrainConfig()), 0).parameters()]
    for a, b, c in zip(first, one, start, strict=True):
        moved = (b - c).abs().mean()
        assert float(moved) > 1e-3
        # Adam's step does not depend on the gradient's size, so entries whose sums cancel may differ; few do.
        assert float((a - b).abs().mean()) < 0.02 * float(moved)


def test_no_process_group():
    with pytest.raises(BackendError, match="process group"):
        ProcessGroup()
