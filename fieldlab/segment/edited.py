"""Edited runs that keep the segments of the run they come from."""

from __future__ import annotations

from pathlib import Path

from fieldlab.edit.editing import write_edited
from fieldlab.render.model import RadianceModel
from fieldlab.runs.folder import RunFolder
from fieldlab.runs.load import RunInfo
from fieldlab.segment.files import copy_hierarchy


def write_edited_run(out: Path, made: RadianceModel, info: RunInfo, *, overwrite: bool = False) -> RunFolder:
    """Write an edited model of a run as a run of its own, with the run's tree where everything is still in its place.

    Raises:
        RunFolderError: the folder cannot be written, or there is a run already.
    """
    folder = write_edited(out, made, info, overwrite=overwrite)
    if made.field.in_place:
        copy_hierarchy(info.run.path, folder.path)
    return folder
