"""Data that are refused before training; the error names the split and the numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pipeline.data import Images, Source, split, validate_data
from pipeline.errors import UserError


def good(n: int = 12, *, dtype: torch.dtype = torch.float32) -> Images:
    return Images((torch.arange(n * 12).view(n, 3, 2, 2) % 200).to(dtype), torch.arange(n) % 3)


def source(**changes: object) -> Source:
    data = {"name": "some", "train": good(), "test": good(6), "val": good(3), "classes": ("a", "b", "c"), "scale": 1.0}
    return Source(**{**data, **changes})  # type: ignore[arg-type]


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
    source(train=relabelled(12, [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]] * 6), val=None, test=None, task="multilabel"),
    source(train=relabelled(12, [[0.5], [-3.0]] * 6), val=None, test=None, task="regression", classes=("y",)),
]


@pytest.mark.parametrize("data", GOOD)
def test_good_data(data: Source) -> None:
    validate_data(data)


EMPTY = Images(good().pixels[:0], good().labels[:0])
BAD = {
    "nan": (source(train=with_pixel(float("nan"), 5)), ["train split", "2 in 2", "image 5"]),
    "infinite": (source(test=with_pixel(-float("inf"), 4)), ["test split", "2 in 2", "image 4"]),
    "ignored label": (source(val=relabelled(3, [0, -100, -100])), ["val split", "2 in", "-100", "index 1"]),
    "label too high": (source(train=relabelled(12, [0, 1, 2, 3] * 3)), ["train split", "3 in", "index 3"]),
    "float labels": (source(train=relabelled(12, [0.0, 1.0, 2.0] * 4)), ["train split", "torch.float32"]),
    "boolean labels": (source(train=relabelled(12, [True, False, True] * 4)), ["train split", "torch.bool"]),
    "one-hot labels": (source(train=relabelled(12, [[1, 0, 0]] * 12)), ["train split", "(12, 3)"]),
    "empty split": (source(test=EMPTY), ["test split"]),
    "empty training": (source(train=EMPTY), ["train split"]),
    "lengths": (source(train=relabelled(12, [0, 1, 2])), ["train split", "12", "(3,)"]),
    "shape": (source(test=Images(torch.zeros(6, 1, 2, 2), torch.arange(6) % 3)), ["test", "(1, 2, 2)", "(3, 2, 2)"]),
    "type": (source(test=good(6, dtype=torch.uint8)), ["test", "torch.uint8", "torch.float32"]),
    "one class": (source(train=relabelled(12, [0] * 12), classes=("only",), test=None, val=None), ["'only'"]),
    "missing class": (source(train=relabelled(12, [0, 2] * 6)), ["'b'"]),
    "equal names": (source(classes=("a", "b", "a")), ["'a'"]),
    "label of 2": (
        source(train=relabelled(12, [[1.0, 0.0, 2.0]] * 12), val=None, test=None, task="multilabel"),
        ["train split", "12", "2 at index 0"],
    ),
    "label never holds": (
        source(train=relabelled(12, [[1.0, 0, 0], [0, 1.0, 0]] * 6), val=None, test=None, task="multilabel"),
        ["'c'"],
    ),
    "infinite target": (
        source(train=relabelled(12, [[1.0]] * 11 + [[torch.inf]]), val=None, test=None, task="regression", classes="y"),
        ["train split", "index 11"],
    ),
    "constant target": (
        source(train=relabelled(12, [[1.0]] * 12), val=None, test=None, task="regression", classes=("y",)),
        ["'y'"],
    ),
    "targets without names": (
        source(train=relabelled(12, [[1.0, 2.0]] * 12), val=None, test=None, task="regression", classes=("y",)),
        ["(12, 2)"],
    ),
    "rows": (
        source(train=Images(torch.full((12, 3, 1, 1), torch.nan), torch.arange(12) % 3), val=None, test=None),
        ["12 row", "column 0"],
    ),
    "no class": (source(train=relabelled(12, [-1] * 12), classes=()), ["-1", "index 0"]),
}


@pytest.mark.parametrize(("data", "facts"), BAD.values(), ids=BAD.keys())
def test_bad_data(data: Source, facts: list[str]) -> None:
    with pytest.raises(UserError) as error:
        validate_data(data)
    for fact in [*facts, "'some'"]:
        assert fact in error.value.message
    assert error.value.field is None


def test_field_of_data_with_a_path() -> None:
    with pytest.raises(UserError) as error:
        validate_data(source(train=with_pixel(float("nan"), 0), path="my/data.npz"))
    assert error.value.field == "path"
    assert "my/data.npz" in error.value.message


def test_many_missing_classes() -> None:
    """Five are named, the others counted."""
    with pytest.raises(UserError, match=r"'c3', .*'c7' and 4 "):
        validate_data(source(classes=tuple(f"c{i}" for i in range(12))))


def test_splits() -> None:
    splits = split(source(train=good(60)), validation=0.1, test=0.1, seed=0, limit=None)
    validate_data(splits)
    with pytest.raises(UserError, match="val split"):
        validate_data(replace(splits, val=relabelled(3, [0, 9, 1])))
