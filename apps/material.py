"""What a reconstruction begins with: photographs, a video, or a scene that has camera poses already."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fieldlab.capture.photographs import PHOTO_SUFFIXES
from fieldlab.capture.video import VIDEO_SUFFIXES
from fieldlab.data.frames import Skips
from fieldlab.data.images import image_size
from fieldlab.data.options import SceneOptions
from fieldlab.data.scene import FORMATS, detect_format
from fieldlab.errors import DataError
from fieldlab.sources.scene_files import scene_names


@dataclass(frozen=True)
class Material:
    """What was found at a path or under a name.

    Args:
        kind: of material.
        source: the path or name, the same from wherever it is given.
        name: what to call results after.
        says: what it is, in words.
        extent: number of files and their bytes, by which changed photographs are known; none of a scene.
    """

    kind: Literal["scene", "photographs", "video"]
    source: str
    name: str
    says: str
    extent: tuple[int, int] | None = None

    @property
    def posed(self) -> bool:
        """Whether there are camera poses already."""
        return self.kind == "scene"


def material_at(source: str) -> Material:
    """What there is to reconstruct from.

    Raises:
        DataError: nothing, or something else.
    """
    path = Path(source).expanduser()
    if not path.exists():
        if source.removeprefix("procedural:") in scene_names():
            return Material("scene", source, source.removeprefix("procedural:"), "a scene that comes with fieldlab")
        raise _unknown(path, "neither a file, nor a folder, nor a known scene")
    place, name = str(path.resolve()), path.resolve().stem
    if path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES:
        return Material("video", place, name, "a video", (1, path.stat().st_size))
    if (path / "config.toml").is_file():
        raise DataError("this is a run, which was reconstructed already", file=path, hint=f"fieldlab view {path}")
    if path.suffix == ".toml" or _is_scene(path):
        return Material("scene", place, name, "a scene with camera poses")
    photographs = [file for file in path.rglob("*") if file.suffix.lower() in PHOTO_SUFFIXES] if path.is_dir() else []
    if not photographs:
        raise _unknown(path, _content(path))
    extent = len(photographs), sum(file.stat().st_size for file in photographs)
    return Material("photographs", place, path.resolve().name, f"{len(photographs)} photographs", extent)


def picture_size(scene: str) -> tuple[int, int] | None:
    """Width and height of the largest photograph of a scene on disk; None where the scene itself says how it is read.

    Raises:
        DataError: the scene or a picture of it cannot be read.
    """
    path = Path(scene).expanduser()
    if not path.exists() or path.suffix == ".toml":
        return None
    reading = FORMATS[detect_format(path)].read(path, SceneOptions(), Skips(False))
    return max((image_size(frame.image)[:2] for frame in reading.frames), key=max, default=None)


def _is_scene(path: Path) -> bool:
    return any(candidate.detect(path) for candidate in FORMATS.values())


def _content(path: Path) -> str:
    if path.is_file():
        return f"a file of another kind ({path.suffix or 'no suffix'})"
    entries = sorted(entry.name for entry in path.iterdir())
    return ", ".join(entries[:8]) + (" ..." if len(entries) > 8 else "") or "an empty folder"


def _unknown(path: Path, found: str) -> DataError:
    return DataError(
        "there is nothing to reconstruct from", file=path, found=found,
        expected=f"a folder of photographs, a video ({', '.join(VIDEO_SUFFIXES)}), a folder or file of a scene with "
        f"camera poses, or one of {', '.join(scene_names())}",
    )  # fmt: skip
