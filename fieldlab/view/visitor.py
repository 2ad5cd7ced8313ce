"""Somebody who looks: one browser window with its camera, its wishes, and the last picture that was made for it."""

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
from fieldlab.view.look import Look
from fieldlab.view.overlay import blended
from fieldlab.view.scheduler import Drawn, Job
from fieldlab.view.seen import Seen, see
from fieldlab.view.standin import StandIn
from fieldlab.view.subject import Subject

if TYPE_CHECKING:
    import viser

MOST_RAYS = 1920 * 1200  # of one picture, whatever the window's size
SEAM = 2  # columns between two runs side by side
FARTHEST = 160.0  # depth that the browser can be told
TOLD_EVERY = 0.4  # seconds between words about pictures that are not full


@dataclass(frozen=True)
class Wish:
    """What a visitor wants to be drawn."""

    eye: Eye
    look: Look
    most: float

    @property
    def way(self) -> Hashable:
        """What the cost of a ray depends on."""
        return self.look.channel, self.look.compare, bool(self.look.hidden or self.look.only)


@dataclass
class Kept:
    """The rays behind the last picture, to color anew."""

    eye: Eye
    rays: tuple[object, ...]
    version: int
    subjects: list[Subject]
    seen: list[Seen]
    traced: float


class Visitor:
    """One client.

    Args:
        handle: viser's client.
        subjects: one or two runs.
    """

    def __init__(self, handle: viser.ClientHandle, subjects: list[Subject]) -> None:
        self.handle, self.subjects = handle, subjects
        self.parted = subjects[0]  # whose parts are those of the look, whatever is shown later
        self.look = Look(channel="color")
        self.sharpness = 1.0  # share of the window's pixels that a picture at rest has
        self.occluding = True  # whether the field hides what is behind it
        self.things: set[str] = set()  # in the page, that the field may hide
        self.stand_in: StandIn | None = None  # what is shown while the camera moves
        self.cover: tuple[int, float] | None = None  # photograph of which training view, and how strongly
        self.renamed: list[Callable[[], object]] = []  # called when runs or parts are others, or called something else
        self.altered: list[Callable[[Look, Look], object]] = []  # called when the look was one and is another
        self.stale: list[Callable[[], object]] = []  # called when the field is not what was seen of it
        self.leaving: list[Callable[[], object]] = []  # called when the visitor has gone
        self.version = 0  # of the field, which changes while it trains
        self.watchers: list[Callable[[int, int, float, bool], object]] = []  # of width, height, seconds, full
        self.shown: np.ndarray | None = None  # the last picture
        self._kept: Kept | None = None
        self._lock = threading.Lock()
        self._told = 0.0

    def eye(self) -> Eye:
        """Where the visitor looks from.

        Raises:
            ValueError: the browser says nonsense.
        """
        camera = self.handle.camera
        return Eye.of(camera.wxyz.tolist(), camera.position.tolist(), camera.fov, camera.aspect)

    def wish(self) -> Wish:
        """What to draw now."""
        camera, eye = self.handle.camera, self.eye()
        window = max(int(camera.image_width), 1) * max(int(camera.image_height), 1)
        return Wish(eye, self.look, float(min(window * self.sharpness, MOST_RAYS)))

    def alter(self, **changes: Any) -> bool:
        """Change the look; whether anything is different now."""
        with self._lock:
            before, after = self.look, replace(self.look, **changes)
            self.look = after
        if after == before:
            return False
        if (before.hidden, before.only) != (after.hidden, after.only):
            self._tell_stale()
        if (before.channel, before.compare) != (after.channel, after.compare):
            self._tell_lacking(after)
        for word in self.altered:
            word(before, after)
        return True

    def go(self, eye: Eye) -> None:
        """Look from somewhere else."""
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

    def look_at(self, subjects: list[Subject]) -> None:
        """Look at other runs from now on."""
        self.subjects = subjects
        self.outdated()
        self._tell_lacking(self.look)
        for word in self.renamed:
            word()

    def outdated(self) -> None:
        """The field has changed: what was seen of it is worth nothing."""
        with self._lock:
            self.version += 1
        self._tell_stale()

    def leave(self) -> None:
        """The visitor has gone."""
        for word in self.leaving:
            word()

    def fitting(self, subject: Subject, look: Look) -> Look:
        """A look as far as a run can have it: without the parts of another one, and in color where it lacks what is
        asked for."""
        if subject is not self.parted:
            look = replace(look, chosen=frozenset(), hidden=frozenset(), only=frozenset())
        return look if look.channel in channels_of(subject) else replace(look, channel="color")

    def model(self, subject: Subject, look: Look) -> RadianceModel:
        """What a look leaves of a run."""
        fitting = self.fitting(subject, look)
        return subject.visible(fitting.hidden, fitting.only)

    def _tell_stale(self) -> None:
        for word in self.stale:
            word()

    def _tell_lacking(self, look: Look) -> None:
        """Say which of the runs that are shown have nothing to see in the channel."""
        shown = {"one run": self.subjects[:1], "split": self.subjects[:2]}.get(look.compare, [])
        lacking = [subject.name for subject in shown if look.channel not in channels_of(subject)]
        if lacking:
            self.tell(f"No {look.channel}", f"{' and '.join(lacking)} has none: its colors are shown.")

    def draw(self, job: Job[Wish]) -> Drawn | None:
        """Make and send the picture of a job."""
        start, wish, kept, stand_in = time.perf_counter(), job.sketch, self._kept, self.stand_in
        version, subjects = self.version, self.subjects  # in this order: what comes in between is drawn again
        same = kept is not None and (kept.eye, kept.rays, kept.version) == (wish.eye, wish.look.rays, version)
        if stand_in is not None and job.moving and (kept is None or kept.eye != wish.eye):
            stand_in.moving(wish.look.background)
            return Drawn(job.rays, 0.0, False)
        if kept is not None and same and kept.traced >= job.rays:
            traced = 0.0
        else:
            found = self._see(wish, job, subjects)
            if found is None:
                return None
            traced = math.prod(wish.eye.size(job.rays))
            kept = self._kept = Kept(wish.eye, wish.look.rays, version, subjects, found, traced)
        picture = self._covered(self._paint(kept, wish.look), wish.eye, subjects[0])
        full = kept.traced >= 0.98 * wish.most
        self._send(picture, kept, job.moving and not full)
        if full or start - self._told > TOLD_EVERY:
            self._told = start
            for watcher in self.watchers:
                watcher(picture.shape[1], picture.shape[0], time.perf_counter() - start, full)
        return Drawn(kept.traced, traced, full)

    def _see(self, wish: Wish, job: Job[Wish], subjects: list[Subject]) -> list[Seen] | None:
        """What the runs that are shown look like from there, left one first."""
        width, height = wish.eye.size(job.rays)
        cameras, look = wish.eye.cameras(width, height), wish.look
        models = [self.model(subject, look) for subject in subjects]
        if look.compare == "one run" or len(models) == 1:
            views = [(models[0], cameras)]
        elif look.compare == "difference":
            views = [(model, cameras) for model in models[:2]]
        else:
            middle = min(max(round(look.split * width), 1), width - 1)
            views = [(models[0], cropped(cameras, 0, middle)), (models[1], cropped(cameras, middle, width))]
        made = []
        for model, camera in views:
            found = see(model, camera, job.given_up)
            if found is None:
                return None
            made.append(found)
        return made

    def _paint(self, kept: Kept, look: Look) -> torch.Tensor:
        if look.compare == "difference" and len(kept.seen) == 2:
            return difference(kept.seen[0], kept.seen[1], look)
        made = [paint(seen, subject, self.fitting(subject, look))
                for seen, subject in zip(kept.seen, kept.subjects, strict=False)]  # fmt: skip
        picture = torch.cat(made, dim=1)
        if len(made) == 2:
            middle = made[0].shape[1]
            picture[:, middle : middle + SEAM] = 0.5
        return picture

    def _covered(self, picture: torch.Tensor, eye: Eye, subject: Subject) -> torch.Tensor:
        """With the photograph over it that was asked for, while the visitor looks from its camera."""
        if self.cover is None or self.cover[1] <= 0:
            return picture
        view, share = self.cover
        poses = subject.scene.cameras["train"].camera_to_world
        pose = poses[min(view, len(poses) - 1)].cpu()
        reach = 1e-3 * float((pose[:, 3] - subject.middle).norm())
        if float((pose[:, 3] - eye.camera_to_world[:, 3]).norm()) > reach:
            return picture
        photograph = subject.photograph(min(view, len(poses) - 1))
        return picture if photograph is None else blended(picture, photograph, share)

    def _send(self, picture: torch.Tensor, kept: Kept, moving: bool) -> None:
        self.shown = to_uint8(picture)
        z = None
        if self.occluding and self.things:
            halves = kept.seen if picture.shape[1] > kept.seen[0].shape[1] else kept.seen[:1]
            z = torch.cat([seen.z_depth for seen in halves], dim=1).clamp_max(FARTHEST).cpu().numpy()
        if self.stand_in is not None and self.stand_in.resting(self.shown, z):
            return
        with contextlib.suppress(ConnectionError, RuntimeError):  # who has left sees nothing more
            self.handle.scene.set_background_image(self.shown, "jpeg", jpeg_quality=70 if moving else 90, depth=z)

    def point_at(self, origin: tuple[float, ...], direction: tuple[float, ...]) -> torch.Tensor | None:
        """float32 [3]: where a ray of the page meets what is shown, None where it meets nothing."""
        from fieldlab.data.cameras import Rays

        model = self.model(self.subjects[0], self.look)
        rays = Rays(torch.tensor([origin]).float(), torch.nn.functional.normalize(torch.tensor([direction]).float()))
        seen = model.render_rays(rays.to(model.device))
        if float(seen.opacity) < 0.5:
            return None
        return (rays.origins + rays.directions * seen.depth.cpu()[:, None])[0]
