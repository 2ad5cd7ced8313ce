"""What is in a run, as labels and values for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fieldlab.data.options import SceneOptions
from fieldlab.fields.registry import config_to_dict
from fieldlab.runs.config import RunConfig
from fieldlab.runs.folder import RunFolder
from fieldlab.runs.kinds import kind_named
from fieldlab.runs.load import load_run
from fieldlab.runs.values import to_dict


def describe(path: str | Path) -> list[tuple[str, str]]:
    """Label and value of everything worth knowing of a run of any kind.

    Raises:
        FieldlabError: it cannot be read.
    """
    sections = kind_named(RunFolder.open(path).config().kind).sections
    return describe_run(path) if SceneOptions in sections.values() else describe_fit(path)


def describe_run(path: str | Path) -> list[tuple[str, str]]:
    """The same of a field of a scene."""
    model, info = load_run(path)
    views = ", ".join(f"{len(names)} {split}" for split, names in info.scene.names.items())
    rows = [("scene", info.scene.name), ("source", info.scene.source), ("format", info.scene.format), ("views", views)]
    rows += model.describe()
    rows.append(("kind", info.config.kind))
    if info.config.parent is not None:
        rows.append(("made from", info.config.parent))
    rows += settings("field", config_to_dict(info.config.field))
    rows += _sections(info.config)
    rows += [("steps", str(info.step)), ("seconds trained", f"{info.seconds:.1f}")]
    if info.psnr is not None:
        rows.append((f"PSNR on {kind_named(info.config.kind).measured_on}", f"{info.psnr:.2f} dB"))
    return rows + checkpoints(info.run)


def describe_fit(path: str | Path) -> list[tuple[str, str]]:
    """The same of an image or a distance that was fitted."""
    run = RunFolder.open(path)
    config = run.config()
    rows = [("kind", config.kind), ("source", config.source)]
    rows += settings("field", config_to_dict(config.field))
    rows += _sections(config)
    scores = run.path / "scores.json"
    rows += settings("score", json.loads(scores.read_text())) if scores.is_file() else [("scores", "not finished yet")]
    return rows + checkpoints(run)


def _sections(config: RunConfig) -> list[tuple[str, str]]:
    sections = {name: to_dict(config.get(cls)) for name, cls in kind_named(config.kind).sections.items()}
    return [row for name, values in sections.items() if name != "scene" for row in settings(name, values)]


def settings(name: str, values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Label and value of plain values, those inside others behind a dot."""
    rows = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows += settings(f"{name}.{key}", value)
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            rows += [row for i, part in enumerate(value) for row in settings(f"{name}.{key}.{i}", part)]
        else:
            rows.append((f"{name}.{key}", str(value)))
    return rows


def checkpoints(run: RunFolder) -> list[tuple[str, str]]:
    """Name and size of every checkpoint."""
    return [("checkpoint", f"{file.name}, {file.stat().st_size / 2**20:.1f} MiB") for file in run.checkpoints()]
