"""A visitor: one browser window with its camera, its display settings, and the last picture that was made for it."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fieldlab.pictures.sheets import to_uint8
from fieldlab.render.model import RadianceModel
from fieldlab.view.cameras import Eye, cropped
from fieldlab.view.channels import channels_of, difference, paint
from fieldlab.view.display import DisplaySettings
from fieldlab.view.gbuffer import GBuffer, render_gbuffer
from fieldlab.view.overlay import blended
from fieldlab.view.proxy import ProxyMesh
from fieldlab.view.scheduler import Drawn, Job
from fieldlab.view.shown_run import ShownRun

if TYPE_CHECKING:
    import viser

MOST_RAYS = 1920 * 1200  # of one picture, whatever the window's size
SEAM = 2  # columns between two runs side by side
FARTHEST = 160.0  # depth that the browser can be told
TOLD_EVERY = 0.4  # seconds between words about pictures that are not full


@dataclass(frozen=True)
class PictureRequest:
    """What a visitor wants to be drawn."""

    eye: Eye
    display: DisplaySettings
    most: float

    @property
    def way(self) -> Hashable:
        """What the cost of a ray depends on."""
        return self.display.channel, self.display.compare, bool(self.display.hidden or self.display.only)


@dataclass
class CachedRays:
    """The rays behind the last picture, to color anew."""

    eye: Eye
    rays: tuple[object, ...]
    version: int
    runs: list[ShownRun]
    buffers: list[GBuffer]
    traced: float


class Visitor:
    """One client.

    Args:
        handle: viser's client.
        runs: one or two runs.
    """

    def __init__(self, handle: viser.ClientHandle, runs: list[ShownRun]) -> None:
        self.handle, self.runs = handle, runs
        self.parted = runs[0]  # whose segments the settings mean, whatever is shown later
        self.display = DisplaySettings(channel="color")
        self.sharpness = 1.0  # share of the window's pixels that a picture at rest has
        self.occluding = True  # whether the field hides what is behind it
        self.things: set[str] = set()  # in the page, that the field may hide
        self.proxy: ProxyMesh | None = None  # what is shown while the camera moves
        self.cover: tuple[int, float] | None = None  # photograph of which training view, and how strongly
        self.renamed: list[Callable[[], object]] = []  # called when runs or segments are others, or have other names
        # called with the settings before and after a change
        self.display_changed: list[Callable[[DisplaySettings, DisplaySettings], object]] = []
        self.invalidated: list[Callable[[], object]] = []  # called when the field is not what was seen of it
        self.leaving: list[Callable[[], object]] = []  # called when the visitor has gone
        self.version = 0  # of the field, which changes while it trains
        self.watchers: list[Callable[[int, int, float, bool], object]] = []  # of width, height, seconds, full
        self.shown: np.ndarray | None = None  # the last picture
        self._kept: CachedRays | None = None
        self._lock = threading.Lock()
        self._told = 0.0

    def eye(self) -> Eye:
        """Where the visitor looks from.

        Raises:
            ValueError: the browser says nonsense.
        """
        camera = self.handle.camera
        return Eye.of(camera.wxyz.tolist(), camera.position.tolist(), camera.fov, camera.aspect)

    def request(self) -> PictureRequest:
        """What to draw now."""
        camera, eye = self.handle.camera, self.eye()
        window = max(int(camera.image_width), 1) * max(int(camera.image_height), 1)
        return PictureRequest(eye, self.display, float(min(window * self.sharpness, MOST_RAYS)))

    def set_display(self, **changes: Any) -> bool:
        """Change the display settings; whether anything is different now."""
        with self._lock:
            before, after = self.display, replace(self.display, **changes)
            self.display = after
        if after == before:
            return False
        if (before.hidden, before.only) != (after.hidden, after.only):
            self._tell_invalidated()
        if (before.channel, before.compare) != (after.channel, after.compare):
            self._tell_lacking(after)
        for word in self.display_changed:
            word(before, after)
        return True

    def go(self, eye: Eye) -> None:
        """Move the camera."""
        camera = self.handle.camera
        with self.handle.atomic():
            camera.wxyz, camera.position = np.array(eye.wxyz), np.array(eye.position)
            camera.fov = eye.fov

    def tell(self, title: str, text: str) -> None:
        """Say something that the visitor should notice."""
        with contextlib.suppress(ConnectionError, RuntimeError):
            self.handle.add_notification(title, text[:600], color="red", auto_close_seconds=12.0)

    def thing(self, name: str, there: bool) -> None:
        """Something stands in the page, or does no longer."""
        (self.things.add if there else self.things.discard)(name)

    def show_runs(self, runs: list[ShownRun]) -> None:
        """Show other runs from now on."""
        self.runs = runs
        self.invalidate()
        self._tell_lacking(self.display)
        for word in self.renamed:
            word()

    def invalidate(self) -> None:
        """The field has changed: what was seen of it is worth nothing."""
        with self._lock:
            self.version += 1
        self._tell_invalidated()

    def leave(self) -> None:
        """The visitor has gone."""
        for word in self.leaving:
            word()

    def fitting(self, run: ShownRun, display: DisplaySettings) -> DisplaySettings:
        """Settings as far as a run can follow them: without the segments of another one, and in color where it lacks
        the channel."""
        if run is not self.parted:
            display = replace(display, chosen=frozenset(), hidden=frozenset(), only=frozenset())
        return display if display.channel in channels_of(run) else replace(display, channel="color")

    def model(self, run: ShownRun, display: DisplaySettings) -> RadianceModel:
        """What the settings leave of a run."""
        fitting = self.fitting(run, display)
        return run.visible(fitting.hidden, fitting.only)

    def _tell_invalidated(self) -> None:
        for word in self.invalidated:
            word()

    def _tell_lacking(self, display: DisplaySettings) -> None:
        """Say which of the runs that are shown have nothing to see in the channel."""
        shown = {"one run": self.runs[:1], "split": self.runs[:2]}.get(display.compare, [])
        lacking = [run.name for run in shown if display.channel not in channels_of(run)]
        if lacking:
            self.tell(f"No {display.channel}", f"{' and '.join(lacking)} has none: its colors are shown.")

    def draw(self, job: Job[PictureRequest]) -> Drawn | None:
        """Make and send the picture of a job."""
        start, request, kept, proxy = time.perf_counter(), job.request, self._kept, self.proxy
        version, runs = self.version, self.runs  # in this order: what comes in between is drawn again
        same = kept is not None and (kept.eye, kept.rays, kept.version) == (request.eye, request.display.rays, version)
        if proxy is not None and job.moving and (kept is None or kept.eye != request.eye):
            proxy.moving(request.display.background)
            return Drawn(job.rays, 0.0, False)
        if kept is not None and same and kept.traced >= job.rays:
            traced = 0.0
        else:
            found = self._draw(request, job, runs)
            if found is None:
                return None
            traced = math.prod(request.eye.size(job.rays))
            kept = self._kept = CachedRays(request.eye, request.display.rays, version, runs, found, traced)
        picture = self._covered(self._paint(kept, request.display), request.eye, runs[0])
        full = kept.traced >= 0.98 * request.most
        self._send(picture, kept, job.moving and not full)
        if full or start - self._told > TOLD_EVERY:
            self._told = start
            for watcher in self.watchers:
                watcher(picture.shape[1], picture.shape[0], time.perf_counter() - start, full)
        return Drawn(kept.traced, traced, full)

    def _draw(self, request: PictureRequest, job: Job[PictureRequest], runs: list[ShownRun]) -> list[GBuffer] | None:
        """What the runs that are shown look like from there, left one first."""
        width, height = request.eye.size(job.rays)
        cameras, display = request.eye.cameras(width, height), request.display
        models = [self.model(run, display) for run in runs]
        if display.compare == "one run" or len(models) == 1:
            views = [(models[0], cameras)]
        elif display.compare == "difference":
            views = [(model, cameras) for model in models[:2]]
        else:
            middle = min(max(round(display.split * width), 1), width - 1)
            views = [(models[0], cropped(cameras, 0, middle)), (models[1], cropped(cameras, middle, width))]
        made = []
        for model, camera in views:
            found = render_gbuffer(model, camera, job.given_up)
            if found is None:
                return None
            made.append(found)
        return made

    def _paint(self, kept: CachedRays, display: DisplaySettings) -> torch.Tensor:
        if display.compare == "difference" and len(kept.buffers) == 2:
            return difference(kept.buffers[0], kept.buffers[1], display)
        made = [paint(buffer, run, self.fitting(run, display))
                for buffer, run in zip(kept.buffers, kept.runs, strict=False)]  # fmt: skip
        picture = torch.cat(made, dim=1)
        if len(made) == 2:
            middle = made[0].shape[1]
            picture[:, middle : middle + SEAM] = 0.5
        return picture

    def _covered(self, picture: torch.Tensor, eye: Eye, run: ShownRun) -> torch.Tensor:
        """With the photograph over it that was asked for, while the visitor looks from its camera."""
        if self.cover is None or self.cover[1] <= 0:
            return picture
        view, share = self.cover
        poses = run.scene.cameras["train"].camera_to_world
        pose = poses[min(view, len(poses) - 1)].cpu()
        reach = 1e-3 * float((pose[:, 3] - run.middle).norm())
        if float((pose[:, 3] - eye.camera_to_world[:, 3]).norm()) > reach:
            return picture
        photograph = run.photograph(min(view, len(poses) - 1))
        return picture if photograph is None else blended(picture, photograph, share)

    def _send(self, picture: torch.Tensor, kept: CachedRays, moving: bool) -> None:
        self.shown = to_uint8(picture)
        z = None
        if self.occluding and self.things:
            halves = kept.buffers if picture.shape[1] > kept.buffers[0].shape[1] else kept.buffers[:1]
            z = torch.cat([buffer.z_depth for buffer in halves], dim=1).clamp_max(FARTHEST).cpu().numpy()
        if self.proxy is not None and self.proxy.resting(self.shown, z):
            return
        with contextlib.suppress(ConnectionError, RuntimeError):  # who has left sees nothing more
            self.handle.scene.set_background_image(self.shown, "jpeg", jpeg_quality=70 if moving else 90, depth=z)

    def point_at(self, origin: tuple[float, ...], direction: tuple[float, ...]) -> torch.Tensor | None:
        """float32 [3]: where a ray of the page meets what is shown, None where it meets nothing."""
        from fieldlab.data.cameras import Rays

        model = self.model(self.runs[0], self.display)
        rays = Rays(torch.tensor([origin]).float(), torch.nn.functional.normalize(torch.tensor([direction]).float()))
        seen = model.render_rays(rays.to(model.device))
        if float(seen.opacity) < 0.5:
            return None
        return (rays.origins + rays.directions * seen.depth.cpu()[:, None])[0]
