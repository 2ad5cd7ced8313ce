"""Making the next batch ahead of time."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from fieldlab.distill.prefetch import Prefetch, tensors_of


@dataclass
class Batch:
    values: torch.Tensor
    more: dict[str, torch.Tensor]


def test_everything_is_taken_once_in_turn():
    made = iter(range(5))
    ahead = Prefetch(lambda: next(made), torch.device("cpu"))
    ahead.prepare()
    assert ahead.take() == 0
    ahead.prepare()
    ahead.prepare()
    assert [ahead.take(), ahead.take()] == [1, 2]


def test_only_cuda_tensors_are_recorded():
    assert tensors_of(Batch(torch.zeros(2), {"a": torch.zeros(1)})) == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_cuda_the_next_one_is_made_on_another_stream():
    device = torch.device("cuda")
    x = torch.ones(1 << 20, device=device)
    made = []

    def make() -> Batch:
        made.append(torch.cuda.current_stream(device))
        return Batch(x * 2, {"a": x + 1})

    ahead = Prefetch(make, device)
    ahead.prepare()
    ahead.prepare()
    assert len(made) == 1
    assert made[0] != torch.cuda.current_stream(device)
    batch = ahead.take()
    assert len(tensors_of(batch)) == 2
    assert float((batch.values + batch.more["a"]).mean()) == 4
