"""Seeds, orders and batches as functions of integers."""

from __future__ import annotations

import pytest
import torch

from pipeline.data import EpochBatchSampler, derive_seed, permutation, split_batches
from pipeline.errors import UserError


def steps_of(sampler: EpochBatchSampler) -> list[tuple[int, list[int]]]:
    return [(step, index.tolist()) for call in sampler for step, index in call]


def test_seeds_are_fixed() -> None:
    """Runs that were recorded with a seed depend on these values."""
    assert (derive_seed(0), derive_seed(1, 2, 3)) == (893442142816765029, 6520558355739401531)
    assert all(0 <= derive_seed(i) < 2**63 for i in range(1000))


def test_seeds_are_unrelated() -> None:
    """Near values, their order and their number give different seeds, of which each bit is 1 in half the cases."""
    seeds = [derive_seed(a, b) for a in range(-10, 40) for b in range(50)] + [derive_seed(a) for a in range(50)]
    assert len(set(seeds)) == len(seeds)
    bits = torch.tensor([[seed >> bit & 1 for bit in range(63)] for seed in seeds], dtype=torch.float64)
    assert (bits.mean(0) - 0.5).abs().max() < 5 * 0.5 / len(seeds) ** 0.5


def test_permutation() -> None:
    """It depends on the seed and the epoch alone, and does not change torch's global generator."""
    first = permutation(3, 7, 1000)
    torch.rand(5)
    state = torch.get_rng_state()
    assert torch.equal(first, permutation(3, 7, 1000))
    assert torch.equal(torch.get_rng_state(), state)
    assert first.sort().values.tolist() == list(range(1000))
    assert first.dtype == torch.int64
    for seed, epoch in ((3, 8), (4, 7), (7, 3)):
        assert (permutation(seed, epoch, 1000) == first).float().mean() < 0.05


@pytest.mark.parametrize(
    ("n", "size", "lengths"),
    [
        (10, 4, [4, 4, 2]),
        (8, 4, [4, 4]),
        (3, 4, [3]),
        (9, 4, [4, 4, 1]),
        (1, 4, [1]),
        (3, 1, [1, 1, 1]),
        (5, 2, [2, 2, 1]),
        (0, 4, []),
    ],
)
def test_split_batches(n: int, size: int, lengths: list[int]) -> None:
    batches = split_batches(torch.arange(n), size)
    assert [i for batch in batches for i in batch.tolist()] == list(range(n))
    assert [len(batch) for batch in batches] == lengths


def test_epoch() -> None:
    """It visits every example once, in the order of its permutation; iterating again repeats it."""
    sampler = EpochBatchSampler(103, batch_size=10, seed=5, steps_per_call=4)
    sampler.epoch = 2
    steps = steps_of(sampler)
    assert [step for step, _ in steps] == list(range(sampler.steps_per_epoch)) == list(range(11))
    assert [i for _, index in steps for i in index] == permutation(5, 2, 103).tolist()
    assert [len(call) for call in sampler] == [4, 4, 3]
    assert len(sampler) == 3
    assert steps_of(sampler) == steps
    sampler.epoch = 3
    assert steps_of(sampler) != steps


@pytest.mark.parametrize("done", range(12))
def test_resumed_epoch(done: int) -> None:
    """It yields exactly the remaining steps, in calls that end where those of the original epoch do."""
    sampler = EpochBatchSampler(103, batch_size=10, seed=5, steps_per_call=4)
    all_steps = steps_of(sampler)
    ends = {call[-1][0] for call in sampler}
    sampler.step = done
    assert steps_of(sampler) == all_steps[done:]
    assert {call[-1][0] for call in sampler} == {end for end in ends if end >= done}
    assert len(sampler) == len(list(sampler))


@pytest.mark.parametrize("size", [0, -3, 2.5, "64", True])
def test_invalid_batch_size(size: object) -> None:
    with pytest.raises(UserError) as error:
        EpochBatchSampler(10, batch_size=size, seed=0, steps_per_call=1)  # type: ignore[arg-type]
    assert error.value.field == "batch_size"
