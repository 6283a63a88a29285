"""Weighted and balanced epochs: exact shares, a function of seed and epoch, and the old order without weights."""

from __future__ import annotations

import pytest
import torch

from pipeline.data import EpochBatchSampler, Images
from pipeline.data.sampling import sampling_weights
from pipeline.data.shuffle import permutation, weighted_order
from pipeline.errors import UserError


def images_of(counts: list[int], weights: torch.Tensor | None = None) -> Images:
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])
    return Images(torch.zeros(len(labels), 1, 1, 1), labels, weights=weights)


def test_balanced_epoch() -> None:
    """Each class comes as often as the others, to one example."""
    images = images_of([95, 4, 1])
    weights = sampling_weights(images, 3, "balanced")
    assert weights is not None
    for epoch in range(5):
        order = weighted_order(7, epoch, weights)
        assert len(order) == 100
        counts = torch.bincount(images.labels[order], minlength=3)
        assert (counts - 100 / 3).abs().max() < 1
    assert not torch.equal(weighted_order(7, 0, weights), weighted_order(7, 1, weights))
    assert torch.equal(weighted_order(7, 4, weights), order)


def test_weights_of_examples() -> None:
    """An example of weight w (of a mean of 1) comes floor(w) or ceil(w) times, and none of weight 0 ever comes."""
    weights = torch.tensor([0.0, 0.5, 1.0, 2.5, 1.0])
    for epoch in range(20):
        counts = torch.bincount(weighted_order(0, epoch, weights), minlength=5)
        assert ((counts >= weights.floor()) & (counts <= weights.ceil())).all()
        assert counts[0] == 0


def test_sampler_without_weights_keeps_its_order() -> None:
    sampler = EpochBatchSampler(10, batch_size=4, seed=3, steps_per_call=2)
    order = torch.cat([index for chunk in sampler for _, index in chunk])
    assert torch.equal(order, permutation(3, 0, 10))
    weighted = EpochBatchSampler(10, batch_size=4, seed=3, steps_per_call=2, weights=torch.ones(10))
    assert torch.equal(torch.cat([i for chunk in weighted for _, i in chunk]).sort().values, torch.arange(10))


def test_all_uses_weights_of_examples() -> None:
    assert sampling_weights(images_of([3, 2]), 2, "all") is None
    weights = torch.tensor([1.0, 2, 3, 4, 5])
    own = sampling_weights(images_of([3, 2], weights), 2, "all")
    assert own is not None
    assert own.tolist() == weights.tolist()
    balanced = sampling_weights(images_of([3, 2], weights), 2, "balanced")
    assert balanced is not None
    assert balanced[:3].sum() == pytest.approx(float(balanced[3:].sum()))
    assert balanced[2] / balanced[0] == pytest.approx(3)


def test_unknown_name() -> None:
    from pipeline.data.sampling import check_sampling

    with pytest.raises(UserError) as caught:
        check_sampling("even")
    assert caught.value.field == "sampling"
