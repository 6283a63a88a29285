from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from pipeline.data import Images, Source, Splits, split
from pipeline.data.splits import allocate_proportionally
from pipeline.errors import UserError


def source_of(counts: list[int], **splits: Images) -> Source:
    """Each example's pixel is its own number, so that examples can be followed through a split."""
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(9))]
    train = Images(torch.arange(len(labels), dtype=torch.int32).view(-1, 1, 1, 1), labels)
    classes = tuple(f"class {label}" for label in range(len(counts)))
    return Source(**{"name": "s", "train": train, "test": None, "classes": classes, "scale": 1.0, **splits})


OFFICIAL = Images(torch.full((4, 1, 1, 1), -1, dtype=torch.int32), torch.tensor([0, 1, 2, 1]))


def ids(images: Images) -> list[int]:
    return images.pixels.flatten().tolist()


def cut(source: Source, **options: object) -> Splits:
    return split(source, **{"validation": 0.1, "test": 0.2, "seed": 0, "limit": None, **options})  # type: ignore[arg-type]


def test_splits_are_a_partition_in_file_order_with_labels_kept() -> None:
    source = source_of([40, 130, 31])
    splits = cut(source)
    together = [i for part in splits.splits.values() for i in ids(part)]
    assert sorted(together) == list(range(201))
    for part in splits.splits.values():
        assert ids(part) == sorted(ids(part))
        assert torch.equal(part.labels, source.train.labels[ids(part)])
    assert splits.sizes == {"train": 141, "val": 20, "test": 40}
    assert splits.class_counts() == {"train": [28, 91, 22], "val": [4, 13, 3], "test": [8, 26, 6]}


def test_official_splits_are_used_as_they_are() -> None:
    with_test = cut(source_of([40, 130, 31], test=OFFICIAL))
    assert with_test.test is OFFICIAL
    assert with_test.sizes == {"train": 181, "val": 20, "test": 4}
    with_both = cut(source_of([40, 130, 31], test=OFFICIAL, val=OFFICIAL))
    assert with_both.val is OFFICIAL
    assert with_both.sizes["train"] == 201
    with_val = cut(source_of([40, 130, 31], val=OFFICIAL))
    assert with_val.val is OFFICIAL
    assert with_val.sizes == {"train": 161, "val": 4, "test": 40}


def test_a_split_is_a_function_of_the_seed_alone() -> None:
    source = source_of([40, 130, 31])
    first = cut(source, seed=3)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert cut(source, seed=3).fingerprint() == first.fingerprint()
    assert torch.equal(torch.get_rng_state(), state)
    other = cut(source, seed=4)
    assert ids(other.val) != ids(first.val)
    assert ids(other.test) != ids(first.test)
    official = replace(source, test=OFFICIAL)
    assert ids(cut(official, seed=4).val) != ids(cut(official, seed=3).val)


def test_the_test_split_does_not_depend_on_the_validation_share() -> None:
    source = source_of([40, 130, 31])
    assert ids(cut(source, validation=0.3).test) == ids(cut(source).test)


def test_limit_keeps_the_first_of_each_class_and_nothing_else_changes() -> None:
    source = source_of([40, 130, 31])
    full = cut(source)
    for limit in (3, 4, 50, 140, 141, 10_000):
        limited = cut(source, limit=limit)
        assert len(limited.train) == min(limit, 141)
        assert ids(limited.val) == ids(full.val)
        assert ids(limited.test) == ids(full.test)
        for label in range(3):
            kept = limited.train.select(limited.train.labels == label)
            of_class = full.train.select(full.train.labels == label)
            assert len(kept) >= 1
            assert ids(kept) == ids(of_class)[: len(kept)]
            assert abs(len(kept) - min(limit, 141) * len(of_class) / 141) < 1
    assert ids(cut(source, limit=141).train) == ids(full.train)


def test_a_rare_class_is_in_every_split() -> None:
    splits = cut(source_of([500, 3, 500]))
    assert splits.class_counts() == {"train": [350, 1, 351], "val": [50, 1, 49], "test": [100, 1, 100]}


@pytest.mark.parametrize("keep", [0, 1])
def test_apportion_is_exact_bounded_and_near_the_proportion(keep: int) -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        counts = [int(count) for count in random.integers(1 + keep, 60, size=random.integers(2, 12))]
        total = int(random.integers(len(counts), sum(counts) - keep * len(counts) + 1))
        shares = allocate_proportionally(counts, total, keep=keep)
        assert sum(shares) == total
        assert all(1 <= share <= count - keep for share, count in zip(shares, counts, strict=True))
        quotas = [Fraction(count * total, sum(counts)) for count in counts]
        if all(1 <= quota <= count - keep - 1 for quota, count in zip(quotas, counts, strict=True)):
            assert all(abs(share - quota) < 1 for share, quota in zip(shares, quotas, strict=True))


def test_apportion_gives_the_rest_to_the_largest_remainders() -> None:
    assert allocate_proportionally([50, 30, 20], 7, keep=1) == [4, 2, 1]  # quotas 3.5, 2.1, 1.4
    assert allocate_proportionally([10, 10, 10], 4, keep=1) == [2, 1, 1]  # a tie: the first
    assert allocate_proportionally([997, 2, 2], 5, keep=1) == [3, 1, 1]  # quotas 4.98, 0.01, 0.01: at least one each


@pytest.mark.parametrize("field", ["validation", "test"])
@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan"), "0.1", 0.001, 0.999])
def test_an_impossible_share_is_refused(field: str, share: object) -> None:
    with pytest.raises(UserError) as refused:
        cut(source_of([40, 130, 31]), **{field: share})
    assert refused.value.field == field


def test_shares_that_leave_no_training_example_are_refused() -> None:
    with pytest.raises(UserError) as refused:
        cut(source_of([40, 130, 31]), validation=0.5, test=0.5)
    assert refused.value.field == "validation"


@pytest.mark.parametrize("limit", [2, 0, -5, 10.5, True])
def test_a_limit_below_the_number_of_classes_is_refused(limit: object) -> None:
    with pytest.raises(UserError) as refused:
        cut(source_of([40, 130, 31]), limit=limit)
    assert refused.value.field == "limit"


@pytest.mark.parametrize(("count", "test"), [(1, OFFICIAL), (2, None)])
def test_a_class_with_too_few_examples_is_named(count: int, test: Images | None) -> None:
    with pytest.raises(UserError, match="'class 1'"):
        cut(replace(source_of([40, count, 31]), test=test))
