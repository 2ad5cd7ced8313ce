"""fieldlab from Python: ``import fieldlab as fl``. Every function here is one that a command calls too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

import torch

from fieldlab.data.cameras import Cameras
from fieldlab.data.options import SceneOptions
from fieldlab.data.scene import Scene
from fieldlab.distill.config import DISTILLED, DistillSettings
from fieldlab.distill.session import distill_session, new_distill_config
from fieldlab.edit.editing import edited_model
from fieldlab.errors import ConfigError, RunFolderError
from fieldlab.export.meshes import MeshOptions, colored_mesh
from fieldlab.fields.sizes import count
from fieldlab.mesh.write import check_mesh_path, write_mesh
from fieldlab.ops.device import choose_device
from fieldlab.pictures.picture import Picture
from fieldlab.render.model import RadianceModel
from fieldlab.runs.checkpoint import Checkpoint
from fieldlab.runs.config import RunConfig
from fieldlab.runs.folder import RunFolder, place_beside
from fieldlab.runs.kinds import kind_named
from fieldlab.runs.load import RunInfo, check_parent
from fieldlab.runs.load import load_run as _load
from fieldlab.runs.loop import Event
from fieldlab.runs.photographs import reload_views
from fieldlab.runs.session import Session, reopen
from fieldlab.runs.values import from_dict
from fieldlab.segment.config import SEGMENTED, SegmentSettings
from fieldlab.segment.edited import write_edited_run
from fieldlab.segment.files import copy_hierarchy, stored_hierarchy
from fieldlab.segment.find_masks import find_masks, masks_source
from fieldlab.segment.finder import finder
from fieldlab.segment.session import new_segment_config, segment_session, write_tree
from fieldlab.sources.load import load_scene as _load_scene
from fieldlab.training.build import FieldChoice, new_train_config, training_views
from fieldlab.training.config import TRAINED, TrainConfig
from fieldlab.training.evaluate import ViewScore, evaluate_views, mean_score
from fieldlab.training.session import train_session
from fieldlab.training.suited import AUTO, suited

OnEvent = Callable[[Event], object]
T = TypeVar("T")
_LIMITS: dict[str, type] = {TRAINED.name: TrainConfig, DISTILLED.name: TrainConfig, SEGMENTED.name: SegmentSettings}


def load_scene(source: str | Path, **options: Any) -> Scene:
    """Photographs with camera poses.

    Args:
        source: a folder or file in any supported format, a scene file (.toml), or the name of a scene that comes with
            fieldlab.
        options: of :class:`~fieldlab.data.options.SceneOptions`, such as ``downscale=2``.

    Raises:
        DataError: something in the files is missing or wrong.
        ConfigError: an option makes no sense.
    """
    return _load_scene(source, _checked(SceneOptions, "scene", **options))


def load_run(path: str | Path, *, device: str = "auto") -> Run:
    """A run that was made before, by Python or by a command.

    Raises:
        RunFolderError, CheckpointError: it is no run, or cannot be read.
    """
    return Run(*_load(path, choose_device(device)))


def train(
    scene: Scene | str | Path,
    field: str = AUTO,
    *,
    seconds: float | None = None,
    steps: int | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    params: int | str | None = None,
    teacher: Run | str | Path | None = None,
    device: str = "auto",
    on_event: OnEvent | None = None,
    **settings: Any,
) -> Run:
    """Train a field on a scene. Ctrl-C saves what there is and stops; :func:`resume` goes on then.

    Args:
        scene: photographs with poses, as :func:`load_scene` gives them, or what it takes.
        field: a representation, or several joined, as ``vm+hashgrid``; by default the one that suits the scene.
        seconds, steps: limits; without either 300 seconds on a CPU and 120 on CUDA.
        out: folder of the run, ``runs/<scene>-<field>`` by default, ``runs/<scene>`` where no field is named.
        overwrite: start again where there is a run already.
        params: most trained values, such as 500_000 or "5M".
        teacher: a run of the same scene where the field begins.
        on_event: called after every step.
        settings: more of :class:`~fieldlab.training.config.TrainConfig`, such as ``seed=1``.

    Raises:
        FieldlabError: what a person can mend.
    """
    where = choose_device(device)
    if not isinstance(scene, Scene):
        scene = load_scene(scene)
    training_views(scene)
    _checked(TrainConfig, "train", steps=steps, seconds=seconds, **settings)
    choice, _ = suited(FieldChoice(field, n_parameters=_count(params)), scene)
    begins = load_run(teacher, device=device) if isinstance(teacher, str | Path) else teacher
    parent, shown = (None, None) if begins is None else (begins.path, begins.model)
    config = new_train_config(scene, choice, where, steps=steps, seconds=seconds, teacher=parent, **settings)
    name = scene.name if field == AUTO else f"{scene.name}-{field}"
    folder = RunFolder.create(out or Path("runs") / name, config, overwrite=overwrite)
    _learn(folder, lambda: train_session(folder, scene, config, where, teacher=shown), on_event)
    return load_run(folder.path, device=device)


def resume(
    run: Run | str | Path,
    *,
    seconds: float | None = None,
    steps: int | None = None,
    parent: Run | str | Path | None = None,
    device: str = "auto",
    on_event: OnEvent | None = None,
) -> Run:
    """Go on with a run that was trained, distilled or segmented: one that was stopped, or for longer.

    Args:
        run: a run, or its folder.
        seconds, steps: new limits, counted from its beginning; those it has by default.
        parent: the run it was made from, when that is no longer where it was.
        on_event: called after every step.

    Raises:
        FieldlabError: there is no such run, or what it was made from is gone or is of another scene or field. The run
            is as it was then.
    """
    path, where = run.path if isinstance(run, Run) else Path(run), choose_device(device)
    config = RunFolder.open(path).config()
    if config.kind not in _LIMITS:
        raise ConfigError("runs of this kind are not gone on with from Python", file=path, field="kind",
                          found=config.kind, expected=" | ".join(_LIMITS),
                          hint=f"what makes them is {kind_named(config.kind).command}")  # fmt: skip
    limits = _LIMITS[config.kind]
    _checked(limits, "limits", steps=steps, seconds=seconds)
    open_session = _reopened_session(path, config, parent, where)  # before anything is written
    folder, config, checkpoint = reopen(path, config.kind, limits, steps=steps, seconds=seconds)
    finish = write_tree if config.kind == SEGMENTED.name else lambda session: None
    _learn(folder, lambda: open_session(folder, config, checkpoint), on_event, finish, created=False)
    return load_run(path, device=device)


Opens = Callable[[RunFolder, RunConfig, Checkpoint | None], Session[Any]]


def _reopened_session(path: Path, config: RunConfig, parent: Run | str | Path | None, where: torch.device) -> Opens:
    """What opens the session of a run that goes on, when all that it needs could be read."""
    if config.kind == TRAINED.name:
        scene = _load_scene(config.source, config.scene)
        begins = config.parent is not None and not RunFolder(path).checkpoints()
        teacher = _parent(config, parent, where)[0] if begins else None
        return lambda folder, config, checkpoint: train_session(
            folder, scene, config, where, teacher=teacher, resume=checkpoint
        )
    model, info = _parent(config, parent, where)
    check_parent(config, model, info)
    if config.kind == DISTILLED.name:
        return lambda folder, config, checkpoint: distill_session(folder, config, model, info.scene, resume=checkpoint)
    masks = find_masks(config.get(SegmentSettings).masks, info)
    return lambda folder, config, checkpoint: segment_session(
        folder, config, model, info.scene, masks, resume=checkpoint
    )


def _parent(config: RunConfig, parent: Run | str | Path | None, where: torch.device) -> tuple[RadianceModel, RunInfo]:
    """A model of its own, since learning may change it."""
    place = parent.path if isinstance(parent, Run) else parent or config.parent
    try:
        return _load(str(place), where)
    except RunFolderError as error:
        raise RunFolderError("the run that this one was made from is gone", file=error.file,
                             hint="say where it is now, as parent=") from error  # fmt: skip


class Run:
    """A run that is ready to be looked at and turned into others; in a notebook it shows itself.

    Args:
        model: its model.
        info: what else is known of it.
    """

    def __init__(self, model: RadianceModel, info: RunInfo) -> None:
        self.model, self.info = model, info

    @property
    def path(self) -> Path:
        """Its folder."""
        return self.info.run.path

    @property
    def config(self) -> RunConfig:
        """What it was made from."""
        return self.info.config

    def cameras(self, split: str = "train") -> Cameras:
        """The cameras of a split of its photographs.

        Raises:
            ConfigError: there is no such split.
        """
        found = self.info.scene.cameras
        if split not in found:
            raise ConfigError("the run has no such split of views", found=split, expected=", ".join(found))
        return found[split]

    def render(self, camera: Cameras | int = 0, *, channels: str | Sequence[str] = ("rgb",)) -> Picture:
        """What a camera sees.

        Args:
            camera: one camera, or the number of a training view.
            channels: some of rgb, depth, opacity and normal.

        Raises:
            ConfigError: there is no such view or channel.
        """
        if isinstance(camera, Cameras):
            if len(camera) != 1:
                raise ConfigError("one camera takes a picture", field="camera", found=f"{len(camera)} cameras",
                                  expected="one of them, such as run.cameras()[0]")  # fmt: skip
            one = camera
        else:
            count = len(self.cameras())
            if not isinstance(camera, int) or not -count <= camera < count:
                raise ConfigError("there is no such training view", found=repr(camera), expected=f"0 to {count - 1}")
            one = self.cameras()[camera]
        wanted = (channels,) if isinstance(channels, str) else tuple(channels)
        if not wanted:
            raise ConfigError("a picture has a channel", field="channels", expected="rgb, depth, opacity or normal")
        return Picture(self.model.render_image(one, 0, channels=wanted))

    def evaluate(self, split: str = "test", *, data: str | Path | None = None) -> ViewScore:
        """Mean PSNR and SSIM over a split's photographs, which are read from where they were, or from ``data``.

        Raises:
            DataError: they are gone, or there is no such split.
        """
        views = reload_views(self.info, split, None if data is None else Path(data))
        return mean_score([score for score, _, _ in evaluate_views(self.model, views, self.model.background())])

    def distill(
        self,
        to: str,
        *,
        seconds: float | None = None,
        steps: int | None = None,
        out: str | Path | None = None,
        overwrite: bool = False,
        params: int | str | None = None,
        on_event: OnEvent | None = None,
        **settings: Any,
    ) -> Run:
        """Another representation of the same field, learnt without the photographs.

        Args:
            to: the representation.
            out: folder of the new run, ``<run>-<to>`` beside this one by default.
            settings: more of :class:`~fieldlab.distill.config.DistillSettings`.
        """
        _checked(TrainConfig, "train", steps=steps, seconds=seconds)
        choice = FieldChoice(to, n_parameters=_count(params))
        compared = _checked(DistillSettings, "distill", **settings)
        config = new_distill_config(self.model, self.info, choice, compared, steps=steps, seconds=seconds)
        folder = self._beside(out, to, config, overwrite)

        def open_session() -> Session[Any]:
            if self.model.field.in_place:
                copy_hierarchy(self.path, folder.path)
            return distill_session(folder, config, self.model, self.info.scene)

        _learn(folder, open_session, on_event)
        return self._opened(folder)

    def segment(
        self,
        masks: str | Path = "auto",
        *,
        seconds: float | None = None,
        steps: int | None = None,
        out: str | Path | None = None,
        overwrite: bool = False,
        on_event: OnEvent | None = None,
        **settings: Any,
    ) -> Run:
        """The same field with a tree of segments, learnt from masks of its photographs.

        Args:
            masks: a folder or file of masks, or ``auto`` to find them in the photographs.
            out: folder of the new run, ``<run>-segmented`` beside this one by default.
            settings: more of :class:`~fieldlab.segment.config.SegmentSettings`.
        """
        found = find_masks(masks, self.info)
        settings |= {"steps": steps, "seconds": seconds, "masks": masks_source(masks)}
        wanted = _checked(SegmentSettings, "segment", **settings)
        model, _ = _load(self.path, self.model.device)  # learning gives the model features; this run keeps its own
        config = new_segment_config(model, self.info, wanted)
        folder = self._beside(out, "segmented", config, overwrite)
        open_session = lambda: segment_session(folder, config, model, self.info.scene, found)  # noqa: E731
        _learn(folder, open_session, on_event, finish=write_tree)
        return self._opened(folder)

    def edit(self, *edits: str, out: str | Path | None = None, overwrite: bool = False, seed: int = 0) -> Run:
        """The same field with edits, as ``"remove sphere 0 0 0 0.5"``; see ``fieldlab edit -h``.

        Raises:
            ConfigError: an edit makes no sense, or there is none.
        """
        if not edits or not all(isinstance(text, str) for text in edits):
            raise ConfigError("edits are texts, one argument each", found=edits or "none",
                              expected='such as run.edit("remove sphere 0 0 0 0.5")')  # fmt: skip
        place = place_beside(self.path, out, "edited")
        find = finder(stored_hierarchy(self.path))
        made = edited_model(self.model, edits, torch.Generator().manual_seed(seed), find)
        return self._opened(write_edited_run(place, made, self.info, overwrite=overwrite))

    def export_mesh(
        self, path: str | Path, *, on_progress: Callable[[str, float], object] | None = None, **options: Any
    ) -> Path:
        """Write the surface as a mesh, in the units and axes of the cameras; the suffix chooses the format.

        Args:
            on_progress: called with the stage and the share of it that is done.
            options: of :class:`~fieldlab.export.meshes.MeshOptions`, such as ``resolution=512, texture=2048``.
        """
        wanted, file = _checked(MeshOptions, "mesh", **options), Path(path)
        wanted.check()
        check_mesh_path(file)
        mesh, _ = colored_mesh(self.model, self.cameras(), wanted, on_progress or (lambda stage, share: None))
        write_mesh(file, mesh)
        return file

    def _beside(self, out: str | Path | None, suffix: str, config: RunConfig, overwrite: bool) -> RunFolder:
        return RunFolder.create(place_beside(self.path, out, suffix), config, overwrite=overwrite)

    def _opened(self, folder: RunFolder) -> Run:
        return Run(*_load(folder.path, self.model.device))

    def describe(self) -> list[tuple[str, str]]:
        """Label and value of what is worth knowing."""
        rows = [("run", str(self.path)), ("kind", self.config.kind), ("scene", self.info.scene.name)]
        if self.info.psnr is not None:
            rows.append(("PSNR", f"{self.info.psnr:.2f} dB while it learnt"))
        if self.info.held_out is not None:
            rows.append(("held out", f"{self.info.held_out:.2f} dB on photographs it did not learn from"))
        return [*rows, *self.model.describe()]

    def __repr__(self) -> str:
        field = self.model.field.shown.kind
        return f"<fieldlab run {self.path}: {self.config.kind}, {field}, {self.info.step} steps>"

    def preview(self, side: int = 320) -> Picture:
        """A small picture from its first training view."""
        one = self.cameras()[0]
        return self.render(one.scaled(min(1.0, side / int(one.size.max()))))

    def _repr_png_(self) -> bytes:
        return self.preview()._repr_png_()

    def _repr_html_(self) -> str:
        return self.preview().html(self.describe())


def _count(params: int | str | None) -> int | None:
    return count(params) if isinstance(params, str) else params


def _checked(cls: type[T], section: str, **values: Any) -> T:
    """Settings from keywords.

    Raises:
        ConfigError: a name is unknown, or a value has the wrong type or is out of range.
    """
    return from_dict(cls, {name: value for name, value in values.items() if value is not None}, section)


def _learn(
    folder: RunFolder,
    open_session: Callable[[], Session[Any]],
    on_event: OnEvent | None,
    finish: Callable[[Session[Any]], object] = lambda session: None,
    *,
    created: bool = True,
) -> None:
    """Let a session learn to the end; nothing half-made is left of a run that was ``created`` for it when it fails
    before its first checkpoint."""
    with folder.discarded_on_error() if created else nullcontext(), folder.locked():
        session = open_session()
        for event in session.events():
            if on_event is not None:
                on_event(event)
        finish(session)
