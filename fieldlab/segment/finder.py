"""Parts of a tree for edits that name them."""

from __future__ import annotations

from fieldlab.edit.edits import FindPart, PartPoints
from fieldlab.segment.hierarchy import Hierarchy


def finder(tree: Hierarchy | None) -> FindPart | None:
    """What finds the points of parts by their id or name; None where there are no parts."""
    if tree is None:
        return None

    def find(word: str) -> PartPoints:
        row = tree.called(word)
        own = tree.within(row)
        return PartPoints(int(tree.ids[row]), tree.points[own], tree.points[~own])

    return find
