"""The one exception family of fieldlab.

A message names the file, the field in it, what was found, what was expected and what to do. The command line shows
the message alone; ``--debug`` adds the traceback.
"""

from __future__ import annotations

from pathlib import Path


class FieldlabError(Exception):
    """Base of every error a user of fieldlab can cause or mend.

    Args:
        what: one sentence that says what went wrong.
        file: the file or folder concerned.
        field: the key, array or column in that file.
        found: what was there.
        expected: what should have been there.
        hint: what to do about it.
    """

    def __init__(
        self,
        what: str,
        *,
        file: str | Path | None = None,
        field: str | None = None,
        found: object = None,
        expected: object = None,
        hint: str | None = None,
    ) -> None:
        self.what = what
        self.file = None if file is None else Path(file)
        self.field = field
        self.found = found
        self.expected = expected
        self.hint = hint
        super().__init__(self._message())

    def _message(self) -> str:
        parts = [self.what]
        details = (
            ("file", self.file),
            ("field", self.field),
            ("found", self.found),
            ("expected", self.expected),
            ("what to do", self.hint),
        )
        parts += [f"  {label}: {value}" for label, value in details if value is not None]
        return "\n".join(parts)


class DataError(FieldlabError):
    """Something is wrong with photographs, poses or another input file."""


class ConfigError(FieldlabError):
    """An option or a configuration file asks for something impossible."""


class CheckpointError(FieldlabError):
    """A checkpoint is damaged, newer than this program, or of another kind."""


class RunFolderError(FieldlabError):
    """A run folder is missing, in use, full or not a run folder."""


class DivergedError(FieldlabError):
    """Training went wrong: its loss is not a finite number."""


class BackendError(FieldlabError):
    """A device or a native backend that was asked for is not available."""


def require(condition: bool, name: str, found: object, expected: str) -> None:
    """Check a setting.

    Raises:
        ConfigError: the condition does not hold.
    """
    if not condition:
        raise ConfigError("a setting is out of range", field=name, found=found, expected=expected)
