"""Which views are trained on, which say how good training is, and which are kept for the end."""

from __future__ import annotations

import numpy as np

from fieldlab.data.frames import Frame
from fieldlab.data.options import SceneOptions

HOLDOUTS = ("every", "sector")
LEAST_TO_VALIDATE = 10  # training views from which some are held out: fewer cannot spare one


def split_frames(frames: list[Frame], options: SceneOptions, notes: list[str]) -> dict[str, list[Frame]]:
    """Frames by split: the data set's own, else some held out for testing, and of the others a few for validation.

    What was decided goes to ``notes``.
    """
    own = {split: [frame for frame in frames if frame.split == split] for split in ("train", "val", "test")}
    if own["test"] and own["train"]:
        return {split: members for split, members in own.items() if members}
    if own["val"] and own["train"]:
        notes.append("the data set has no test split; its val split takes the place")
        return {"train": own["train"], "test": own["val"]}
    if any(own.values()) and not own["train"]:
        return own  # refused by the caller: nothing to train on
    ordered = sorted(frames, key=lambda frame: frame.name)
    if options.test_every <= 0 or len(ordered) < 2:
        return {"train": ordered}
    test, how = _held_out(ordered, options)
    notes.append(f"{how} for testing: {len(test)} of {len(ordered)}")
    train = [frame for i, frame in enumerate(ordered) if i not in test]
    split = {"train": train, "test": [ordered[i] for i in sorted(test)]}
    if val := _spread(len(train), round(options.validation * len(train))):
        split["train"] = [frame for i, frame in enumerate(train) if i not in val]
        split["val"] = [train[i] for i in sorted(val)]
        notes.append(f"{len(val)} of the training views were held out to tell how good others are")
    return split


def _held_out(frames: list[Frame], options: SceneOptions) -> tuple[set[int], str]:
    """Which frames are for testing, and how they were chosen."""
    every = options.test_every
    if options.holdout == "sector":
        count = min(max(round(len(frames) / every), 1), len(frames) - 1)
        return _sector(frames, count), "the views from one side were held out"
    if every >= len(frames) or every == 1:
        return {0}, "one view was held out"
    return set(range(0, len(frames), every)), f"one view in {every} was held out"


def _sector(frames: list[Frame], count: int) -> set[int]:
    """The first frame and those whose cameras are nearest to its."""
    origins = np.stack([frame.camera_to_world[:, 3] for frame in frames])
    return set(np.argsort(np.linalg.norm(origins - origins[0], axis=1), kind="stable")[:count].tolist())


def _spread(total: int, count: int) -> set[int]:
    """``count`` of ``total`` places, at even distances and away from both ends."""
    if total < LEAST_TO_VALIDATE:
        return set()
    return {int((i + 0.5) * total / count) for i in range(count)}
