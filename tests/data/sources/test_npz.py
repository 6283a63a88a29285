"""Arrays in .npz files: layouts, types, scales and keys, and files that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.data import Source, validate_data
from pipeline.data.sources.npz import npz
from pipeline.errors import UserError

LABELS = np.arange(6) % 3


def saved(folder: Path, **arrays: Any) -> str:
    path = folder / "mine.npz"
    np.savez(path, **{"y_train": LABELS, **arrays})
    return str(path)


def loaded(folder: Path, pixels: np.ndarray, *, scale: float | None = None, **arrays: Any) -> Source:
    return npz(path=saved(folder, x_train=pixels, **arrays), scale=scale, groups="groups")


def counting(*shape: int, dtype: Any = np.uint8) -> np.ndarray:
    return (np.arange(np.prod(shape)) % 251).reshape(shape).astype(dtype)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((6, 5, 4), (6, 1, 5, 4)),
        ((6, 5, 4, 1), (6, 1, 5, 4)),
        ((6, 5, 4, 3), (6, 3, 5, 4)),
        ((6, 5, 4, 4), (6, 4, 5, 4)),
        ((6, 1, 5, 7), (6, 1, 5, 7)),
        ((6, 3, 5, 7), (6, 3, 5, 7)),
        ((6, 4, 5, 7), (6, 4, 5, 7)),
        ((6, 3, 5, 3), (6, 3, 3, 5)),
        ((6, 20), (6, 20, 1, 1)),
    ],
)
def test_layouts(shape: tuple[int, ...], expected: tuple[int, ...], tmp_path: Path) -> None:
    pixels = counting(*shape)
    source = loaded(tmp_path, pixels)
    validate_data(source)
    assert source.train.pixels.shape == expected
    assert source.train.pixels.is_contiguous()
    channels_last = len(shape) == 4 and shape[3] in (1, 3, 4)
    back = source.train.pixels.numpy().transpose(0, 2, 3, 1) if channels_last else source.train.pixels.numpy()
    assert (back.reshape(shape) == pixels).all()


@pytest.mark.parametrize("shape", [(6, 5, 5, 5), (6,), (6, 2, 5, 4, 3)])
def test_invalid_layouts(shape: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        loaded(tmp_path, counting(*shape))
    assert error.value.field == "path"
    assert f"x_train is {shape}" in error.value.message


@pytest.mark.parametrize(
    ("dtype", "stored", "highest", "scale"),
    [
        (np.uint8, torch.uint8, 255, 1 / 255),
        (np.uint8, torch.uint8, 3, 1 / 255),
        (np.int64, torch.int32, 255, 1 / 255),
        (np.uint16, torch.int32, 256, 1 / 65535),
        (np.uint16, torch.int32, 65535, 1 / 65535),
        (">u2", torch.int32, 65535, 1 / 65535),
        (np.float64, torch.float32, 1, 1.0),
        (np.float16, torch.float32, 1, 1.0),
    ],
)
def test_types_and_scales(dtype: Any, stored: torch.dtype, highest: int, scale: float, tmp_path: Path) -> None:
    pixels = np.zeros((6, 4, 4), dtype)
    pixels[2, 1, 3] = highest
    source = loaded(tmp_path, pixels)
    assert source.train.pixels.dtype == stored
    assert source.train.pixels.max() == highest
    assert source.scale == scale
    assert loaded(tmp_path, pixels, scale=0.5).scale == 0.5


@pytest.mark.parametrize(
    "pixels",
    [
        counting(6, 8, 8, dtype=np.float32),
        counting(6, 8, 8, dtype=np.float32) / 10 + 0.05,
        np.where(counting(6, 8, 8) == 7, 3.0, 0.0),
    ],
)
def test_floats_that_look_like_bytes(pixels: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.scale=0\.00392156862745098 ") as error:
        loaded(tmp_path, pixels)
    assert error.value.field == "path"
    assert loaded(tmp_path, pixels, scale=1.0).scale == 1.0


@pytest.mark.parametrize(
    "pixels",
    [
        counting(6, 8, 8) / 250,  # in [0, 1]
        counting(6, 8, 8) / 50 - 2.5,  # standardized
        counting(6, 8, 8) - 120.5,  # centred
        (counting(6, 8, 8) % 3).astype(np.float32),  # three grey levels
        counting(6, 64).astype(np.float32),  # rows of numbers, not images
    ],
)
def test_other_floats(pixels: np.ndarray, tmp_path: Path) -> None:
    assert loaded(tmp_path, pixels).scale == 1.0


def test_all_keys(tmp_path: Path) -> None:
    source = loaded(
        tmp_path,
        counting(6, 4, 4),
        x_val=counting(3, 4, 4),
        y_val=np.array([[0], [1], [2]], np.uint8),
        x_test=counting(2, 4, 4),
        y_test=np.array([2, 0], np.int16),
        classes=np.array(["<b>", "två", ""]),
    )
    validate_data(source)
    assert source.val is not None
    assert source.val.labels.tolist() == [0, 1, 2]
    assert source.test is not None
    assert source.test.labels.tolist() == [2, 0]
    assert {images.labels.dtype for images in source.splits.values()} == {torch.int64}
    assert source.classes == ("<b>", "två", "")
    assert source.name == "mine"
    assert source.path == str(tmp_path / "mine.npz")


def test_training_arrays_alone(tmp_path: Path) -> None:
    source = loaded(tmp_path, counting(6, 4, 4))
    assert source.test is None
    assert source.val is None
    assert source.classes == ("0", "1", "2")


class Trap:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("code in the file ran",))


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "missing": ({"x_test": counting(6, 4, 4)}, r"x_train.*y_train, x_test"),
    "misspelt": ({"X_train": counting(6, 4, 4)}, "'X_train'"),
    "half a split": ({"x_train": counting(6, 4, 4), "x_test": counting(6, 4, 4)}, "x_test and y_test"),
    "objects": ({"x_train": np.array([Trap()] * 6, dtype=object)}, "pickle"),
    "text": ({"x_train": np.array(["a"] * 6)}, "x_train .<U1"),
    "complex": ({"x_train": counting(6, 4, 4).astype(complex)}, "complex128"),
    "nan labels": ({"x_train": counting(6, 4, 4), "y_train": LABELS * np.nan}, "6 of 6"),
    "one-hot": ({"x_train": counting(6, 4, 4), "y_train": np.eye(6, dtype=int)}, r"y\.argmax\(1\)"),
    "huge label": ({"x_train": counting(6, 4, 4), "y_train": LABELS * 10**12}, "2000000000000.* 6 "),
    "64 bits": ({"x_train": counting(6, 4, 4).astype(np.int64) * 10**12}, "32 bits"),
    "32 bits": ({"x_train": counting(6, 4, 4).astype(np.int64) * 10**6}, r"5000000.*data\.scale"),
}


@pytest.mark.parametrize(("arrays", "facts"), BAD.values(), ids=BAD.keys())
def test_broken_files(arrays: dict[str, Any], facts: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=facts) as error:
        npz(path=saved(tmp_path, **arrays), scale=None, groups="groups")
    assert error.value.field == "path"
    assert str(tmp_path / "mine.npz") in error.value.message


def test_ignored_labels_are_loaded(tmp_path: Path) -> None:
    for labels in (np.array([0, 1, 2, -100, 0, 1]), np.full(6, -100)):
        with pytest.raises(UserError, match="-100"):
            validate_data(loaded(tmp_path, counting(6, 4, 4), y_train=labels))


def test_nonfinite_values_are_loaded(tmp_path: Path) -> None:
    for value in (np.nan, 1e300):
        pixels = np.zeros((6, 4, 4))
        pixels[1, 2, 3] = value
        with pytest.raises(UserError, match="image 1"):
            validate_data(loaded(tmp_path, pixels, scale=1.0))


def test_empty_splits_are_loaded(tmp_path: Path) -> None:
    empty = np.zeros((0, 4, 4), np.uint8)
    with pytest.raises(UserError, match="test split"):
        validate_data(loaded(tmp_path, counting(6, 4, 4), x_test=empty, y_test=LABELS[:0]))
    with pytest.raises(UserError, match="train split"):
        validate_data(loaded(tmp_path, empty, y_train=LABELS[:0]))


def test_missing_file(tmp_path: Path) -> None:
    saved(tmp_path)
    with pytest.raises(UserError, match=r"mine2\.npz.*'mine\.npz'"):
        npz(path=str(tmp_path / "mine2.npz"), scale=None, groups="groups")


def test_torn_files(tmp_path: Path) -> None:
    intact = Path(saved(tmp_path, x_train=np.random.default_rng(0).integers(0, 255, (6, 40, 40)))).read_bytes()
    np.save(tmp_path / "array.npy", LABELS)
    flipped = bytearray(intact)
    flipped[len(intact) // 2] ^= 1
    np.savez_compressed(tmp_path / "packed.npz", x_train=np.arange(9999) ** 2, y_train=LABELS)
    packed = bytearray((tmp_path / "packed.npz").read_bytes())
    packed[100:140] = bytes(40)
    for content in (
        b"",
        b"hello",
        bytes(packed),
        intact[: len(intact) // 2],
        bytes(flipped),
        (tmp_path / "array.npy").read_bytes(),
    ):
        (tmp_path / "torn.npz").write_bytes(content)
        with pytest.raises(UserError) as error:
            npz(path=str(tmp_path / "torn.npz"), scale=None, groups="groups")
        assert error.value.field == "path"
    with pytest.raises(UserError):
        npz(path=str(tmp_path), scale=None, groups="groups")


@pytest.mark.parametrize("scale", [0, -1, float("nan"), "1/255"])
def test_invalid_scale(scale: float, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        loaded(tmp_path, counting(6, 4, 4), scale=scale, groups="groups")
    assert error.value.field == "scale"


@pytest.mark.parametrize("key", ["groups", "groups_train"])
@pytest.mark.parametrize("values", [[7, 7, 3, 3, 5, 5], ["b", "b", "B", "B", "a", "a"]])
def test_groups(key: str, values: list[object], tmp_path: Path) -> None:
    pixels = counting(6, 5, 4)
    path = saved(
        tmp_path, x_train=pixels, x_test=pixels[:3], y_test=LABELS[:3], x_val=pixels[:3], y_val=LABELS[:3],
        **{key: np.array(values), "groups_test": np.array([[values[2]], [values[0]], [values[0]]])},
    )  # fmt: skip
    source = npz(path=path, scale=None, groups="groups")
    assert source.train.groups is not None
    numbers = source.train.groups.tolist()
    assert len(set(numbers)) == 3
    assert [numbers[i] == numbers[i + 1] for i in range(5)] == [True, False, True, False, True]
    assert source.test is not None
    assert source.test.groups is not None
    assert source.test.groups.tolist() == [numbers[2], numbers[0], numbers[0]]
    assert source.val is not None
    assert source.val.groups is None
    assert npz(path=path, scale=None, groups=None).train.groups is None


def test_groups_of_another_name(tmp_path: Path) -> None:
    path = saved(tmp_path, x_train=counting(6, 5, 4), patient=np.array([1, 1, 2, 2, 3, 3]))
    assert npz(path=path, scale=None, groups="groups").train.groups is None
    assert npz(path=path, scale=None, groups="patient").train.groups is not None
    with pytest.raises(UserError, match="'patient'") as error:
        npz(path=path, scale=None, groups="patien")
    assert error.value.field == "groups"


@pytest.mark.parametrize(
    "arrays",
    [
        {"groups": np.zeros(6)},
        {"groups": np.arange(5)},
        {"groups": np.zeros((6, 2), int)},
        {"groups": np.zeros(6, int)},
        {"groups_test": np.arange(6), "x_test": np.zeros((6, 5, 4), np.uint8), "y_test": LABELS},
    ],
)
def test_invalid_groups(arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        npz(path=saved(tmp_path, x_train=counting(6, 5, 4), **arrays), scale=None, groups="groups")
    assert error.value.field == "groups"


def test_one_label_that_holds_or_not(tmp_path: Path) -> None:
    labels = np.arange(12)[:, None] % 2
    path = saved(tmp_path, x_train=np.zeros((12, 4, 4), np.uint8), y_train=labels)
    several, one = (npz(path=path, scale=None, groups=None, task=task) for task in ("multilabel", "auto"))
    assert several.train.labels.tolist() == labels.tolist()
    assert one.train.labels.tolist() == labels[:, 0].tolist()
