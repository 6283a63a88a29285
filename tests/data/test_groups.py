"""Splits by group: no group in two splits, with numbers and class shares as near as whole groups allow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.data import Images, Source, Splits, split
from pipeline.data.groups import choose_groups
from pipeline.errors import UserError


def grouped(sizes: list[int], classes: int, seed: int, *, mixed: bool) -> Source:
    """Return a source with groups of the given sizes, each of one class or of all of them."""
    random = np.random.default_rng(seed)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    labels = random.integers(classes, size=len(groups)) if mixed else groups % classes
    order = random.permutation(len(groups))
    pixels = torch.arange(len(groups), dtype=torch.int32).view(-1, 1, 1, 1)
    train = Images(pixels, torch.from_numpy(labels[order]), torch.from_numpy(groups[order]))
    return Source(name="s", train=train, test=None, classes=tuple(map(str, range(classes))), scale=1.0)


def cut(source: Source, **options: object) -> Splits:
    return split(source, **{"validation": 0.1, "test": 0.2, "seed": 0, "limit": None, **options})  # type: ignore[arg-type]


def groups_of(images: Images) -> set[int]:
    assert images.groups is not None
    return set(images.groups.tolist())


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_no_group_is_in_two_splits(seed: int, mixed: bool) -> None:
    random = np.random.default_rng(seed)
    classes, largest = int(random.integers(2, 6)), int(random.integers(1, 12))
    source = grouped(random.integers(1, largest + 1, size=150).tolist(), classes, seed, mixed=mixed)
    splits = cut(source, seed=seed)
    train, val, test = (groups_of(images) for images in splits.splits.values())
    assert not train & val | train & test | val & test
    assert sum(splits.sizes.values()) == len(source.train)
    n, counts = len(source.train), splits.class_counts()
    for name, fraction in (("val", 0.1), ("test", 0.2)):
        assert abs(splits.sizes[name] - fraction * n) <= largest
        for label in range(classes):
            whole = sum(counts[part][label] for part in counts)
            assert abs(counts[name][label] - fraction * whole) <= largest + 1
    assert all(count > 0 for count in counts["train"])


def test_groups_of_one_are_split_exactly() -> None:
    splits = cut(grouped([1] * 200, 4, 0, mixed=False))
    assert splits.class_counts() == {"train": [35] * 4, "val": [5] * 4, "test": [10] * 4}


def test_seed_and_limit() -> None:
    source = grouped([5] * 60, 3, 0, mixed=True)
    assert cut(source).fingerprint() == cut(source).fingerprint()
    assert groups_of(cut(source, seed=1).test) != groups_of(cut(source).test)
    limited = cut(source, limit=20)
    assert len(limited.train) == 20
    assert groups_of(limited.train) <= groups_of(cut(source).train)
    assert limited.train.groups is not None
    picked = limited.train.pixels.flatten().long()
    assert torch.equal(limited.train.groups, source.train.groups[picked])  # type: ignore[index]


def test_fingerprint_includes_groups() -> None:
    source = grouped([1] * 40, 2, 0, mixed=False)
    assert source.train.groups is not None
    splits = cut(source)
    without = replace(splits, train=replace(splits.train, groups=None))
    other = replace(splits, train=replace(splits.train, groups=splits.train.groups + 1))  # type: ignore[operator]
    assert len({data.fingerprint() for data in (splits, without, other)}) == 3


def test_few_large_groups() -> None:
    """Each evaluation split gets a group, however large, and training keeps one."""
    source = grouped([30, 30, 40], 2, 0, mixed=True)
    splits = cut(source)
    assert [len(groups_of(images)) for images in splits.splits.values()] == [1, 1, 1]
    with pytest.raises(UserError) as error:
        cut(grouped([30, 30], 2, 0, mixed=True))
    assert error.value.field == "groups"


def test_the_last_examples_of_a_class_stay() -> None:
    source = grouped([4] * 20, 2, 0, mixed=False)
    labels = torch.where(source.train.groups == 3, 2, source.train.labels)  # type: ignore[arg-type]
    source = replace(source, train=replace(source.train, labels=labels), classes=("0", "1", "2"))
    for seed in range(5):
        assert cut(source, seed=seed, test=0.7).class_counts()["train"][2] == 4


def test_given_splits_stay_as_they_are() -> None:
    source = grouped([5] * 60, 3, 0, mixed=True)
    source = replace(source, test=source.train.select(torch.arange(9)))
    splits = cut(source)
    assert splits.test is source.test
    assert not groups_of(splits.train) & groups_of(splits.val)


def test_many_groups_are_fast() -> None:
    n = 60_000
    random = np.random.default_rng(0)
    chosen = choose_groups(random.integers(10, size=n), random.integers(20_000, size=n), [600] * 10, 0)
    assert abs(int(chosen.sum()) - 6000) < 20
