from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pipeline.data import Images, Source, split, validate_data
from pipeline.errors import UserError


def good(n: int = 12, *, dtype: torch.dtype = torch.float32) -> Images:
    return Images((torch.arange(n * 12).view(n, 3, 2, 2) % 200).to(dtype), torch.arange(n) % 3)


def source(**changes: object) -> Source:
    whole = {"name": "some", "train": good(), "test": good(6), "val": good(3), "classes": ("a", "b", "c"), "scale": 1.0}
    return Source(**{**whole, **changes})  # type: ignore[arg-type]


def relabelled(n: int, labels: object) -> Images:
    return Images(good(n).pixels, torch.as_tensor(labels))


def with_pixel(value: float, at: int) -> Images:
    images = good()
    images.pixels[at, 1, 0, 1] = value
    images.pixels[at + 2, 0, 0, 0] = value
    return images


GOOD = [
    source(),
    source(val=None, test=None),
    source(train=good(dtype=torch.uint8), val=None, test=None),
    source(val=relabelled(3, [0, 0, 1])),  # a class may be missing outside training
]


@pytest.mark.parametrize("data", GOOD)
def test_good_data_pass(data: Source) -> None:
    validate_data(data)


BAD = {
    "nan": (source(train=with_pixel(float("nan"), 5)), ["2 in 2 image", "train", "image 5", "NaN"]),
    "infinite": (source(test=with_pixel(-float("inf"), 4)), ["2 in 2 image", "test", "image 4"]),
    "ignored label": (source(val=relabelled(3, [0, -100, -100])), ["2 in the val", "-100 at index 1"]),
    "label too high": (
        source(train=relabelled(12, [0, 1, 2, 3] * 3)),
        ["3 in the train", "is 3 at index 3", "classes, 3"],
    ),
    "float labels": (source(train=relabelled(12, [0.0, 1.0, 2.0] * 4)), ["integers", "float32"]),
    "boolean labels": (source(train=relabelled(12, [True, False, True] * 4)), ["integers", "bool"]),
    "one-hot labels": (source(train=relabelled(12, [[1, 0, 0]] * 12)), ["(12, 3)"]),
    "empty split": (source(test=Images(good().pixels[:0], good().labels[:0])), ["test split is empty"]),
    "empty training": (source(train=Images(good().pixels[:0], good().labels[:0])), ["train split is empty"]),
    "lengths": (source(train=relabelled(12, [0, 1, 2])), ["12 images", "(3,)"]),
    "shape": (source(test=Images(torch.zeros(6, 1, 2, 2), torch.arange(6) % 3)), ["test", "(1, 2, 2)", "(3, 2, 2)"]),
    "type": (source(test=good(6, dtype=torch.uint8)), ["test", "uint8", "float32"]),
    "one class": (
        source(train=relabelled(12, [0] * 12), classes=("only",), test=None, val=None),
        ["two classes", "'only'"],
    ),
    "missing class": (source(train=relabelled(12, [0, 2] * 6)), ["no training example", "'b'"]),
    "no class": (source(train=relabelled(12, [-1] * 12), classes=()), ["-1 at index 0"]),
}


@pytest.mark.parametrize(("data", "words"), BAD.values(), ids=BAD.keys())
def test_broken_data_are_refused_in_words(data: Source, words: list[str]) -> None:
    with pytest.raises(UserError) as refused:
        validate_data(data)
    for word in [*words, "'some'"]:
        assert word in refused.value.message
    assert refused.value.field is None


def test_data_from_a_path_blame_the_path() -> None:
    with pytest.raises(UserError) as refused:
        validate_data(source(train=with_pixel(float("nan"), 0), path="my/data.npz"))
    assert refused.value.field == "path"
    assert "my/data.npz" in refused.value.message


def test_many_missing_classes_are_counted() -> None:
    names = tuple(f"c{i}" for i in range(12))
    with pytest.raises(UserError, match=r"'c3', .*'c7' and 4 more"):
        validate_data(source(classes=names))


def test_finished_splits_can_be_inspected_too() -> None:
    splits = split(source(train=good(60)), validation=0.1, test=0.1, seed=0, limit=None)
    validate_data(splits)
    with pytest.raises(UserError, match="val"):
        validate_data(replace(splits, val=relabelled(3, [0, 9, 1])))
