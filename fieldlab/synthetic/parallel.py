"""Threads over pieces of a batch, each with single-threaded operations.

Rendering is made of thousands of small operations. Splitting each of them over threads, as PyTorch does, makes the
threads wait for each other at every one, which is slow and crawls on a busy machine; splitting the rays does not.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")

# Smaller pieces spend their time calling operations rather than in them (half of it at this size), and Python calls one
# at a time; larger ones want more memory (some 400 MB).
MOST_PER_PIECE = 1 << 19

_one_at_a_time = threading.Lock()


@contextlib.contextmanager
def workers() -> Iterator[ThreadPoolExecutor]:
    """As many threads as PyTorch uses; meanwhile operations are single-threaded, in the calling thread too."""
    with _one_at_a_time:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                yield pool
        finally:
            torch.set_num_threads(threads)


def over_pieces(pool: ThreadPoolExecutor, function: Callable[[Tensor], T], count: int, device: torch.device) -> list[T]:
    """``function`` of int64 index ranges that together cover ``count`` (at least one) elements, in order.

    No gradients are kept. On a GPU the pieces come one after another.
    """

    def work(piece: Tensor) -> T:
        with torch.no_grad():  # this setting belongs to each thread
            return function(piece)

    n_pieces = -(-count // MOST_PER_PIECE)
    pieces = torch.arange(count, device=device).split(-(-count // n_pieces))
    return list(pool.map(work, pieces) if device.type == "cpu" else map(work, pieces))
