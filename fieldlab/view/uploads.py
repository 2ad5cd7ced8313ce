"""Files that pages send are refused before they take memory: viser itself keeps as much as it is sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

LARGEST_UPLOAD = 4 << 20  # bytes of a file; camera paths are much smaller
MOST_PARTS = 16  # that a file comes in; pages send half a megabyte each
AT_ONCE = 4  # files of one page


class Uploads(dict[str, Any]):
    """In place of viser's table of files that are coming in. What is not in it is ignored part by part.

    Args:
        tell: the visitor why a file is refused.
    """

    def __init__(self, tell: Callable[[str], object]) -> None:
        super().__init__()
        self.tell = tell

    def __setitem__(self, key: str, state: Any) -> None:
        if state["total_bytes"] > LARGEST_UPLOAD or state["part_count"] > MOST_PARTS or len(self) >= AT_ONCE:
            self.tell(f"{state['total_bytes'] / 1e6:.1f} MB; files of up to {LARGEST_UPLOAD / 1e6:.1f} MB are taken")
            return
        super().__setitem__(key, state)
