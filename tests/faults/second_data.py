"""More data sets, written without a look at the rules: sound ones, and some that went wrong on their way in."""

from __future__ import annotations

import numpy as np

from tests.faults.builders import Array, Arrays, builder, generator
from tests.faults.datasets import fashion


@builder
def barcodes() -> Arrays:
    """Bars: neighbours in a row are not alike, and those in a column are. The class is a pattern of 24 bars."""
    random, arrays = generator(), {}
    patterns = random.integers(0, 2, (5, 24)) * 120.0 + 60
    for part, number in (("train", 800), ("val", 200), ("test", 300)):
        y = random.integers(0, 5, number)
        bars = patterns[y] * random.uniform(0.7, 1.1, (number, 1)) + random.normal(0, 25, (number, 24))
        x = bars[:, None] + random.normal(0, 20, (number, 24, 24))
        arrays |= {f"x_{part}": x.clip(0, 255).astype(np.uint8), f"y_{part}": y}
    return arrays


@builder
def long_tail() -> Arrays:
    """Clothes of which each class has four fifths of the images of the one before, in all splits alike."""
    arrays = fashion(train=3800, val=700, test=1000)
    for part in ("train", "val", "test"):
        labels, kept = arrays[f"y_{part}"], []
        most = int((labels == 0).sum())
        for number in range(10):
            kept.append(np.flatnonzero(labels == number)[: int(most * 0.8**number)])
        index = generator().permutation(np.concatenate(kept))
        arrays[f"x_{part}"], arrays[f"y_{part}"] = arrays[f"x_{part}"][index], labels[index]
    return arrays


@builder
def half_precision() -> Arrays:
    """Images in [0, 1] stored as float16."""
    arrays = fashion()
    return {key: (a / 255).astype(np.float16) if key.startswith("x_") else a for key, a in arrays.items()}


@builder
def stamped() -> Arrays:
    """The photographer's white stamp in a corner, in each split alike."""
    arrays = fashion()
    return {key: _stamp(a) if key.startswith("x_") else a for key, a in arrays.items()}


def _stamp(images: Array) -> Array:
    images = images.copy()
    images[:, 1:6, 1:6] = 255
    return images


@builder
def copies_with_a_stamp(share: float = 0.6) -> Arrays:
    """`share` of the validation and test images are training images with a stamp in a corner."""
    arrays, random = fashion(), generator()
    for part in ("val", "test"):
        x, y = arrays[f"x_{part}"].copy(), arrays[f"y_{part}"].copy()
        number = int(share * len(y))
        chosen = random.choice(len(arrays["y_train"]), number, replace=False)
        x[:number], y[:number] = _stamp(arrays["x_train"][chosen]), arrays["y_train"][chosen]
        arrays[f"x_{part}"], arrays[f"y_{part}"] = x, y
    return arrays


@builder
def rows_permuted() -> Arrays:
    """The rows of every image in one wrong order, as of a file that is read in blocks."""
    arrays = fashion()
    order = generator().permutation(28)
    return {key: a[:, order] if key.startswith("x_") else a for key, a in arrays.items()}


@builder
def classes_missing_in_training() -> Arrays:
    """A sorted file was cut: the last two classes are in validation and test alone."""
    arrays = fashion()
    known = arrays["y_train"] < 8
    return arrays | {"x_train": arrays["x_train"][known], "y_train": arrays["y_train"][known]}


@builder
def few_numbers_missing() -> Arrays:
    """Images in [0, 1] as floats, where three training images have a NaN."""
    arrays = fashion()
    scaled = {key: (a / 255).astype(np.float32) if key.startswith("x_") else a for key, a in arrays.items()}
    scaled["x_train"][[100, 700, 1200], 14, 14] = np.nan
    return scaled


@builder
def test_moved() -> Arrays:
    """The test images are moved by nine pixels, around the border."""
    arrays = fashion()
    return arrays | {"x_test": np.roll(arrays["x_test"], (9, 9), (1, 2))}


@builder
def validation_labels_of_others() -> Arrays:
    """The validation images were sorted by name and their labels were not."""
    arrays = fashion()
    return arrays | {"y_val": generator().permutation(arrays["y_val"])}
