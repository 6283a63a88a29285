"""Splits: partitions in exact, stratified numbers."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from pipeline.data import Images, Source, Splits, split
from pipeline.data.splits import allocate_proportionally, stratified_head
from pipeline.errors import UserError


def source_of(counts: list[int], **splits: Images) -> Source:
    """Return a source in which the pixel of each example is its index, so that a split can be checked."""
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


def test_partition() -> None:
    source = source_of([40, 130, 31])
    splits = cut(source)
    assert sorted(i for images in splits.splits.values() for i in ids(images)) == list(range(201))
    for images in splits.splits.values():
        assert ids(images) == sorted(ids(images))
        assert torch.equal(images.labels, source.train.labels[ids(images)])
    assert splits.sizes == {"train": 141, "val": 20, "test": 40}
    assert splits.class_counts() == {"train": [28, 91, 22], "val": [4, 13, 3], "test": [8, 26, 6]}


def test_official_splits() -> None:
    with_test = cut(source_of([40, 130, 31], test=OFFICIAL))
    assert with_test.test is OFFICIAL
    assert with_test.sizes == {"train": 181, "val": 20, "test": 4}
    with_both = cut(source_of([40, 130, 31], test=OFFICIAL, val=OFFICIAL))
    assert with_both.val is OFFICIAL
    assert with_both.sizes["train"] == 201
    with_val = cut(source_of([40, 130, 31], val=OFFICIAL))
    assert with_val.val is OFFICIAL
    assert with_val.sizes == {"train": 161, "val": 4, "test": 40}


def test_seed() -> None:
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


def test_validation_does_not_change_test() -> None:
    source = source_of([40, 130, 31])
    assert ids(cut(source, validation=0.3).test) == ids(cut(source).test)


def test_limit() -> None:
    source = source_of([40, 130, 31])
    full = cut(source)
    for limit in (3, 4, 50, 140, 141, 10_000):
        limited = cut(source, limit=limit)
        assert len(limited.train) == min(limit, 141)
        assert ids(limited.val) == ids(full.val)
        assert ids(limited.test) == ids(full.test)
        for label in range(3):
            selected = limited.train.select(limited.train.labels == label)
            of_class = full.train.select(full.train.labels == label)
            assert len(selected) >= 1
            assert ids(selected) == ids(of_class)[: len(selected)]
            assert abs(len(selected) - min(limit, 141) * len(of_class) / 141) < 1
    assert ids(cut(source, limit=141).train) == ids(full.train)


def test_rare_class() -> None:
    splits = cut(source_of([500, 3, 500]))
    assert splits.class_counts() == {"train": [350, 1, 351], "val": [50, 1, 49], "test": [100, 1, 100]}


@pytest.mark.parametrize("keep", [0, 1])
def test_allocation(keep: int) -> None:
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


def test_largest_remainders() -> None:
    assert allocate_proportionally([50, 30, 20], 7, keep=1) == [4, 2, 1]  # quotas 3.5, 2.1, 1.4
    assert allocate_proportionally([10, 10, 10], 4, keep=1) == [2, 1, 1]  # a tie: the first
    assert allocate_proportionally([997, 2, 2], 5, keep=1) == [3, 1, 1]  # quotas 4.98, 0.01, 0.01: at least one each


@pytest.mark.parametrize("field", ["validation", "test"])
def test_invalid_fraction(field: str) -> None:
    for fraction in (0, 1, -0.1, 1.5, float("nan"), "0.1", 0.001, 0.999):
        with pytest.raises(UserError) as error:
            cut(source_of([40, 130, 31]), **{field: fraction})
        assert error.value.field == field


def test_no_training_example_left() -> None:
    with pytest.raises(UserError) as error:
        cut(source_of([40, 130, 31]), validation=0.5, test=0.5)
    assert error.value.field == "validation"


@pytest.mark.parametrize("limit", [2, 0, -5, 10.5, True])
def test_invalid_limit(limit: object) -> None:
    with pytest.raises(UserError) as error:
        cut(source_of([40, 130, 31]), limit=limit)
    assert error.value.field == "limit"


@pytest.mark.parametrize(("count", "test"), [(1, OFFICIAL), (2, None)])
def test_class_with_too_few_examples(count: int, test: Images | None) -> None:
    with pytest.raises(UserError, match="'class 1'"):
        cut(replace(source_of([40, count, 31]), test=test))


def test_more_classes_than_examples() -> None:
    """Evenly spaced classes have an example each; with one more class than examples none has two."""
    images = source_of([3] * 10).train
    assert stratified_head(images, 10, 3).labels.sort().values.tolist() == [0, 3, 6]
    assert len(stratified_head(images, 10, 9).labels.unique()) == 9
    assert len(stratified_head(images, 10, 10).labels.unique()) == 10
