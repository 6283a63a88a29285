"""How a step is divided into parts: whose they are, how much each counts, and when gradients are exchanged."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pipeline.training.data_parallel import divide_step, gradient_exchange, share_of_process


@pytest.mark.parametrize(("n", "accumulate", "world_size"), [(10, 1, 1), (10, 3, 1), (11, 2, 2), (3, 2, 2), (1, 1, 3)])
def test_parts_of_all_processes_are_the_step(n: int, accumulate: int, world_size: int) -> None:
    """Averaged over processes, the weighted means of the parts are the mean over the step."""
    values = torch.arange(float(n)) ** 2
    index = torch.arange(n)
    parts = [divide_step(index, accumulate=accumulate, rank=rank, world_size=world_size) for rank in range(world_size)]
    everything = [part for of_process in parts for part in of_process]
    assert sorted(part.number for part in everything) == list(range(accumulate * world_size))
    assert sorted(i for part in everything if not part.is_empty for i in part.index.tolist()) == list(range(n))
    mean = sum(float(values[part.index].mean()) * part.weight for part in everything) / world_size
    assert mean == pytest.approx(float(values.mean()))
    for of_process in parts:
        assert [part.is_last for part in of_process] == [False] * (accumulate - 1) + [True]
    assert all(len(part.index) == 1 and part.weight == 0 for part in everything if part.is_empty)


def trainer_of(world_size: int, delayed: list[str]) -> Any:
    @contextmanager
    def block_backward_sync() -> Any:
        delayed.append("delayed")
        yield

    strategy = SimpleNamespace(block_backward_sync=block_backward_sync)
    return SimpleNamespace(world_size=world_size, global_rank=0, strategy=strategy)


@pytest.mark.parametrize(("world_size", "exchanges"), [(1, 0), (2, 2)])
def test_one_exchange_per_step(world_size: int, exchanges: int) -> None:
    """Of three passes of a process, all but the last delay the exchange."""
    delayed: list[str] = []
    for part in divide_step(torch.arange(12), accumulate=3, rank=0, world_size=world_size):
        with gradient_exchange(trainer_of(world_size, delayed), part):
            pass
    assert len(delayed) == exchanges


def test_share_of_process() -> None:
    assert share_of_process(torch.arange(5), trainer_of(2, [])).tolist() == [0, 1, 2]
