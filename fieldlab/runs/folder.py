"""The folder of a run: configuration, checkpoints, metrics, pictures, and who is using it."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fieldlab.errors import CheckpointError, ConfigError, RunFolderError
from fieldlab.files import finite_or_none, write_text
from fieldlab.runs.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from fieldlab.runs.config import RunConfig, read_config, write_config
from fieldlab.runs.kinds import all_products, kind_named
from fieldlab.runs.lock import held_elsewhere, locked

KEPT_CHECKPOINTS = 2
OF_EVERY_RUN = ("checkpoints", "renders", "exports", "metrics.jsonl", "config.toml")
REPLACED = ".replaced"  # what an overwritten run held, until the new one has a checkpoint


class RunFolder:
    """A run folder that exists. Make one with :meth:`create` or :meth:`open`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def config_file(self) -> Path:
        return self.path / "config.toml"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def renders(self) -> Path:
        return self.path / "renders"

    @property
    def exports(self) -> Path:
        return self.path / "exports"

    @staticmethod
    def create(path: str | Path, config: RunConfig, *, overwrite: bool = False) -> RunFolder:
        """Make a run folder and write its configuration.

        Raises:
            RunFolderError: there is a run already (and ``overwrite`` is off), it is in use, or something else is there.
        """
        run = RunFolder(Path(path))
        run._restore()
        if run.path.exists() and not run.path.is_dir():
            raise RunFolderError("a run folder cannot be made: a file is in its place", file=run.path)
        if run.path.is_dir() and any(run.path.iterdir()):
            if not run.config_file.exists():
                raise RunFolderError(
                    "the folder for the run holds something else", file=run.path, hint="choose another folder"
                )
            if not overwrite and run.checkpoints():  # a run that never got that far has nothing to lose
                raise RunFolderError(
                    "there is a run in this folder already",
                    file=run.path,
                    hint="go on with --resume (fl.resume), start again with --overwrite (overwrite=True), or choose "
                    "another folder with --out (out=)",
                )
            with run.locked():
                run._set_aside()
        write_config(run.config_file, config)
        return run

    @staticmethod
    def open(path: str | Path) -> RunFolder:
        """The run in a folder.

        Raises:
            RunFolderError: the folder is missing or is no run.
        """
        run = RunFolder(Path(path))
        run._restore()
        if not run.path.is_dir():
            raise RunFolderError("there is no such run folder", file=path)
        if not run.config_file.is_file():
            raise RunFolderError(
                "this folder is not a run", file=path, field="config.toml", found="missing",
                hint="give the folder that fieldlab train made",
            )  # fmt: skip
        return run

    def config(self, kind: str | None = None) -> RunConfig:
        """What the run is made from.

        Args:
            kind: what it has to be, for somebody who wants to go on with it.

        Raises:
            ConfigError: the configuration cannot be read, or the run is of another kind.
        """
        config = read_config(self.config_file)
        if kind is not None and config.kind != kind:
            command = kind_named(config.kind).command
            raise ConfigError(f"this run was not made by {kind_named(kind).command}", file=self.path,
                              found=f"made by {command}", hint=f"go on with {command}")  # fmt: skip
        return config

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Hold the run for this process alone, see :func:`fieldlab.runs.lock.locked`.

        Raises:
            RunFolderError: another process that is alive holds it.
        """
        return locked(self.path)

    def checkpoints(self) -> list[Path]:
        """Checkpoints, oldest first."""
        return sorted((self.path / "checkpoints").glob("step-*.safetensors"))

    def save_checkpoint(
        self, step: int, arrays: dict[str, Any], header: dict[str, Any], best: int | None = None
    ) -> Path:
        """Write a checkpoint and remove all but the last two, and that of step ``best``."""
        path = self._checkpoint(step)
        write_checkpoint(path, arrays, header)
        shutil.rmtree(self.path / REPLACED, ignore_errors=True)
        for old in self.checkpoints()[:-KEPT_CHECKPOINTS]:
            if best is None or old != self._checkpoint(best):
                old.unlink(missing_ok=True)
        return path

    def _checkpoint(self, step: int) -> Path:
        return self.path / "checkpoints" / f"step-{step:09d}.safetensors"

    def latest_checkpoint(self) -> Checkpoint:
        """The newest checkpoint that can be read; a damaged one is passed over if an older one is whole.

        Raises:
            CheckpointError: there is none, or none can be read; the newest one's trouble is told.
        """
        trouble: CheckpointError | None = None
        for path in reversed(self.checkpoints()):
            try:
                return read_checkpoint(path)
            except CheckpointError as error:
                trouble = trouble or error
        if trouble is None:
            folder = self.path / "checkpoints"
            raise CheckpointError("the run has no checkpoint yet", file=folder, hint="train it first")
        hint = trouble.hint or "no checkpoint of this run can be read: train it again with --overwrite"
        raise CheckpointError(
            trouble.what, file=trouble.file, field=trouble.field, found=trouble.found, expected=trouble.expected,
            hint=hint,
        ) from trouble  # fmt: skip

    def best_checkpoint(self) -> Checkpoint:
        """The one that was best on photographs held out of training, as far as the newest knows; else the newest.

        Raises:
            CheckpointError: there is none, or none can be read.
        """
        newest = self.latest_checkpoint()
        step = _best_step(newest)
        if step is not None and step != newest.step and self._checkpoint(step).is_file():
            with contextlib.suppress(CheckpointError):
                return read_checkpoint(self._checkpoint(step))
        return newest

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Append one line to ``metrics.jsonl``; numbers that are not finite become null."""
        line = json.dumps({k: finite_or_none(v) for k, v in row.items()}, allow_nan=False) + "\n"
        try:
            with open(self.metrics_file, "ab") as file:
                file.write(line.encode())
        except OSError as error:
            raise RunFolderError(
                "metrics could not be written", file=self.metrics_file, found=error.strerror,
                hint="free some disk space and go on with --resume",
            ) from error  # fmt: skip

    def metrics(self) -> list[dict[str, Any]]:
        """All whole lines of ``metrics.jsonl``."""
        if not self.metrics_file.exists():
            return []
        rows = []
        for line in self.metrics_file.read_bytes().splitlines():
            with contextlib.suppress(ValueError):  # the line that was being written when the machine stopped
                if isinstance(row := json.loads(line), dict):
                    rows.append(row)
        return rows

    def trim_metrics(self, step: int) -> None:
        """Forget lines past ``step`` (training goes on from there) and a torn last line."""
        rows = [row for row in self.metrics() if row.get("step", 0) <= step]
        if self.metrics_file.exists():
            write_text(self.metrics_file, "".join(json.dumps(row) + "\n" for row in rows))

    @contextlib.contextmanager
    def discarded_on_error(self) -> Iterator[None]:
        """Leave no half-made run behind when learning fails before its first checkpoint."""
        try:
            yield
        except BaseException as error:  # an interruption too
            if not (isinstance(error, RunFolderError) and "in use" in error.what):
                self.discard_if_untrained()
            raise

    def discard_if_untrained(self) -> None:
        """Remove what :meth:`create` and training made, unless there is a checkpoint to go on from; the run that was
        overwritten is back then."""
        if self.checkpoints():
            return
        self._clear()
        self._restore()
        with contextlib.suppress(OSError):  # the folder stays if it holds something else
            self.path.rmdir()

    def _clear(self) -> None:
        """Remove what earlier training made; what a person put beside it stays."""
        for name in made():
            shutil.rmtree(self.path / name, ignore_errors=True)
            with contextlib.suppress(OSError):
                (self.path / name).unlink(missing_ok=True)

    def _set_aside(self) -> None:
        """Keep what earlier training made, if it got to a checkpoint, until there is a new one."""
        aside = self.path / REPLACED
        if self.checkpoints():
            aside.mkdir()
            for name in made():
                if (self.path / name).exists():
                    (self.path / name).rename(aside / name)
        self._clear()

    def _restore(self) -> None:
        """Bring back a run that was overwritten by one that never got to a checkpoint and is no longer at it."""
        aside = self.path / REPLACED
        if not aside.is_dir() or held_elsewhere(self.path):
            return
        if not self.checkpoints():
            self._clear()
            for name in made():
                if (aside / name).exists():
                    (aside / name).rename(self.path / name)
        shutil.rmtree(aside, ignore_errors=True)


def _best_step(checkpoint: Checkpoint) -> int | None:
    """What a checkpoint says of the best one."""
    try:
        step = checkpoint.header["training"]["progress"].get("best_step")
    except (KeyError, TypeError, AttributeError):
        return None
    return step if isinstance(step, int) and step >= 0 else None


def place_beside(run: Path, out: str | Path | None, suffix: str) -> Path:
    """Where a run that is made from another one goes: ``out``, or ``<run>-<suffix>`` beside it.

    Raises:
        ConfigError: it would be in the same folder.
    """
    run = run.resolve()
    place = Path(out) if out is not None else run.parent / f"{run.name}-{suffix}"
    if place.resolve() == run:
        raise ConfigError("a run and what is made from it cannot be in one folder", field="out", found=place)
    return place


def made() -> tuple[str, ...]:
    """Names of everything that commands write into run folders."""
    return (*OF_EVERY_RUN, *sorted(all_products()))
