"""A scene from whatever names it: a folder, a file, or the name of a scene that comes with fieldlab."""

from __future__ import annotations

from pathlib import Path

from fieldlab.data.options import SceneOptions
from fieldlab.data.scene import Scene, check_options, load_capture
from fieldlab.sources.scene_files import load_named, load_scene_file


def load_scene(source: str | Path, options: SceneOptions | None = None) -> Scene:
    """Load a scene.

    Args:
        source: a folder or file of a supported format, a scene file (.toml), or the name of a scene that comes with
            fieldlab, procedural ones included.

    Raises:
        DataError: something in the files is missing or wrong.
        ConfigError: an option makes no sense.
    """
    options = SceneOptions() if options is None else options
    check_options(options)
    scene = _load(source, options)
    scene.options = options
    return scene


def _load(source: str | Path, options: SceneOptions) -> Scene:
    path = Path(source).expanduser()
    if path.suffix == ".toml":
        return load_scene_file(path, options)
    if path.exists():
        return load_capture(path, options)
    return load_named(str(source), options)
