"""A model with edits: checked, with an occupancy grid of its own, and what removing has uncovered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fieldlab.data.cameras import Cameras, Rays
from fieldlab.edit.edited import EditedConfig, EditedField
from fieldlab.edit.edits import FindPart, Selection, parse_edit, part_named
from fieldlab.edit.kind import EDITED
from fieldlab.edit.regions import locate
from fieldlab.errors import ConfigError
from fieldlab.fields.base import Field, FieldConfig
from fieldlab.render.model import RadianceModel
from fieldlab.render.occupancy import NEVER, inner_cells
from fieldlab.runs.config import RunConfig
from fieldlab.runs.folder import RunFolder
from fieldlab.runs.load import RunInfo
from fieldlab.runs.session import run_header
from fieldlab.training.config import TrainConfig

PROBES = 1 << 18  # points asked whether a selection holds anything, or where it went
RAYS = 1 << 14  # rays asked what a removal uncovers
WITNESSES = 64  # cameras asked whether they ever saw that
MOST_OUTSIDE = 0.02  # of what is moved
SEEN = 0.5  # opacity from which a ray has hit something
PASSES = 4
HALO_STEPS = 4.0  # of marching, by which a segment reaches beyond the outermost of its points


@dataclass(frozen=True)
class Uncovered:
    """What is behind what went: of the rays of training photographs that ended on it,

    Args:
        rays: how many there were.
        nothing: share that now ends nowhere.
        unseen: share that now ends on what no photograph shows.
    """

    rays: int
    nothing: float
    unseen: float


def edited_model(
    model: RadianceModel, edits: Sequence[str], generator: torch.Generator, find: FindPart | None = None
) -> RadianceModel:
    """A model of the same scene with edits, after those that it may have already. ``find`` says where the segments of
    the unedited scene are that edits name.

    Raises:
        ConfigError: a line makes no sense, an edit selects nothing or moves things out of the box, or nothing is left.
    """
    was = model.field
    inner = was.base if isinstance(was, EditedField) else was
    base: FieldConfig = was.config.base if isinstance(was, EditedField) else was.config
    before: tuple[str, ...] = was.config.edits if isinstance(was, EditedField) else ()
    regions = [was.region(k) for k in range(len(before))] if isinstance(was, EditedField) else []
    edits = [" ".join(text.split()) for text in edits]
    named = [part_named(text) for text in edits]
    for text, name in zip(edits, named, strict=True):
        if name is None:
            parse_edit(text)  # all of them, before any is looked at
    made = _with(model, inner, base, before, regions)
    for text, name in zip(edits, named, strict=True):
        region = None
        if name is not None:
            selection, region = _located(name, text, made, find)
            text = text.replace(f"part {name}", selection, 1)
        _check_selects(made, text, region, generator)
        before, regions = (*before, text), [*regions, region]
        made = _with(model, inner, base, before, regions)
    grid = made.occupancy
    grid.values.zero_()  # what was moved may be anywhere, also where no photograph looked
    if grid.levels > 1:
        grid.values[inner_cells(grid.resolution, grid.levels).to(grid.values.device)] = NEVER
    grid.changed()
    grid.refresh(made.density, generator, PASSES)
    if not bool(grid.occupied().any()):
        raise ConfigError("nothing is left after these edits", field="EDIT", found=edits[-1])
    return made


def write_edited(out: Path, made: RadianceModel, info: RunInfo, *, overwrite: bool = False) -> RunFolder:
    """Write an edited model of a run as a run of its own.

    Raises:
        RunFolderError: the folder cannot be written, or there is a run already.
    """
    settings = (info.config.get(TrainConfig), info.config.scene)
    config = RunConfig(EDITED.name, info.config.source, made.field.config, settings, str(info.run.path.resolve()))
    folder = RunFolder.create(out, config, overwrite=overwrite)
    arrays = {f"model.{name}": array for name, array in made.state_dict().items()}
    training = {"progress": {"step": info.step, "seconds": info.seconds}}
    folder.save_checkpoint(info.step, arrays | info.scene.arrays(), run_header(made, training, info.scene))
    return folder


def _located(name: str, text: str, model: RadianceModel, find: FindPart | None) -> tuple[str, Tensor]:
    if find is None:
        raise ConfigError("an edit is about a segment, and nothing says what segments there are", field=text,
                          hint="edits by part are made to a run of fieldlab segment")  # fmt: skip
    part, field = find(name), model.field
    assert isinstance(field, EditedField)
    selection, region = locate(part, field, HALO_STEPS * model.config.step)
    parse_edit(text.replace(f"part {name}", selection, 1))
    return selection, region


def _with(
    model: RadianceModel, inner: Field, base: FieldConfig, edits: tuple[str, ...], regions: Sequence[Tensor | None]
) -> RadianceModel:
    config = EditedConfig(base, edits, model.config.aabb, model.config.unbounded)
    field = EditedField(config, model.field.unit_length)
    field.base = inner
    field.set_regions(regions)
    was = model.field
    field.occupied = was.occupied if isinstance(was, EditedField) else model.occupancy.occupied()
    made = RadianceModel(field, model.config).to(model.device)
    if model.appearance is not None:
        made.appearance = model.appearance
    made.heads = model.heads
    return made.eval().requires_grad_(False)


def points_in(
    selection: Selection, within: Tensor, n: int, generator: torch.Generator, region: Tensor | None = None
) -> Tensor:
    """At most n random world points [P,3] of a selection (and its region) and a box [2,3]; none where the two do not
    meet."""
    low, high = (bound.to(within) for bound in selection.bounds())
    low, high = torch.maximum(low, within[0]), torch.minimum(high, within[1])
    if bool((low >= high).any()):
        return low.new_empty(0, 3)
    points = low + torch.rand(n, 3, generator=generator).to(within) * (high - low)
    return points[selection.contains(points, region)]


@torch.no_grad()
def _check_selects(model: RadianceModel, text: str, region: Tensor | None, generator: torch.Generator) -> None:
    edit, box = parse_edit(text), " ".join(f"{v:.4g}" for v in model.config.aabb)
    points = points_in(edit.selection, model.outer_box, PROBES, generator, region)
    points = points[model.density(points) * model.config.step > model.occupancy.threshold]
    if not len(points):
        raise ConfigError("an edit selects nothing", field=text, found="empty space",
                          hint=f"the box of the scene is {box}; fieldlab export shows where things are")  # fmt: skip
    if edit.moves:
        there, outer = edit.target(points), model.outer_box
        outside = float(((there < outer[0]) | (there > outer[1])).any(1).float().mean())
        if outside > MOST_OUTSIDE:
            raise ConfigError("an edit moves things out of the scene's box", field=text, expected=f"inside {box}",
                              found=f"{outside:.0%} of them would be outside")  # fmt: skip


@torch.no_grad()
def uncovered(before: RadianceModel, after: RadianceModel, cameras: Cameras, generator: torch.Generator) -> Uncovered:
    """What the training photographs' rays end on now that ended on something that is gone. What a photograph showed is
    what the field showed before any edit, also where ``before`` has edits already."""
    cameras, as_trained = cameras.to("cpu"), _unedited(before)
    index = torch.randint(len(cameras), (RAYS,), generator=generator)
    pixels = torch.rand(RAYS, 2, generator=generator) * cameras.size[index]
    rays = cameras.rays(index, pixels).to(before.device)
    old, new = before.render_rays(rays), after.render_rays(rays)
    shift = (new.depth - old.depth).abs() > 4 * before.config.step
    gone = (old.opacity > SEEN) & ((new.opacity <= SEEN) | (shift & (new.depth > old.depth)))
    count = int(gone.sum())
    if not count:
        return Uncovered(0, 0.0, 0.0)
    nothing = gone & (new.opacity <= SEEN)
    behind = gone & ~nothing
    points = (rays.origins + rays.directions * new.depth[:, None])[behind]
    unseen = ~_ever_seen(as_trained, points, cameras, generator)
    return Uncovered(count, int(nothing.sum()) / count, int(unseen.sum()) / count)


def _unedited(model: RadianceModel) -> RadianceModel:
    """What a model showed before its edits; itself where it has none."""
    field = model.field
    if not isinstance(field, EditedField):
        return model
    made = RadianceModel(field.base, model.config).to(model.device)
    made.appearance = model.appearance
    made.occupancy.values.copy_(torch.where(field.occupied, 2 * made.occupancy.threshold, 0.0))
    made.occupancy.changed()
    return made.eval().requires_grad_(False)


def _ever_seen(model: RadianceModel, points: Tensor, cameras: Cameras, generator: torch.Generator) -> Tensor:
    """bool [P]: whether some of the cameras saw world points [P,3] when nothing was edited."""
    seen = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    for i in torch.randperm(len(cameras), generator=generator)[:WITNESSES].tolist():
        inside = cameras[i : i + 1].to(points.device).project(0, points)[2] & ~seen
        target = points[inside]
        origin = cameras.origins[i].to(points)
        away = target - origin
        distance = away.norm(dim=1)
        found = model.render_rays(Rays(origin.expand_as(target).contiguous(), away / distance[:, None]))
        reached = (found.opacity <= SEEN) | (found.depth >= distance - 4 * model.config.step)
        seen[inside.nonzero()[:, 0][reached]] = True
    return seen
