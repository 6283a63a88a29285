from __future__ import annotations

import pytest
import torch

from pipeline.data import EpochBatchSampler, derive_seed, permutation, split_batches
from pipeline.errors import UserError


def steps_of(loader: EpochBatchSampler) -> list[tuple[int, list[int]]]:
    return [(step, index.tolist()) for call in loader for step, index in call]


def test_seed_from_is_fixed_for_all_time() -> None:
    """Runs that were recorded with a seed rest on these values."""
    assert (derive_seed(0), derive_seed(1, 2, 3)) == (893442142816765029, 6520558355739401531)
    assert all(0 <= derive_seed(i) < 2**63 for i in range(1000))


def test_seed_from_tells_near_order_and_number_of_parts_apart() -> None:
    seeds = [derive_seed(a, b) for a in range(-10, 40) for b in range(50)] + [derive_seed(a) for a in range(50)]
    assert len(set(seeds)) == len(seeds)
    bits = torch.tensor([[seed >> bit & 1 for bit in range(63)] for seed in seeds], dtype=torch.float64)
    assert (bits.mean(0) - 0.5).abs().max() < 5 * 0.5 / len(seeds) ** 0.5


def test_permutation_is_one_and_depends_on_seed_and_epoch_alone() -> None:
    first = permutation(3, 7, 1000)
    torch.rand(5)
    assert torch.equal(first, permutation(3, 7, 1000))
    assert first.sort().values.tolist() == list(range(1000))
    assert first.dtype == torch.int64
    for seed, epoch in ((3, 8), (4, 7), (7, 3)):
        assert (permutation(seed, epoch, 1000) == first).float().mean() < 0.05


def test_permutation_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    permutation(0, 0, 10)
    assert torch.equal(torch.get_rng_state(), before)


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
    ],
)
def test_batches_are_consecutive_and_the_last_is_what_is_left(n: int, size: int, lengths: list[int]) -> None:
    pieces = split_batches(torch.arange(n), size)
    assert torch.cat(pieces).tolist() == list(range(n))
    assert [len(piece) for piece in pieces] == lengths


def test_an_epoch_visits_every_example_once_in_the_order_of_its_permutation() -> None:
    loader = EpochBatchSampler(103, batch_size=10, seed=5, steps_per_call=4)
    loader.epoch = 2
    steps = steps_of(loader)
    assert [step for step, _ in steps] == list(range(loader.steps_per_epoch)) == list(range(11))
    assert [i for _, index in steps for i in index] == permutation(5, 2, 103).tolist()
    assert [len(call) for call in loader] == [4, 4, 3]
    assert len(loader) == 3
    assert steps_of(loader) == steps, "iterating again is the same epoch again"
    loader.epoch = 3
    assert steps_of(loader) != steps


@pytest.mark.parametrize("done", range(12))
def test_resuming_yields_exactly_the_rest_in_the_same_calls(done: int) -> None:
    loader = EpochBatchSampler(103, batch_size=10, seed=5, steps_per_call=4)
    everything = steps_of(loader)
    ends = {call[-1][0] for call in loader}
    loader.step = done
    assert steps_of(loader) == everything[done:]
    assert {call[-1][0] for call in loader} == {end for end in ends if end >= done}
    assert len(loader) == len(list(loader))


@pytest.mark.parametrize("size", [0, -3, 2.5, "64", True])
def test_a_batch_size_that_is_none_is_refused(size: object) -> None:
    with pytest.raises(UserError) as refused:
        EpochBatchSampler(10, batch_size=size, seed=0, steps_per_call=1)  # type: ignore[arg-type]
    assert refused.value.field == "batch_size"
