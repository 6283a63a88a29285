"""Shortcuts past Lightning and torch: they do what the long way does, and the private names they need exist."""

from __future__ import annotations

import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import nn

from pipeline.training.lightning_shortcuts import ChunkLoader, count_step, seed_generators

PRIVATE_NAMES = ("_on_before_step", "_on_after_step")


def test_count_step() -> None:
    """Weights are updated between the two calls by which Lightning counts steps; its next version may lack these."""
    weight = nn.Parameter(torch.ones(1))
    weight.grad = torch.ones(1)
    optimizer = LightningOptimizer(torch.optim.SGD([weight], lr=0.5))
    seen: list[float] = []
    for name in PRIVATE_NAMES:
        assert hasattr(optimizer, name), name
        setattr(optimizer, name, lambda: seen.append(float(weight.detach())))
    assert count_step(optimizer, lambda: optimizer.optimizer.step() or 7) == 7
    assert seen == [1.0, 0.5]


def test_seed_generators() -> None:
    seed_generators(5, torch.device("cpu"))
    drawn = torch.rand(4)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(4))


def test_chunk_loader_starts_again() -> None:
    passes = iter([[[(0, torch.arange(1))]], [[(1, torch.arange(2))]]])
    loader = ChunkLoader(lambda: next(passes))
    assert [[step for step, _ in chunk] for chunk in loader] == [[0]]
    assert [[step for step, _ in chunk] for chunk in loader] == [[1]]
    assert not hasattr(loader, "__len__")
