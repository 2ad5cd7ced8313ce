"""The whole job: a training step, pictures of a trained scene, and the time it takes to reach a quality."""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import fmean

import torch

from fieldlab.bench.measure import Row, seconds_of
from fieldlab.bench.record import Figure, beside
from fieldlab.data.cameras import Cameras
from fieldlab.data.scene import Scene
from fieldlab.ops import native
from fieldlab.render.build import build_model
from fieldlab.render.model import RadianceModel
from fieldlab.training.build import FieldChoice, choose_field, choose_model, footprint_of
from fieldlab.training.config import TrainConfig
from fieldlab.training.evaluate import target_picture
from fieldlab.training.metrics import psnr
from fieldlab.training.trainer import Trainer

WARM_SECONDS = 8.0  # of training before steps are timed: by then the occupancy grid has found the surfaces


def whole_rows(scene: Scene, device: torch.device, seconds: list[float], quick: bool) -> Iterator[Figure]:
    """Training steps, PSNR after each of so many ``seconds`` of training, and pictures of the model trained last."""
    yield from step_rows(scene, device, quick)
    trainer = None
    for row, trainer in quality_rows(scene, device, seconds):  # noqa: B007
        yield row
    if trainer is not None:
        yield from frame_rows(trainer.model, scene.splits["test"].cameras, device, quick)


def make_trainer(scene: Scene, device: torch.device, train: TrainConfig) -> Trainer:
    """A fresh trainer with the settings the command line would choose, which has started."""
    config = choose_field(FieldChoice(), footprint_of(scene), train.appearance, device)
    model = build_model(config, choose_model(scene, train), train.seed).to(device)
    trainer = Trainer(model, scene.splits["train"], train)
    trainer.start()
    return trainer


def step_rows(scene: Scene, device: torch.device, quick: bool) -> Iterator[Figure]:
    """Samples per second of whole training steps, native and by the references, from the same state: with every sample
    trained on, and as training does it, where hidden samples are found and dropped first."""
    kinds = {"every sample trained on": False, "hidden samples dropped first": True}
    for name, prune in kinds.items():
        settings = TrainConfig(steps=1_000_000, prune=prune, samples_per_step=1024 if quick else 0)
        trainer = make_trainer(scene, device, settings)
        start = time.perf_counter()
        while time.perf_counter() - start < (0.2 if quick else WARM_SECONDS):
            trainer.step()
        fast = _samples_per_second(trainer, 2 if quick else 48)
        with native.use_backend("reference"):
            trainer.step()
            slow = _samples_per_second(trainer, 1 if quick else 2)
        yield Row("training", f"whole step, {name}", fast / 1e6, "M samples/s", slow / 1e6, "PyTorch reference")
    if device.type == "cuda":
        yield from _other_rows(trainer, fast)


def _other_rows(trainer: Trainer, ours: float) -> Iterator[Figure]:
    """The same step with nerfacc marching, and with tiny-cuda-nn's networks."""
    name = "whole step, hidden samples dropped first"

    def row(against: str) -> Row:
        return Row("training", name, ours / 1e6, "M samples/s", _samples_per_second(trainer, 48) / 1e6, against)

    def with_nerfacc() -> Row:
        trainer.model.use_marcher("nerfacc")
        return row("nerfacc marching")

    def with_tcnn() -> Row:
        with native.use_backend("tcnn"):
            trainer.step()
            return row("tiny-cuda-nn")

    yield from beside("training", name, "nerfacc marching", with_nerfacc)
    trainer.model.use_marcher("native")
    yield from beside("training", name, "tiny-cuda-nn", with_tcnn)


def _samples_per_second(trainer: Trainer, steps: int) -> float:
    before, start = trainer.progress.samples, time.perf_counter()
    for _ in range(steps):
        trainer.step()
    if trainer.model.device.type == "cuda":
        torch.cuda.synchronize()
    return (trainer.progress.samples - before) / (time.perf_counter() - start)


def quality_rows(scene: Scene, device: torch.device, seconds: list[float]) -> Iterator[tuple[Row, Trainer]]:
    """Mean test PSNR after several training times. Each is a run of its own, because the learning rate follows the time
    that was asked for."""
    for budget in seconds:
        trainer = make_trainer(scene, device, TrainConfig(seconds=budget))
        for _ in trainer.events():
            pass
        score = test_psnr(trainer.model, scene)
        yield Row("quality", f"test PSNR after {budget:g} s of training", score, "dB"), trainer


def test_psnr(model: RadianceModel, scene: Scene) -> float:
    """Mean PSNR over the test views, in dB, on the scene's background."""
    views, background = scene.splits["test"], model.background()
    made = (model.render_image(views.cameras, i)["rgb"].cpu() for i in range(len(views)))
    return fmean(psnr(picture, target_picture(views, i, background)) for i, picture in enumerate(made))


def frame_rows(model: RadianceModel, cameras: Cameras, device: torch.device, quick: bool) -> Iterator[Row]:
    """Milliseconds per picture of a trained model and samples per second of the fused renderer."""
    for size in (32, 64) if quick else (256, 800):
        camera = square(cameras[0], size).to(device)
        rays = camera.image_rays(0)
        fused = seconds_of(lambda rays=rays: model.render_rays(rays), device, 0.2 if quick else 1.0)  # type: ignore[misc]
        separate = None
        if size <= 256:
            with native.use_backend("reference"):
                separate = seconds_of(lambda rays=rays: model.render_rays(rays), device, 0.0, 1) * 1e3  # type: ignore[misc]
        yield Row("pictures", f"{size}x{size} frame", fused * 1e3, "ms", separate, "PyTorch reference")
        samples = int(model.render_rays(rays).cost.sum())
        yield Row("pictures", f"fused inference at {size}x{size}", samples / fused / 1e6, "M samples/s")


def square(camera: Cameras, size: int) -> Cameras:
    """One camera's view as a square picture of ``size`` pixels without lens distortion."""
    width, height = camera.size[0].tolist()
    focal = camera.intrinsics[:, :2] * (size / max(width, height))
    center = torch.full_like(focal, size / 2)
    return Cameras(
        camera.camera_to_world, torch.cat((focal, center), 1), torch.full_like(camera.size, size),
        torch.zeros_like(camera.model), torch.zeros_like(camera.distortion),
    )  # fmt: skip
