"""JSON files, with errors that say what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fieldlab.errors import DataError


def read_json(file: Path, what: str) -> Any:
    """What a JSON file holds.

    Args:
        what: what kind of file it is, for messages, with its article.

    Raises:
        DataError: missing or not JSON.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{what} is missing", file=file, found="no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{what} cannot be read", file=file, found=str(error)) from error
    except json.JSONDecodeError as error:
        raise DataError(
            "a file is not valid JSON",
            file=file,
            field=f"line {error.lineno}, column {error.colno}",
            found=error.msg,
            hint="the file may be cut short; export it again",
        ) from error


def read_object(file: Path, what: str) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        DataError: missing, not JSON, or not an object.
    """
    data = read_json(file, what)
    if not isinstance(data, dict):
        raise DataError(f"{what} holds no object", file=file, found=type(data).__name__, expected="{...}")
    return data
