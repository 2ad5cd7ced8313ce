"""Threads over pieces of a batch, each with single-threaded operations.

Rendering is made of thousands of small operations. Splitting each of them over threads, as PyTorch does, makes the
threads wait for each other at every one, which is slow and crawls on a busy machine; splitting the rays does not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")

# A piece much smaller than this spends its time calling operations rather than in them.
LEAST_PIECE = 1 << 16
MOST_PIECE = 1 << 18

_one_at_a_time = threading.Lock()


def over_pieces(function: Callable[[Tensor], T], count: int, device: torch.device) -> list[T]:
    """``function`` of int64 index ranges that together cover ``count`` elements, without gradients, in order.

    PyTorch's number of threads decides how many run at once, and is as before afterwards.
    """

    def work(piece: Tensor) -> T:
        with torch.no_grad():  # this setting belongs to each thread
            return function(piece)

    if count == 0:
        return []
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    size = max(LEAST_PIECE, min(MOST_PIECE, -(-count // threads)))
    pieces = torch.arange(count, device=device).split(size)
    if device.type != "cpu":
        return [work(piece) for piece in pieces]
    with _one_at_a_time:
        try:
            with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                return list(pool.map(work, pieces))
        finally:
            torch.set_num_threads(threads)
