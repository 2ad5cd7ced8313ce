"""Fields made of others: their densities and latents added, or their encodings side by side before one perceptron.

The first is a composition of whole fields, such as low-rank tensors for what is smooth and a hash grid for the rest;
the second is how NeuRBF (Chen et al. 2023) joins its kernels to a grid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fieldlab.errors import ConfigError
from fieldlab.fields.base import Field, FieldConfig, FieldSize, check_budget
from fieldlab.fields.encoded import LatentConfig, LatentField, split_first
from fieldlab.fields.encoding import Encoding, part
from fieldlab.fields.hashgrid import HashGridConfig
from fieldlab.fields.kinds import kinds_that
from fieldlab.fields.registry import COMBINATIONS, build_field
from fieldlab.fields.training import FieldProgress, ParamGroup
from fieldlab.fields.vm import VMConfig
from fieldlab.ops.field_plan import MAX_BRANCHES, Branch
from fieldlab.ops.mlp import MLPSpec, init_mlp, mlp

HARDLY = 0.5  # of its share of a budget: a part that uses less leaves the rest to the others
USUAL_RATE = 1e-2  # learning rate of fields whose recipe names none
# How settings of training that parts' recipes name become one.
_JOINED = {"learning_rate": max, "samples_per_step": min, "warmup_steps": max}


@dataclass(frozen=True)
class HybridConfig(LatentConfig):
    """What a field is made of."""

    kind: ClassVar[str] = "hybrid"

    parts: tuple[LatentConfig, ...] = (VMConfig(resolution=128, initial_resolution=64), HashGridConfig())
    """The fields it is made of."""
    combine: str = "sum"
    """sum: log-densities and latents are added; concat: encodings stand side by side before one perceptron."""
    geometry_layers: int = 1
    """With concat, hidden layers from encodings to density and latent."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.combine not in COMBINATIONS.values():
            raise ConfigError("parts cannot be combined so", field="field.combine", found=self.combine,
                              expected=" | ".join(COMBINATIONS.values()))  # fmt: skip
        if not 2 <= len(self.parts) <= MAX_BRANCHES:
            raise ConfigError("a hybrid field has several parts", field="field.parts", found=len(self.parts),
                              expected=f"2 to {MAX_BRANCHES}")  # fmt: skip
        for p in self.parts:
            if not self._can_be_part(p):
                raise ConfigError(f"this field cannot be part of a {self.combine}", field="field.parts", found=p.kind,
                                  expected=kinds_that(self._can_be_part))  # fmt: skip
            if p.as_part() != p:
                raise ConfigError("a part of a hybrid trains no network of its own", field="field.parts", found=p.kind)
            if p.latent != self.latent or p.appearance:
                raise ConfigError("parts of a hybrid have its latent and no appearance", field="field.parts",
                                  found=(p.latent, p.appearance), expected=(self.latent, 0))  # fmt: skip

    def _can_be_part(self, config: FieldConfig) -> bool:
        """Whether it has what is combined: a latent, or an encoding."""
        single = isinstance(config, LatentConfig) and not isinstance(config, HybridConfig)
        return single and (self.combine == "sum" or 3 in config.encodes)

    @property
    def spelling(self) -> str:
        sign = next(sign for sign, combine in COMBINATIONS.items() if combine == self.combine)
        return sign.join(part.kind for part in self.parts)

    @property
    def recipe(self) -> Mapping[str, Any]:  # type: ignore[override]
        """What suits all parts; their learning rates become those of their parameters."""
        named = [p.recipe for p in self.parts]
        joined = {name: [r[name] for r in named if name in r] for name in _JOINED}
        joined["learning_rate"] = [self.rate(p) for p in self.parts]
        return {name: _JOINED[name](values) for name, values in joined.items() if values}

    @property
    def distortion(self) -> float:  # type: ignore[override]
        """What no part is harmed by."""
        return min(p.distortion for p in self.parts)

    @staticmethod
    def rate(p: FieldConfig) -> float:
        """The learning rate of a part by itself."""
        return float(p.recipe.get("learning_rate", USUAL_RATE))

    def geometry_spec(self) -> MLPSpec:
        """With concat: encodings -> raw log-density and latent."""
        return MLPSpec(sum(p.n_encoded for p in self.parts), 1 + self.latent, self.width, self.geometry_layers)

    def network_size(self) -> int:
        """Trainable values of the perceptrons that are not its parts'."""
        geometry = self.geometry_spec().n_params if self.combine == "concat" else 0
        return geometry + self.color_spec().n_params

    def part_size(self, p: LatentConfig) -> FieldSize:
        """What a part adds: without the perceptrons that are the whole's."""
        if self.combine == "concat":
            return p.encoding_size(3)
        size, color = p.size(), p.color_spec().n_params
        return FieldSize(size.trainable - color, size.fixed, size.n_bytes - 4 * color)

    def size(self) -> FieldSize:
        own, sizes = self.network_size(), [self.part_size(p) for p in self.parts]
        return FieldSize(
            own + sum(s.trainable for s in sizes), sum(s.fixed for s in sizes), 4 * own + sum(s.n_bytes for s in sizes)
        )

    def fitted_to(self, n_parameters: int) -> HybridConfig:
        """Every part as large as its share, which is equal to the others', but for what some of them cannot use."""
        check_budget(self.kind, n_parameters, self.least_size())
        fitted: dict[int, LatentConfig] = {}
        room, waiting = n_parameters - self.network_size(), list(range(len(self.parts)))
        while waiting:
            share = room // len(waiting)
            found = {i: self._part_fitted_to(self.parts[i], share) for i in waiting}
            content = [i for i in waiting if self.part_size(found[i]).trainable < HARDLY * share]
            done = waiting if len(content) in (0, len(waiting)) else content
            fitted |= {i: found[i] for i in done}
            room -= sum(self.part_size(found[i]).trainable for i in done)
            waiting = [i for i in waiting if i not in done]
        return self._with([fitted[i] for i in range(len(self.parts))])

    def _part_fitted_to(self, p: LatentConfig, share: int) -> LatentConfig:
        if self.combine == "concat":
            return p.encoding_fitted_to(share, 3)  # type: ignore[return-value]
        return p.fitted_to(share + p.color_spec().n_params)  # type: ignore[return-value]

    def least_size(self) -> int:
        if self.combine == "concat":
            shares = [p.least_encoding_size(3) for p in self.parts]
        else:
            shares = [p.least_size() - p.color_spec().n_params for p in self.parts]
        return self.network_size() + len(self.parts) * max(shares)

    def fitted_to_footprint(self, cells_per_side: float) -> HybridConfig:
        return self._with([p.fitted_to_footprint(cells_per_side) for p in self.parts])

    def fitted_to_device(self, device: str) -> HybridConfig:
        return self._with([p.fitted_to_device(device) for p in self.parts])

    def _with(self, parts: Sequence[FieldConfig]) -> HybridConfig:
        return replace(self, parts=tuple(parts))  # type: ignore[arg-type]


class HybridField(LatentField):
    """The field of a :class:`HybridConfig`."""

    kind = "hybrid"
    config_type = HybridConfig
    config: HybridConfig

    def __init__(self, config: HybridConfig, unit_length: float, generator: torch.Generator | None = None) -> None:
        super().__init__(config, unit_length, generator)
        self.fields: list[LatentField] = []
        self.encodings: list[Encoding] = []
        self.geometry_net = config.geometry_spec() if config.combine == "concat" else None
        if self.geometry_net is None:
            self.fields = [build_field(p, unit_length, generator) for p in config.parts]  # type: ignore[misc]
            for field in self.fields:
                field.without_color()
        else:
            self.encodings = [p.build_encoding(3, generator) for p in config.parts]
            self.geometry_params = nn.Parameter(init_mlp(self.geometry_net, generator))
        self.parts = nn.ModuleList([*self.fields, *self.encodings])
        self.fused_plan()  # says it where there are more parts than the renderer takes

    def geometry(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.geometry_net is not None:
            features = torch.cat([encoding(x).t() for encoding in self.encodings]).t()
            raw, latent = split_first(mlp(features, self.geometry_params, self.geometry_net))
            return raw + self.log_density_offset, latent
        outs = [field.geometry(x) for field in self.fields]
        # Every part's log-density has the offset already.
        log_density = torch.stack([o[0] for o in outs]).sum(0) - (len(outs) - 1) * self.log_density_offset
        return log_density, torch.stack([o[1] for o in outs]).sum(0)

    def param_groups(self) -> list[ParamGroup]:
        own = [self.color_params] + ([] if self.geometry_net is None else [self.geometry_params])
        base = self.config.recipe["learning_rate"]
        rates = [self.config.rate(p) / base for p in self.config.parts]
        groups = [
            replace(g, name=f"{i}.{g.name}", lr_scale=g.lr_scale * rates[i])
            for i, p in self._numbered()
            for g in p.param_groups()
        ]
        return [*groups, ParamGroup("mlp", own, lr_scale=min(USUAL_RATE / base, 1.0), weight_decay=1e-6)]

    def begin_from(self, teacher: Field, occupied: Callable[[Tensor], Tensor], generator: torch.Generator) -> list[str]:
        """In a sum only the first part that can takes over what the teacher holds; the others add to it."""
        done, holds = self.take_color(teacher), False
        for i, p in self._numbered():
            if not (holds and self.fields):
                begun = p.begin_from(teacher, occupied, generator)
                done += [f"part {i}: {words}" for words in begun]
                holds = holds or bool(begun)
        return done

    def schedule(self, progress: FieldProgress) -> bool:
        return any([f.schedule(progress) for f in self.fields] + [e.advance(progress) for e in self.encodings])

    def regularize(self, fraction: float) -> None:
        for _, p in self._numbered():
            p.regularize(fraction)

    def resize_like(self, arrays: Mapping[str, Tensor]) -> None:
        for i, p in self._numbered():
            p.resize_like(part(arrays, f"parts.{i}"))

    def branches(self) -> tuple[Branch, ...] | None:
        if self.geometry_net is None:
            found = [field.branches() for field in self.fields]
            return tuple(b for branches in found if branches for b in branches) if None not in found else None
        plans = [encoding.plans() for encoding in self.encodings]
        side_by_side = tuple(e for encoders in plans for e in encoders)
        return (Branch(side_by_side, self.geometry_params.detach(), self.geometry_net),) if () not in plans else None

    def _numbered(self) -> Iterator[tuple[int, LatentField | Encoding]]:
        yield from enumerate([*self.fields, *self.encodings])
