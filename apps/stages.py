"""Commands that are made of other commands: their stages, what is done of them, and the summary at the end."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldlab.apps.notes import heard
from fieldlab.errors import ConfigError, FieldlabError, RunFolderError
from fieldlab.files import write_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


def call(command: Sequence[str], console: Console) -> None:
    """Run a command of fieldlab, after saying what it is.

    Raises:
        FieldlabError: as the command does.
    """
    from fieldlab.apps import main

    console.print(f"fieldlab {shlex.join(command)}", style="bold", markup=False, highlight=False, soft_wrap=True)
    main.call(command)


def on_device(device: str) -> list[str]:
    """The option of a command for a device that is not left to choose."""
    return [] if device == "auto" else ["--device", device]


@dataclass
class Record:
    """What is known of a stage: the seconds spent on it, also by calls that were interrupted, what its command said,
    and why it failed."""

    command: str
    seconds: float = 0.0
    done: bool = False
    failed: str | None = None
    notes: list[str] = field(default_factory=list)


class Stages:
    """The stages of a command in a folder, each a command of its own; what is done is kept in a file, so that the same
    command goes on where it was.

    Args:
        file: where the settings and the records of stages are kept.
        settings: plain values on which all stages depend.
        names: of all stages, in order.

    Raises:
        ConfigError: the file is of other settings.
        RunFolderError: the file is damaged, or there is none and the folder holds something else.
    """

    def __init__(self, file: Path, settings: dict[str, Any], names: Sequence[str], console: Console) -> None:
        self.file, self.settings, self.names, self.console = file, settings, names, console
        known = read_state(file)
        if known is None and file.parent.exists() and (not file.parent.is_dir() or any(file.parent.iterdir())):
            raise RunFolderError("the folder holds something else", file=file.parent, hint="choose another with --out")
        self.records: dict[str, Record] = {}
        if known is None:
            self._write()
        else:
            _check_same(file, known["settings"], settings)
            self.records = {name: Record(**values) for name, values in known["stages"].items()}

    def need(self, name: str, command: Sequence[str], makes: Sequence[Path], *, whole: bool = False) -> None:
        """Do a stage that all later ones build on, unless it is done.

        Args:
            name: of the stage.
            command: the command line of fieldlab that does it.
            makes: files and folders that are there afterwards.
            whole: whether these appear only at the end, so that the stage is done once they are there.

        Raises:
            FieldlabError: as the command does.
        """
        if whole and self.begun(name) and all(path.exists() for path in makes):
            self.records[name].done = True  # interrupted before this was written
        if self._skipped(name, makes):
            return
        later = self.names[self.names.index(name) + 1 :]
        self.records = {known: record for known, record in self.records.items() if known not in later}
        self._do(name, command, makes)

    def attempt(self, name: str, command: Sequence[str], makes: Sequence[Path]) -> None:
        """Do a stage that others can do without, unless it is done; an error is told and remembered."""
        if self._skipped(name, makes):
            return
        for path in makes:  # what an earlier state of the run had
            path.unlink(missing_ok=True)
        try:
            self._do(name, command, makes)
        except (FieldlabError, MemoryError) as error:
            words = str(error) or "there is not enough memory for this"
            self.records[name].failed = words
            self._write()
            self.console.print(f"error: {words}", style="red", markup=False, highlight=False, soft_wrap=True)

    def begun(self, name: str) -> bool:
        """Whether a stage was begun and not finished."""
        return name in self.records and not self.records[name].done

    def failures(self) -> dict[str, str]:
        """Why stages failed, by name."""
        return {name: record.failed for name, record in self.records.items() if record.failed is not None}

    def _skipped(self, name: str, makes: Sequence[Path]) -> bool:
        begin, record = f"{self.names.index(name) + 1}/{len(self.names)} {name}", self.records.get(name)
        done = record is not None and record.done and all(path.exists() for path in makes)
        self.console.print(f"\n{begin}{': done before' if done else ''}", style="dim" if done else "bold cyan",
                           highlight=False)  # fmt: skip
        return done

    def _do(self, name: str, command: Sequence[str], makes: Sequence[Path]) -> None:
        before, begin = self.records.get(name), time.monotonic()
        spent = before.seconds if before is not None and not before.done else 0.0
        record = self.records[name] = Record(shlex.join(("fieldlab", *command)), spent)
        self._write()
        with heard() as record.notes:
            try:
                call(command, self.console)
                record.done = all(path.exists() for path in makes)
            finally:  # an interruption too is remembered, with the time it took
                record.seconds = spent + time.monotonic() - begin
                self._write()

    def _write(self) -> None:
        write_state(self.file, self.settings, {n: self.records[n] for n in self.names if n in self.records})


def write_state(file: Path, settings: dict[str, Any], records: dict[str, Record]) -> None:
    """Write the file of :class:`Stages`."""
    stages = {name: asdict(record) for name, record in records.items()}
    write_json(file, {"settings": settings, "stages": stages})


def read_state(file: Path) -> dict[str, Any] | None:
    """The settings and stages in the file of :class:`Stages`, None if there is no such file.

    Raises:
        RunFolderError: it is damaged.
    """
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
        for values in known["stages"].values():
            Record(**values)
        return {"settings": dict(known["settings"]), "stages": known["stages"]}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunFolderError("the record of what is done cannot be read", file=file, found=error,
                             hint="begin again with --overwrite") from error  # fmt: skip


def _check_same(file: Path, known: dict[str, Any], asked: dict[str, Any]) -> None:
    """Refuse to go on with other settings."""
    other = [name for name in {**known, **asked} if known.get(name) != asked.get(name)]
    if other:
        found, expected = (", ".join(f"{name} {values.get(name)}" for name in other) for values in (asked, known))
        raise ConfigError(
            "what is in this folder was made with other settings", file=file, found=found, expected=expected,
            hint="give the same settings to go on, --overwrite to begin again, or another folder with --out",
        )  # fmt: skip


def scores_in_words(found: dict[str, Any]) -> str:
    """The means that ``fieldlab eval --json`` wrote."""
    from fieldlab.bench.tables import fixed

    fitted = "" if found["fitted_psnr"] is None else f" ({found['fitted_psnr']:.2f} dB with colors fitted)"
    return f"PSNR {fixed(found['psnr'], 2)} dB{fitted}, SSIM {found['ssim']:.3f} over {found['views']} views"


def summary(title: str, rows: Sequence[tuple[str, str]]) -> Text:
    """What was made, as labels and values line by line; to be printed with ``soft_wrap``, so that paths stay whole."""
    from rich.text import Text

    made, width = Text(title, style="italic"), max(len(label) for label, _ in rows)
    for label, value in rows:
        made.append_text(Text.assemble("\n ", (f"{label:<{width}}", "not italic bold"), ("  " + value, "not italic")))
    return made


def memory_in_words() -> str:
    """Most memory that this program has held."""
    from fieldlab.bench.measure import peak_memory

    memory = peak_memory()
    return "unknown" if memory is None else f"{memory / 2**30:.2f} GiB"
