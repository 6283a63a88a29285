"""Splits that share what they should not: copies of images, windows of one scene, subjects; or that differ."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from tests.faults.builders import Array, Arrays, builder, generator
from tests.faults.datasets import fashion


def _compressed(image: Array) -> Array:
    """JPEG at quality 60."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=60)
    return np.asarray(Image.open(buffer))


def _resized(image: Array) -> Array:
    """Down to 20 pixels and back."""
    small = Image.fromarray(image).resize((20, 20), Image.Resampling.BILINEAR)
    return np.asarray(small.resize(image.shape[::-1], Image.Resampling.BILINEAR))


def _brighter(image: Array) -> Array:
    return (image * 0.8 + 30).clip(0, 255).astype(np.uint8)


def _shifted(image: Array) -> Array:
    return np.roll(image, (1, 1), (0, 1))


def _mirrored(image: Array) -> Array:
    return image[:, ::-1]


COPIES: dict[str, Callable[[Array], Array]] = {
    "compressed": _compressed, "resized": _resized, "brighter": _brighter, "shifted": _shifted, "mirrored": _mirrored,
}  # fmt: skip


@builder
def copied(how: str = "compressed", share: float = 0.6) -> Arrays:
    """`share` of the validation and test images are altered copies of training images."""
    arrays, random = fashion(), generator()
    for part in ("val", "test"):
        x, y = arrays[f"x_{part}"].copy(), arrays[f"y_{part}"].copy()
        number = int(share * len(y))
        chosen = random.choice(len(arrays["y_train"]), number, replace=False)
        x[:number] = np.stack([COPIES[how](image) for image in arrays["x_train"][chosen]])
        y[:number] = arrays["y_train"][chosen]
        arrays[f"x_{part}"], arrays[f"y_{part}"] = x, y
    return arrays


def _terrain(random: np.random.Generator, kind: int, side: int = 140) -> Array:
    """Smooth noise as a scene (side, side): the kind sets how coarse it is and in which direction it is drawn out."""
    noise = Image.fromarray(random.integers(0, 256, (side, side)).astype(np.uint8))
    smooth = np.asarray(noise.filter(ImageFilter.GaussianBlur(1 + kind % 2)), np.float32)
    if kind >= 2:
        smooth = (smooth + np.roll(smooth, 2, 0) + np.roll(smooth, -2, 0) + np.roll(smooth, 4, 0)) / 4
    return ((smooth - smooth.mean()) / smooth.std() * 50 + 128).clip(0, 255).astype(np.uint8)


def _windows(scene: Array, stride: int, side: int = 20) -> Array:
    starts = range(0, len(scene) - side + 1, stride)
    return np.stack([scene[i : i + side, j : j + side] for i in starts for j in starts])


@builder
def windows(apart: bool = False) -> Arrays:
    """Windows of 20 x 20 of aerial scenes. They overlap, and are dealt to the splits at random; or scenes `apart`."""
    random = generator()
    if apart:
        parts = {"train": (2, 8), "val": (1, 12), "test": (1, 9)}
        made = {}
        for part, (scenes, stride) in parts.items():
            cut = [_windows(_terrain(random, kind), stride) for kind in range(4) for _ in range(scenes)]
            y = np.repeat(np.arange(4).repeat(scenes), [len(x) for x in cut])
            order = random.permutation(len(y))
            made |= {f"x_{part}": np.concatenate(cut)[order], f"y_{part}": y[order]}
        return made
    cut = [_windows(_terrain(random, kind), 6) for kind in range(4)]
    x, y = np.concatenate(cut), np.repeat(np.arange(4), [len(x) for x in cut])
    order = random.permutation(len(y))
    ends = {"train": (0, 1100), "val": (1100, 1300), "test": (1300, len(y))}
    return {f"{key}_{part}": a[order[i:j]] for part, (i, j) in ends.items() for key, a in (("x", x), ("y", y))}


@builder
def frames(length: int = 8, dealt: bool = True, with_groups: bool = False) -> Arrays:
    """Films of a garment that drifts and flickers, `length` frames each, dealt to the splits frame by frame.

    Unless `dealt` there is one split, for the program to cut. `with_groups` adds the number of each frame's film.
    """
    clothes, random = fashion(train=1600 // length, val=50, test=50), generator()
    x, y = [], []
    for image, label in zip(clothes["x_train"], clothes["y_train"], strict=True):
        for k in range(length):
            moved = np.roll(image, (k // 3, k // 2), (0, 1)).astype(np.float32)
            x.append((moved * random.uniform(0.9, 1.0) + random.normal(0, 4, image.shape)).clip(0, 255))
            y.append(label)
    order = random.permutation(len(y))
    whole = {"x": np.stack(x).astype(np.uint8)[order], "y": np.array(y)[order]}
    if with_groups:
        whole["groups"] = (np.arange(len(y)) // length)[order]
    ends = {"train": (0, 1100), "val": (1100, 1300), "test": (1300, len(y))} if dealt else {"train": (0, len(y))}
    return {f"{key}_{part}": a[i:j] for part, (i, j) in ends.items() for key, a in whole.items()}


def _turned(x: Array) -> Array:
    return np.rot90(x, axes=(1, 2)).copy()


def _upside_down(x: Array) -> Array:
    return x[:, ::-1].copy()


def _blurred(x: Array) -> Array:
    """A box of 9 x 9, which keeps the mean."""
    padded = np.pad(x.astype(np.float32), ((0, 0), (4, 4), (4, 4)), mode="edge")
    views = np.lib.stride_tricks.sliding_window_view(padded, (9, 9), axis=(1, 2))
    return views.mean((-1, -2)).astype(np.uint8)


def _transposed(x: Array) -> Array:
    return x.transpose(0, 2, 1).copy()


OTHER_TESTS: dict[str, Callable[[Array], Array]] = {
    "turned": _turned, "upside_down": _upside_down, "blurred": _blurred, "transposed": _transposed,
}  # fmt: skip


@builder
def other_test_images(how: str) -> Arrays:
    """The test images are saved another way than those of training and validation."""
    arrays = fashion()
    return arrays | {"x_test": OTHER_TESTS[how](arrays["x_test"])}


@builder
def other_test_labels() -> Arrays:
    """The classes of the test split are numbered in another order, as by another program's sorting of their names."""
    arrays = fashion()
    numbers = np.array([9, 0, 4, 1, 3, 7, 8, 5, 6, 2])
    return arrays | {"y_test": numbers[arrays["y_test"]]}


@builder
def harder_test() -> Arrays:
    """Test images with a little more noise, as of another camera: a few points of accuracy are lost, no more."""
    arrays = fashion()
    noisy = arrays["x_test"] + generator().normal(0, 6, arrays["x_test"].shape)
    return arrays | {"x_test": noisy.clip(0, 255).astype(np.uint8)}


@builder
def tiny_held_out() -> Arrays:
    """Forty validation and forty test images."""
    arrays = fashion()
    few = {f"{key}_{part}": arrays[f"{key}_{part}"][:40] for key in "xy" for part in ("val", "test")}
    return arrays | few


@builder
def spectra(subjects: int = 24, each: int = 40, apart: bool = False, with_groups: bool = False) -> Arrays:
    """Spectra of 48 numbers of `subjects`, each ill or well. What is of the illness is weak, and of the subject strong.

    The test split has subjects of its own. Training and validation share theirs unless `apart`.
    """
    random = generator()
    ill = np.arange(subjects) % 2
    own = random.normal(0, 1.0, (subjects, 48))
    sign = np.zeros(48)
    sign[:12] = 0.45
    of = np.repeat(np.arange(subjects), each)
    x = own[of] + np.outer(2 * ill[of] - 1, sign) + random.normal(0, 0.6, (len(of), 48))
    of_split = np.where(of >= subjects * 3 // 4, "test", "train").astype("U5")
    if apart:
        of_split[(of >= subjects * 5 // 8) & (of < subjects * 3 // 4)] = "val"
    else:
        of_split[random.permutation(np.flatnonzero(of_split == "train"))[: subjects * each // 8]] = "val"
    arrays: Arrays = {}
    for part in ("train", "val", "test"):
        index = random.permutation(np.flatnonzero(of_split == part))
        arrays |= {f"x_{part}": x[index].astype(np.float32), f"y_{part}": ill[of[index]]}
        if with_groups:
            arrays[f"groups_{part}"] = of[index]
    return arrays
