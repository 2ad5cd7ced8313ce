"""A field with everything needed to render it without the photographs it was trained on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, cast

import torch
from torch import Tensor, nn

from fieldlab.data.background import background_color
from fieldlab.data.cameras import Cameras, Rays
from fieldlab.errors import ConfigError
from fieldlab.fields.base import Field
from fieldlab.fields.head import FeatureHead, HeadConfig
from fieldlab.ops import native
from fieldlab.ops.composite import Composite, composite
from fieldlab.ops.contract import contract, ray_points, uncontract
from fieldlab.ops.field_plan import FieldPlan
from fieldlab.ops.importance import importance_sample
from fieldlab.ops.occupancy import query_occupancy, scaled_aabb
from fieldlab.ops.ray_box import ray_box
from fieldlab.ops.render_fused import render_fused
from fieldlab.ops.samples import Samples
from fieldlab.render.marcher import Marcher, choose_marcher
from fieldlab.render.normals import normals_from_depth
from fieldlab.render.occupancy import OccupancyGrid
from fieldlab.render.seen import EARLY_STOP, SeenSamples, look_along

CHANNELS = ("rgb", "depth", "opacity", "normal")
COARSE_PADDING = 1e-3  # added to the coarse weights, so that no sample is overlooked for good
LONGEST_STEPS = 64.0


@dataclass(frozen=True)
class ModelConfig:
    """Plain values of a model besides its field; lengths in world units."""

    aabb: tuple[float, ...]
    """Box of main interest: x0 y0 z0 x1 y1 z1."""
    step: float
    """Sampling distance near the camera."""
    step_scale: float = 1.0
    """Times as long are steps in fact: what was learnt with long ones gains nothing from shorter ones."""
    near: float = 0.0
    content: float = 0.0
    """Distance from the cameras at which content begins, as far as is known; 0 where nothing is."""
    unbounded: bool = False
    """Whether there is content outside the box; the field then sees contracted coordinates."""
    cone_angle: float = 0.0
    """Sampling distance grows with t times this."""
    cascades: int = 1
    """Occupancy levels; level i covers the box scaled 2^i."""
    grid_resolution: int = 128
    """Occupancy cells per side and level."""
    background: str = "white"
    """What evaluation composites on: white, black or #rrggbb."""
    n_images: int = 0
    """Photographs with an appearance vector each."""

    def box(self) -> Tensor:
        """float32 [2,3]."""
        return torch.tensor(self.aabb, dtype=torch.float32).view(2, 3)


@dataclass
class RayOutput:
    """What N rays see.

    Args:
        rgb: float32 [N,3].
        opacity: float32 [N] in [0,1].
        depth: float32 [N], expected distance along the ray where something is seen, 0 elsewhere.
        weights: float32 [S] per sample.
        samples: the S samples.
        densities: float32 [S] per world unit, without derivatives.
        n_marched: samples before those behind the visible surface were dropped, or the field's coarse network chose
            others.
        coarse_rgb: float32 [N,3], what that network sees.
    """

    rgb: Tensor
    opacity: Tensor
    depth: Tensor
    weights: Tensor
    samples: Samples
    densities: Tensor
    n_marched: int
    coarse_rgb: Tensor | None = None


@dataclass
class Pixels:
    """What N rays see, without the samples behind it: rgb float32 [N,3], opacity [N], depth [N] as in
    :class:`RayOutput`, and how many samples each ray took, int32 [N]."""

    rgb: Tensor
    opacity: Tensor
    depth: Tensor
    cost: Tensor


class RadianceModel(nn.Module):
    """Field, box, contraction, occupancy, background and near distance.

    Args:
        field: density and color over the unit cube.
        config: plain values.
    """

    aabb: Tensor
    _outer: Tensor

    def __init__(self, field: Field, config: ModelConfig) -> None:
        super().__init__()
        box = config.box()
        if not bool((box[1] > box[0]).all() and box.isfinite().all()):
            raise ConfigError("the box is empty or not finite", field="aabb", found=config.aabb)
        if not 1 <= config.step_scale <= LONGEST_STEPS:
            raise ConfigError("steps along rays are out of range", field="step_scale", found=config.step_scale,
                              expected=f"1 to {LONGEST_STEPS:g}")  # fmt: skip
        self.field = field
        self.config = config
        self.register_buffer("aabb", box, persistent=False)
        self.register_buffer("_outer", scaled_aabb(box, config.cascades - 1), persistent=False)
        self.step_scale = config.step_scale  # who trains changes it
        self.march: Marcher = choose_marcher("native", box.device)
        self.occupancy = OccupancyGrid(box, config.grid_resolution, config.cascades, config.step)
        size = getattr(field.config, "appearance", 0) if config.n_images else 0
        self.appearance = nn.Parameter(torch.zeros(config.n_images, size)) if size else None
        self.heads = nn.ModuleDict()

    def add_head(self, config: HeadConfig, generator: torch.Generator | None = None) -> FeatureHead:
        """Give the model another output, in place of one of the same name."""
        made = FeatureHead(config, generator).to(self.device)
        self.heads[config.name] = made
        return made

    def head(self, name: str) -> FeatureHead:
        """An output besides density and color.

        Raises:
            ConfigError: there is none of this name.
        """
        if name not in self.heads:
            raise ConfigError("the model has no such features", found=name, expected=", ".join(self.heads) or "none")
        return cast(FeatureHead, self.heads[name])

    def use_marcher(self, name: str) -> None:
        """Let ``native`` or ``nerfacc`` find the samples from here on; the model is on its device already.

        Raises:
            BackendError: it is not available.
        """
        self.march = choose_marcher(name, self.device)

    @property
    def device(self) -> torch.device:
        return self.aabb.device

    @property
    def outer_box(self) -> Tensor:
        """float32 [2,3]: the box of the outermost cascade; nothing is sampled outside."""
        return self._outer

    def background(self, name: str | None = None) -> Tensor:
        """Color [3] of a background by name; the scene's own by default."""
        return torch.tensor(background_color(name or self.config.background), device=self.device)

    def to_unit(self, points: Tensor) -> Tensor:
        """Coordinates [P,3] the field sees of world points [P,3]."""
        return contract(points, self.aabb, self.config.unbounded)

    def occupied(self, x: Tensor) -> Tensor:
        """Whether samples are taken at field coordinates [P,3]: bool [P]."""
        inner = x.clamp(1e-6, 1 - 1e-6) if self.config.unbounded else x  # its faces are at infinity
        return query_occupancy(self.occupancy.packed(), uncontract(inner, self.aabb, self.config.unbounded))

    def density(self, points: Tensor) -> Tensor:
        """Density [P] per world unit of length at world points [P,3]; zero outside a bounded scene's box."""
        sigma = self.field.density(self.to_unit(points))
        if self.config.unbounded:
            return sigma
        inside = ((points >= self.aabb[0]) & (points <= self.aabb[1])).all(-1)
        return torch.where(inside, sigma, torch.zeros_like(sigma))

    def rgb(self, points: Tensor, directions: Tensor) -> Tensor:
        """Color [P,3] of world points [P,3] seen along unit directions [P,3]."""
        x = self.to_unit(points)
        _, latent = self.field.geometry(x)
        return self.field.color(latent, x, directions, self.appearance_of(None, None, len(points)))

    def features(self, name: str, points: Tensor) -> Tensor:
        """Features [P,D] of the head ``name`` at world points [P,3]."""
        found: Tensor = self.head(name)(self.field.source(self.to_unit(points)))
        return found

    @torch.no_grad()
    def render_features(self, name: str, rays: Rays, chunk: int = 1 << 13) -> Tensor:
        """What N rays see of the head ``name``: float32 [N,D], weighted like colors, zero where nothing is seen."""
        head, parts = self.head(name), []
        for i in range(0, max(len(rays), 1), chunk):
            some = rays[i : i + chunk]
            seen = self.see(some)
            x, _ = self.points(some, seen.samples)
            parts.append(seen.composite(head(self.field.source(x))).values)
        return torch.cat(parts)

    def sample(self, rays: Rays, jitter: Tensor | None = None) -> Samples:
        """Samples along rays in occupied cells; ``jitter`` [N] in [0,1) moves a ray's samples by that many steps."""
        with torch.no_grad():
            near, far = self._ranges(rays)
            return self.march(
                rays.origins.detach(), rays.directions.detach(), near, far, self.occupancy.packed(),
                self.config.step * self.step_scale, self.config.cone_angle * self.step_scale, jitter,
            )  # fmt: skip

    @torch.no_grad()
    def see(self, rays: Rays, samples: Samples | None = None, *, early_stop: float = EARLY_STOP) -> SeenSamples:
        """Which samples rays see: those in front of which enough light is left, found by density alone, without
        derivatives.

        Args:
            rays: N rays in the world.
            samples: of these rays; those that :meth:`sample` finds by default.
            early_stop: transmittance below which samples are not seen.
        """
        marched = self.sample(rays) if samples is None else samples
        return look_along(marched, lambda some: self.field.density(self.points(rays, some)[0]), early_stop)

    def _ranges(self, rays: Rays) -> tuple[Tensor, Tensor]:
        """Where each ray's samples begin and end [N]; a ray that misses the box gets an empty range."""
        near, far, hit = ray_box(rays.origins.detach(), rays.directions.detach(), self._outer)
        zero = torch.zeros_like(near)
        return torch.where(hit, near.clamp_min(self.config.near), zero), torch.where(hit, far, zero)

    def forward(
        self,
        rays: Rays,
        background: Tensor | None = None,
        *,
        jitter: Tensor | None = None,
        images: Tensor | None = None,
        prune: bool = False,
        hierarchical: bool = False,
        early_stop: float = EARLY_STOP,
        full_gradient: float = 0.0,
    ) -> RayOutput:
        """Render rays, differentiably.

        Args:
            rays: N rays in the world; differentiable in them unless they are constants.
            background: [3] or [N,3] color behind everything; the scene's own by default.
            jitter: [N] in [0,1), see :meth:`sample`.
            images: int64 [N], whose appearance each ray has; the mean appearance by default.
            prune: find the density of all samples first, without derivatives, and drop those that are not seen.
            hierarchical: let the field's coarse network, if it has one, choose where on the rays the field is
                evaluated (Mildenhall et al. 2020, section 5.2); nothing needs to be pruned then.
            early_stop: transmittance below which samples are not seen.
            full_gradient: distance along rays from which on samples have all of their derivatives, see
                :func:`nearer_learn_less`.
        """
        samples = self.sample(rays, jitter)
        marched = len(samples)
        back = self.background() if background is None else background
        coarse_rgb = None
        if hierarchical and self.field.coarse is not None:
            guess, _ = self._composite(self.field.coarse, rays, samples, images, early_stop, full_gradient)
            coarse_rgb = on_background(guess, back)
            samples = importance_sample(samples, guess.weights, self.field.fine_samples, jitter, COARSE_PADDING)
        elif prune:
            samples = self.see(rays, samples, early_stop=early_stop).samples
        found, densities = self._composite(self.field, rays, samples, images, early_stop, full_gradient)
        return RayOutput(
            on_background(found, back), found.opacity, expected_depth(found.depth, found.opacity), found.weights,
            samples, densities, marched, coarse_rgb,
        )  # fmt: skip

    def _composite(
        self,
        field: Field,
        rays: Rays,
        samples: Samples,
        images: Tensor | None,
        early_stop: float,
        full_gradient: float,
    ) -> tuple[Composite, Tensor]:
        """Colors of samples as a field has them, blended; differentiable. Their densities [S] too, which are not."""
        x, directions = self.points(rays, samples)
        log_density, latent = field.geometry(x)
        appearance = self.appearance_of(images, samples, len(x))
        colors = field.color(latent, x, directions, appearance)
        if full_gradient > 0:
            log_density, colors = nearer_learn_less(log_density, colors, samples, full_gradient)
        densities = field.sigma(log_density)
        return composite(densities, colors, samples, early_stop), densities.detach()

    @torch.no_grad()
    def render_rays(self, rays: Rays, *, background: Tensor | None = None, chunk: int = 1 << 15) -> Pixels:
        """Render any number of rays without derivatives, with the mean appearance.

        The fused renderer does it where it can (see :mod:`fieldlab.ops.render_fused`); otherwise the separate
        operations do, ``chunk`` rays at a time.
        """
        back = self.background() if background is None else background
        appearance = None if self.appearance is None else self.appearance.mean(0)
        plan = self.field.fused_plan(appearance)
        if plan is not None and native.active(rays.origins) and native.backend() == "native":
            return self._render_fused(rays, plan, back)
        parts = [self._render_chunk(rays[i : i + chunk], back) for i in range(0, max(len(rays), 1), chunk)]
        return Pixels(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(Pixels)))

    def _render_fused(self, rays: Rays, plan: FieldPlan, background: Tensor) -> Pixels:
        near, far = self._ranges(rays)
        seen = render_fused(
            rays.origins, rays.directions, near, far, self.occupancy.packed(), plan, self.aabb,
            step=self.config.step * self.step_scale, cone_angle=self.config.cone_angle * self.step_scale,
            contracted=self.config.unbounded,
        )  # fmt: skip
        rgb = torch.addcmul(seen.rgb, 1.0 - seen.opacity[:, None], background)
        return Pixels(rgb, seen.opacity, expected_depth(seen.depth, seen.opacity), seen.evaluated)

    def _render_chunk(self, rays: Rays, background: Tensor) -> Pixels:
        out = self(rays, background, prune=True)
        cost = (out.samples.ray_offsets[1:] - out.samples.ray_offsets[:-1]).int()
        return Pixels(out.rgb, out.opacity, out.depth, cost)

    @torch.no_grad()
    def render_image(
        self,
        cameras: Cameras,
        i: int,
        *,
        background: Tensor | None = None,
        channels: Sequence[str] = ("rgb",),
        chunk: int = 1 << 15,
    ) -> dict[str, Tensor]:
        """Render picture ``i``.

        Args:
            cameras: where from; on any device.
            background: [3]; the scene's own by default.
            channels: some of rgb [H,W,3], depth [H,W,1] (distance along the ray, 0 where nothing is seen),
                opacity [H,W,1], normal [H,W,3] (world, unit or zero).

        Raises:
            ConfigError: an unknown channel.
        """
        if unknown := sorted(set(channels) - set(CHANNELS)):
            raise ConfigError("there is no such channel", found=", ".join(unknown), expected=" | ".join(CHANNELS))
        one = cameras[i].to(self.device)
        width, height = one.size[0].tolist()
        rays = one.image_rays(0)
        out = self.render_rays(rays, background=background, chunk=chunk)
        images = {"rgb": out.rgb.clamp(0, 1), "depth": out.depth[:, None], "opacity": out.opacity[:, None]}
        if "normal" in channels:
            images["normal"] = normals_from_depth(rays, out.depth.view(height, -1), out.opacity.view(height, -1))
        return {name: images[name].view(height, width, -1) for name in channels}

    def describe(self) -> list[tuple[str, str]]:
        """Label and value of what is worth knowing."""
        return [
            ("field", self.field.kind),
            ("parameters", f"{self.field.n_parameters:,} trained, {self.field.n_fixed:,} fixed"),
            ("bytes", f"{self.field.n_bytes:,}"),
            ("box", " ".join(f"{v:.4g}" for v in self.config.aabb)),
            ("unbounded", "yes" if self.config.unbounded else "no"),
            ("step along rays", f"{self.config.step:.4g}"),
            ("occupancy", f"{self.config.cascades} x {self.config.grid_resolution}^3, "
             f"{100 * self.occupancy.occupied_fraction():.1f} % occupied"),
            *((f"features {head.config.name}", f"{head.config.features} per point, {head.n_bytes:,} bytes")
              for head in map(self.head, self.heads)),
        ]  # fmt: skip

    def points(self, rays: Rays, samples: Samples) -> tuple[Tensor, Tensor]:
        """Field coordinates and directions [S,3] of samples."""
        return ray_points(rays.origins, rays.directions, samples, self.aabb, self.config.unbounded)

    def appearance_of(self, images: Tensor | None, samples: Samples | None, n: int) -> Tensor | None:
        """Appearance [n,A] of samples of rays whose photographs are ``images`` int64 [N]; the mean one by default; None
        for models without."""
        if self.appearance is None:
            return None
        if images is None or samples is None:
            return self.appearance.mean(0).expand(n, -1)
        return self.appearance[images[samples.ray_indices]]


def nearer_learn_less(log_density: Tensor, colors: Tensor, samples: Samples, distance: float) -> tuple[Tensor, Tensor]:
    """The same values, whose derivatives are scaled by ``(t / distance)^2`` where samples are nearer than that.

    Space near a camera fills many of its pixels and few of the others', so that it learns fast and wrongly: fog before
    the cameras (Philip & Deschaintre 2023, eq. 7).

    Args:
        log_density: [S].
        colors: [S,C].
        samples: where on their rays.
        distance: in world units.
    """
    scale = (samples.middles / distance).square().clamp_max(1.0)
    scaled = torch.lerp(log_density.detach(), log_density, scale)
    return scaled, torch.lerp(colors.detach(), colors, scale[:, None])


def on_background(seen: Composite, background: Tensor) -> Tensor:
    """Colors [N,3] of what is seen in front of a background [3] or [N,3]."""
    return seen.values + (1.0 - seen.opacity)[:, None] * background


def expected_depth(weighted: Tensor, opacity: Tensor) -> Tensor:
    """Mean distance of what is seen [N] from the weighted sum of distances, 0 where nothing is."""
    return weighted / opacity.clamp_min(1e-6)


def unit_length(config: ModelConfig) -> float:
    """World length of the side of the cube the field sees, near the middle of the box (contraction halves it)."""
    box = config.box()
    side = float((box[1] - box[0]).double().log().mean().exp())
    return side * 2 if config.unbounded else side


def config_dict(config: ModelConfig) -> dict[str, Any]:
    """Plain values for a checkpoint's header."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(config).items()}


def diagonal(aabb: Tensor) -> float:
    """Length of the diagonal of a box [2,3]."""
    return math.dist(aabb[0].tolist(), aabb[1].tolist())
