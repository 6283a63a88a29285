"""Images and splits: shapes, counts, selection and fingerprints."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pipeline.data import Images, Splits


def make_images(n: int, *, classes: int = 2) -> Images:
    return Images(torch.arange(n * 12, dtype=torch.uint8).view(n, 3, 2, 2), torch.arange(n) % classes)


@pytest.fixture
def splits() -> Splits:
    return Splits(
        name="some",
        train=make_images(5),
        val=make_images(2),
        test=make_images(3),
        classes=("a", "b", "c"),
        scale=1 / 255,
    )


def test_shape_and_counts(splits: Splits) -> None:
    assert splits.input_shape == (3, 2, 2)
    assert splits.sizes == {"train": 5, "val": 2, "test": 3}
    assert splits.class_counts() == {"train": [3, 2, 0], "val": [1, 1, 0], "test": [2, 1, 0]}


def test_select() -> None:
    images = make_images(5)
    chosen = images.select(torch.tensor([4, 1]))
    assert len(chosen) == 2
    assert torch.equal(chosen.pixels, images.pixels[[4, 1]])
    assert chosen.labels.tolist() == [0, 1]


def test_fingerprint(splits: Splits) -> None:
    """It is the same for the same data, and changes with any pixel, label, shape, type or order of splits."""
    fingerprint = splits.fingerprint()
    assert len(fingerprint) == 16
    assert int(fingerprint, 16) >= 0
    assert replace(splits, train=make_images(5)).fingerprint() == fingerprint
    changed_pixel = splits.test.pixels.clone()
    changed_pixel[-1, -1, -1, -1] += 1
    changed_label = splits.val.labels.clone()
    changed_label[-1] += 1
    others = [
        replace(splits, test=replace(splits.test, pixels=changed_pixel)),
        replace(splits, val=replace(splits.val, labels=changed_label)),
        replace(splits, train=replace(splits.train, pixels=splits.train.pixels.view(5, 1, 3, 4))),
        replace(splits, train=replace(splits.train, pixels=splits.train.pixels.view(torch.int8))),
        replace(splits, val=splits.test, test=splits.val),
    ]
    assert len({fingerprint, *(other.fingerprint() for other in others)}) == 6


def test_to(splits: Splits) -> None:
    moved = splits.to("meta")
    assert {tensor.device.type for s in moved.splits.values() for tensor in (s.pixels, s.labels)} == {"meta"}
    assert moved.classes == splits.classes


def test_names_follow_their_examples() -> None:
    images = Images(torch.zeros(3, 1, 1, 1), torch.arange(3), names=["a", "b", "c"])
    assert images.select(torch.tensor([2, 0])).names == ["c", "a"]
