"""The life of a command that learns: a new folder or one to go on with, a session that is watched, and its summary."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from fieldlab.apps.interrupt import stopping
from fieldlab.apps.notes import tell
from fieldlab.apps.options import ignored_on_resume
from fieldlab.apps.progress import progress_bar
from fieldlab.runs.checkpoint import Checkpoint
from fieldlab.runs.config import RunConfig
from fieldlab.runs.folder import RunFolder
from fieldlab.runs.loop import Event
from fieldlab.runs.session import Session, reopen

E = TypeVar("E", bound=Event)
Watch = Callable[[Session[E]], AbstractContextManager[Iterator[E]]]


@dataclass
class Prepared:
    """A run folder to learn in, its configuration, and where to go on, None to begin; ``created`` when the folder is
    new, so that nothing is lost with it."""

    run: RunFolder
    config: RunConfig
    checkpoint: Checkpoint | None = None
    created: bool = False


def prepare(
    args: Any,
    kind: str,
    out: Path,
    new: Callable[[], RunConfig],
    console: Console,
    *,
    limits: type,
    kept: frozenset[str],
    check: Callable[[RunConfig], list[str]] = lambda config: [],
    writes: bool = True,
) -> Prepared:
    """The folder and configuration of a new run, or of the one to go on with.

    Args:
        args: the command's options, with ``resume``, ``overwrite``, ``steps`` and ``seconds``.
        kind: of run that the command makes.
        out: the folder.
        new: the configuration of a new run.
        limits: which settings hold its steps and seconds.
        kept: options that have an effect on a run that goes on.
        check: refuses to go on with the wrong run; returns what else was said in vain.
        writes: whether this process is the one that writes, of several that train together.

    Raises:
        FieldlabError: there is a run already, or none to go on with, or the wrong one.
    """
    if not args.resume:
        config = new()
        return Prepared(
            RunFolder.create(out, config, overwrite=args.overwrite) if writes else RunFolder(out),
            config,
            created=writes,
        )

    def refuse_or_tell(config: RunConfig) -> None:
        in_vain = [*check(config), *ignored_on_resume(args, kept, same_field=config.field.kind)]
        if in_vain:
            console.print(f"[yellow]the run goes on with its own settings; without effect: {', '.join(in_vain)}[/]")

    run, config, checkpoint = reopen(out, kind, limits, steps=args.steps, seconds=args.seconds, check=refuse_or_tell,
                                     writes=writes)  # fmt: skip
    return Prepared(run, config, checkpoint)


def learn(
    prepared: Prepared,
    open_session: Callable[[Checkpoint | None], Session[E]],
    console: Console,
    *,
    doing: str,
    again: str,
    done: Callable[[Session[E], E | None], None],
    watch: Watch[E] = lambda session: nullcontext(session.events()),
    note: Callable[[E], object] = lambda event: None,
    holds: bool = True,
) -> None:
    """Let a session learn, with progress on the terminal. Exits with 130 or 143 after an interruption, when all is
    saved.

    Args:
        prepared: where.
        open_session: makes the session, from a checkpoint if there is one.
        doing: what the bar says is done.
        again: the command line that goes on after an interruption.
        done: what to do at the end, with the folder still locked, and given the last event, if any.
        watch: who else sees the events.
        note: called with every event.
        holds: whether this process is the one that holds the folder, of several that train together.
    """
    run = prepared.run
    with run.discarded_on_error() if prepared.created else nullcontext(), run.locked() if holds else nullcontext():
        session = open_session(prepared.checkpoint)
        for words in session.log:
            console.print(words, highlight=False, soft_wrap=True)
        with stopping(session.loop.stop) as caught, watch(session) as events:
            last = _show(session, events, console, doing, note)
        if session.loop.finished:
            done(session, last)
        else:
            now = session.loop.progress
            state = "" if last is None else f", {last.describe()}"
            console.print(f"[bold]stopped and saved[/] after {now.step} steps, {now.seconds:.1f} s{state}\n  {again}",
                          soft_wrap=True)  # fmt: skip
    if caught:
        raise SystemExit(128 + caught[0])


def _show(
    session: Session[E], events: Iterator[E], console: Console, doing: str, note: Callable[[E], object]
) -> E | None:
    last = None
    with progress_bar(console) as bar:
        for last in events:
            left = "" if last.seconds_left is None else f", {last.seconds_left:.0f} s left"
            if last.news:
                tell(console, f"note: {last.news}")
            bar.tell(doing, session.loop.fraction, f"step {last.step}, {last.describe()}{left}")
            note(last)
    return last
