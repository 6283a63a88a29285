"""The data sets of the cases written as files, and the builders of those made from the embedded data or of tables.

More builders: [copies.py](copies.py) has leaks between splits, [pictures.py](pictures.py) drawn colour images,
[folders.py](folders.py) folders of image files, and [second_data.py](second_data.py) those of the second unseen set.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.sources import embedded
from tests.faults.builders import BUILDERS, FOLDER_BUILDERS, Array, Arrays, builder, generator


def is_folder(recipe: Mapping[str, Any]) -> bool:
    """Return whether `recipe` describes a folder of images, not a .npz file."""
    return recipe["of"] in FOLDER_BUILDERS


def build(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the builder named under `of` makes with the other entries: arrays, or images by path."""
    arguments = {key: value for key, value in recipe.items() if key != "of"}
    return {**FOLDER_BUILDERS, **BUILDERS}[recipe["of"]](**arguments)


def write(recipe: Mapping[str, Any], folder: Path) -> Path:
    """Write the .npz file or the folder of images that `recipe` describes, unless it exists."""
    key = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:10]
    path = folder / f"{recipe['of']}_{key}{'' if is_folder(recipe) else '.npz'}"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    made = build(recipe)
    if not is_folder(recipe):
        np.savez(path, **made)  # type: ignore[arg-type]
        return path
    for name, image in made.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(path / name)
    return path


@builder
def fashion(train: int = 1500, val: int = 300, test: int = 500, classes: int = 10) -> Arrays:
    """Clothes of the first `classes` classes as uint8, in random order, with about as many of each class."""
    source = embedded.fashion_mnist_5k()
    assert source.test is not None
    shuffled = generator().permutation(len(source.train.labels))
    x, y = source.train.pixels[:, 0].numpy()[shuffled], source.train.labels.numpy()[shuffled]
    x_test, y_test = source.test.pixels[:, 0].numpy(), source.test.labels.numpy()
    x, y = x[y < classes], y[y < classes]
    order = generator().permutation(np.flatnonzero(y_test < classes))[:test]
    return {
        "x_train": x[val : val + train], "y_train": y[val : val + train],
        "x_val": x[:val], "y_val": y[:val],
        "x_test": x_test[order], "y_test": y_test[order],
    }  # fmt: skip


@builder
def fashion_pair(first: int = 0, second: int = 1, train: int = 600) -> Arrays:
    """Two classes of clothes."""
    arrays = fashion(train=4500, val=500, test=1000)
    for part, limit in (("train", train), ("val", 100), ("test", 200)):
        labels = arrays[f"y_{part}"]
        chosen = np.flatnonzero((labels == first) | (labels == second))[:limit]
        arrays[f"x_{part}"], arrays[f"y_{part}"] = (
            arrays[f"x_{part}"][chosen],
            (labels[chosen] == second).astype(np.int64),
        )
    return arrays


@builder
def colour_fashion() -> Arrays:
    """Clothes in three channels, each garment dyed at random."""
    arrays, random = fashion(), generator()
    for part in ("train", "val", "test"):
        grey = arrays[f"x_{part}"].astype(np.float32)
        dye = random.uniform(0.4, 1.0, (len(grey), 1, 1, 3)).astype(np.float32)
        arrays[f"x_{part}"] = (grey[..., None] * dye).astype(np.uint8)
    return arrays


@builder
def raw_floats(**size: int) -> Arrays:
    """Pixels 0..255 stored as floats."""
    return _each(fashion(**size), lambda x: x.astype(np.float32))


@builder
def scaled_twice(**size: int) -> Arrays:
    """Divided by 255 twice: values up to 0.004."""
    return _each(fashion(**size), lambda x: x.astype(np.float32) / 255 / 255)


@builder
def normalised(**size: int) -> Arrays:
    """Mean 0 and standard deviation 1, by the training split."""
    return _each(fashion(**size), _normalise)


@builder
def test_not_normalised() -> Arrays:
    """Training and validation images normalised, the test images left at 0..255."""
    raw = fashion()
    return _each(raw, _normalise) | {"x_test": raw["x_test"].astype(np.float32)}


@builder
def held_out_not_normalised() -> Arrays:
    """Only the training images normalised: validation and test are in [0, 1]."""
    raw = fashion()
    scaled = {f"x_{part}": raw[f"x_{part}"].astype(np.float32) / 255 for part in ("val", "test")}
    return _each(raw, _normalise) | scaled


@builder
def inverted_held_out() -> Arrays:
    """Validation and test images are negatives of the training images."""
    arrays = fashion()
    return arrays | {f"x_{part}": 255 - arrays[f"x_{part}"] for part in ("val", "test")}


@builder
def shuffled_labels(share: float = 1.0) -> Arrays:
    """`share` of the labels, in every split, are replaced by random ones."""
    arrays, random = fashion(), generator()
    for part in ("train", "val", "test"):
        labels = arrays[f"y_{part}"].copy()
        replaced = random.random(len(labels)) < share
        labels[replaced] = random.integers(0, 10, int(replaced.sum()))
        arrays[f"y_{part}"] = labels
    return arrays


@builder
def shifted_class(label: int = 1, share: float = 0.95) -> Arrays:
    """In the training split, `share` of one class carries the next class's label."""
    arrays = fashion()
    labels = arrays["y_train"].copy()
    of_class = np.flatnonzero(labels == label)
    labels[of_class[: int(share * len(of_class))]] = label + 1
    return arrays | {"y_train": labels}


@builder
def shifted_training_labels() -> Arrays:
    """The training labels are off by one, as when a list begins at 1: each class has the name of the next."""
    arrays = fashion()
    return arrays | {"y_train": (arrays["y_train"] + 1) % 10}


@builder
def imbalanced(share: float = 0.95, classes: int = 3) -> Arrays:
    """`share` of the training and validation examples are of class 0; the test split is even."""
    arrays = fashion(train=4500, val=150, classes=classes)
    for part in ("train", "val"):
        labels = arrays[f"y_{part}"]
        large = np.flatnonzero(labels == 0)
        few = max(int(len(large) * (1 - share) / share), classes - 1)
        index = generator().permutation(np.concatenate([large, np.flatnonzero(labels != 0)[:few]]))
        arrays[f"x_{part}"], arrays[f"y_{part}"] = arrays[f"x_{part}"][index], labels[index]
    return arrays


@builder
def class_missing_in_validation(label: int = 4) -> Arrays:
    """No validation image has the class `label`."""
    arrays = fashion()
    others = arrays["y_val"] != label
    return arrays | {"x_val": arrays["x_val"][others], "y_val": arrays["y_val"][others]}


@builder
def noisy(amount: float = 1.0) -> Arrays:
    """Every image is a mixture: 1 - `amount` of itself and `amount` of noise."""
    random = generator()

    def blend(x: Array) -> Array:
        return ((1 - amount) * x + amount * random.uniform(0, 255, x.shape)).astype(np.uint8)

    return _each(fashion(), blend)


@builder
def erased(left: int = 2) -> Arrays:
    """All but the top `left` rows of pixels are black."""

    def erase(x: Array) -> Array:
        x = x.copy()
        x[:, left:] = 0
        return x

    return _each(fashion(), erase)


@builder
def test_in_train() -> Arrays:
    """Most of the validation and test images are training images as well."""
    arrays = fashion()
    x = np.concatenate([arrays["x_train"], arrays["x_val"][:200], arrays["x_test"][:400]])
    y = np.concatenate([arrays["y_train"], arrays["y_val"][:200], arrays["y_test"][:400]])
    return arrays | {"x_train": x, "y_train": y}


@builder
def small_on_a_canvas(side: int = 32) -> Arrays:
    """Digits of 8 x 8 in the corner of an otherwise black canvas."""
    source = embedded.digits()
    canvas = np.zeros((len(source.train.labels), side, side), np.uint8)
    canvas[:, :8, :8] = source.train.pixels[:, 0].numpy() * 15
    return {"x_train": canvas, "y_train": source.train.labels.numpy()}


@builder
def blobs(
    features: int = 8, classes: int = 4, separation: float = 4.0, n: int = 800, units: float = 1.0, offset: float = 0.0
) -> Arrays:
    """Gaussian blobs with centres `separation` standard deviations apart; half of the features are in `units`."""
    random = generator()
    centres = random.standard_normal((classes, features)) * separation / np.sqrt(2 * features)
    y = np.arange(n) % classes
    x = centres[y] + random.standard_normal((n, features))
    x[:, : features // 2] = x[:, : features // 2] * units + offset
    return {"x_train": x.astype(np.float32), "y_train": y}


@builder
def moons(n: int = 400, noise: float = 0.1, units: float = 1.0) -> Arrays:
    """Two interleaving half circles."""
    random = generator()
    angle, y = random.uniform(0, np.pi, n), np.arange(n) % 2
    x = np.stack([np.cos(angle) * (1 - 2 * y) + y, np.sin(angle) * (1 - 2 * y) + y / 2], 1)
    return {"x_train": ((x + noise * random.standard_normal(x.shape)) * units).astype(np.float32), "y_train": y}


@builder
def passengers(n: int = 800, standardised: bool = False) -> Arrays:
    """Like the Titanic's list: class 1..3, sex, age in years, relatives, fare in pounds. Labels are partly random."""
    random = generator()
    cabin, sex = random.integers(1, 4, n), random.integers(0, 2, n)
    age, kin = random.normal(30, 14, n).clip(1, 80), random.poisson(0.5, n)
    fare = np.exp(random.normal(5 - cabin, 0.6)) * 4
    score = 5.0 * sex - 1.5 * (cabin - 2) - 0.04 * (age - 30) - 2.5
    y = (score + random.logistic(0, 0.4, n) > 0).astype(np.int64)
    x = np.stack([cabin, sex, age, kin, fare], 1).astype(np.float32)
    return {"x_train": (x - x.mean(0)) / x.std(0) if standardised else x, "y_train": y}


@builder
def packets(n: int = 900, scaled: bool = False) -> Arrays:
    """Like network packets: 11 counters of very different scale (ports, bytes, flags), three kinds of traffic."""
    random = generator()
    y = np.arange(n) % 3
    units = np.array([65535, 65535, 1500, 1, 1, 255, 1e5, 10, 1, 64, 3])
    centres = random.uniform(0.2, 0.8, (3, 11))
    x = (centres[y] + 0.12 * random.standard_normal((n, 11))).clip(0, 1)
    return {"x_train": (x if scaled else x * units).astype(np.float32), "y_train": y}


def _each(arrays: Arrays, change: Callable[[Array], Array]) -> Arrays:
    return {key: change(value) if key.startswith("x_") else value for key, value in arrays.items()}


def _normalise(x: Array) -> Array:
    return (x.astype(np.float32) / 255 - 0.286) / 0.353  # Fashion-MNIST's mean and standard deviation


from tests.faults import copies, folders, pictures, second_data  # noqa: E402, F401 - they add their builders, and use those above
