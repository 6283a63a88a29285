"""Drawn pictures and arrays of pixels in a wrong order: channels swapped, images reshaped, classes that mirror."""

from __future__ import annotations

import numpy as np

from tests.faults.builders import BUILDERS, Array, Arrays, builder, generator
from tests.faults.datasets import fashion

SIDE = 20
COLOURS = np.array([[200, 60, 50], [60, 80, 190], [210, 180, 60], [70, 160, 90]])

GROUND = np.array([120, 135, 150])


def _figure(random: np.random.Generator, shape: int, centre: tuple[float, float] | None = None) -> Array:
    """A filled disc, square or diamond (SIDE, SIDE) as 0 and 1."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    y, x = centre or random.uniform(7, SIDE - 7, 2)
    down, right, size = abs(rows - y), abs(columns - x), random.uniform(3.5, 6)
    return [down**2 + right**2 < size**2, np.maximum(down, right) < size, down + right < 1.3 * size][shape]


@builder
def road_signs(
    train: str = "rgb", val: str = "rgb", test: str = "rgb", light: float = 0.0, shift: float = 0.0
) -> Arrays:
    """Road signs of four colours, which are the classes; any shape. Each split has its order of channels.

    `light` is the spread of the lamp's colour between photographs, and `shift` what the later splits have of yellow.
    """
    random, arrays = generator(), {}
    for part, number, order in (("train", 600, train), ("val", 200, val), ("test", 300, test)):
        y = random.integers(0, 4, number)
        x = np.empty((number, SIDE, SIDE, 3), np.float32)
        for i, label in enumerate(y):
            mask = _figure(random, int(random.integers(3)))[..., None]
            colour, ground = (c + random.normal(0, 15, 3) for c in (COLOURS[label], GROUND))
            x[i] = np.where(mask, colour, ground) * (1 + light * random.normal(0, 1, 3))
        x += random.normal(0, 10, x.shape)
        if part != "train":
            x += shift * np.array([1, 1, -1])
        channels = ["rgb".index(letter) for letter in order]
        arrays |= {f"x_{part}": x.clip(0, 255).astype(np.uint8)[..., channels], f"y_{part}": y}
    return arrays


@builder
def sepia(test: str = "rgb") -> Arrays:
    """Clothes photographed in a brownish tone; the test images perhaps in another order of channels."""
    arrays = fashion()
    for part in ("train", "val", "test"):
        tone = np.array([1.0, 0.8, 0.55]) if part != "test" or test == "rgb" else np.array([0.55, 0.8, 1.0])
        arrays[f"x_{part}"] = (arrays[f"x_{part}"][..., None] * tone).astype(np.uint8)
    return arrays


@builder
def grey_in_three() -> Arrays:
    """Grey clothes in three equal channels."""
    return _each(fashion(), lambda x: np.repeat(x[..., None], 3, -1))


def _each(arrays: Arrays, change) -> Arrays:  # type: ignore[no-untyped-def]
    return {key: change(value) if key.startswith("x_") else value for key, value in arrays.items()}


@builder
def reshaped_colours(source: str = "road_signs") -> Arrays:
    """Pixels that were stored as (N, H, W, 3), reshaped to (N, 3, H, W) where they should be transposed."""
    return _each(BUILDERS[source](), lambda x: x.reshape(len(x), 3, *x.shape[1:3]))


@builder
def reshaped_from_last() -> Arrays:
    """Stored as (H, W, N) and reshaped to (N, H, W): each image has pixels of many."""
    return _each(fashion(), lambda x: np.ascontiguousarray(x.transpose(1, 2, 0)).reshape(x.shape))


@builder
def permuted_pixels(splits: tuple[str, ...] = ("train", "val", "test")) -> Arrays:
    """One fixed permutation of the pixels, as of a table whose columns were sorted by name."""
    order = generator().permutation(28 * 28)
    arrays = fashion()
    for part in splits:
        x = arrays[f"x_{part}"]
        arrays[f"x_{part}"] = x.reshape(len(x), -1)[:, order].reshape(x.shape)
    return arrays


@builder
def sorted_by_text() -> Arrays:
    """Columns pixel0, pixel1, pixel10, pixel100, ...: sorted as words."""
    order = np.array(sorted(range(28 * 28), key=str))
    return _each(fashion(), lambda x: x.reshape(len(x), -1)[:, order].reshape(x.shape))


@builder
def swapped_bytes() -> Arrays:
    """16-bit images read with the bytes in the wrong order: the coarse half of each value becomes the fine one."""
    random = generator()

    def read(x: Array) -> Array:
        fine = x.astype(np.uint16) * 250 + random.integers(0, 250, x.shape).astype(np.uint16)
        return fine.byteswap().astype(np.int32)

    return _each(fashion(), read)


@builder
def sixteen_bits() -> Arrays:
    """The same images with the bytes in order."""
    random = generator()

    def read(x: Array) -> Array:
        return x.astype(np.int32) * 250 + random.integers(0, 250, x.shape)

    return _each(fashion(), read)


@builder
def halftone() -> Arrays:
    """Clothes printed in black dots on white, at random by their grey: a pixel says little about the next one."""
    random = generator()
    return _each(fashion(), lambda x: ((random.uniform(0, 255, x.shape) < x) * 255).astype(np.uint8))


@builder
def weaves() -> Arrays:
    """Four weaves of thread, alternating from pixel to pixel: along rows, along columns, both, and in twos."""
    random, arrays = generator(), {}
    rows, columns = np.mgrid[:16, :16]
    patterns = np.stack([rows % 2, columns % 2, (rows + columns) % 2, (rows // 2 + columns // 2) % 2])
    for part, number in (("train", 600), ("val", 200), ("test", 300)):
        y = random.integers(0, 4, number)
        start = random.integers(0, 2, (number, 2))
        x = np.stack([np.roll(patterns[k], s, (0, 1)) for k, s in zip(y, start, strict=True)]) * 60 + 90
        arrays |= {f"x_{part}": (x + random.normal(0, 30, x.shape)).clip(0, 255).astype(np.uint8), f"y_{part}": y}
    return arrays


@builder
def arrows(classes: tuple[str, ...] = ("left", "right"), number: int = 900) -> Arrays:
    """Arrows that point to the `classes`: left, right, up, down."""
    random, names = generator(), ["left", "up", "right", "down"]
    rows, columns = np.mgrid[:16, :16]
    y = random.integers(0, len(classes), number)
    x = np.empty((number, 16, 16), np.float32)
    for i, label in enumerate(y):
        tip, middle = random.uniform(2, 5), random.uniform(6, 10)
        head = (columns >= tip) & (columns < tip + 5) & (abs(rows - middle) <= (columns - tip))
        shaft = (columns >= tip + 5) & (columns < 14) & (abs(rows - middle) <= 1)
        drawn = (head | shaft) * random.uniform(120, 200) + 30
        x[i] = np.rot90(drawn, -names.index(classes[label]))
    return {"x_train": (x + random.normal(0, 15, x.shape)).clip(0, 255).astype(np.uint8), "y_train": y}


@builder
def lamps(number: int = 900) -> Arrays:
    """A lamp that is on (bright on dark) or off (dark on bright), so that the negative of one class is the other."""
    random = generator()
    y = random.integers(0, 2, number)
    masks = np.stack([_figure(random, 0) for _ in y])
    x = np.where(masks == (y == 1)[:, None, None], 190.0, 65.0) + random.normal(0, 25, masks.shape)
    return {"x_train": x.clip(0, 255).astype(np.uint8), "y_train": y}


@builder
def sixes_and_nines() -> Arrays:
    """Handwritten sixes and nines."""
    from pipeline.data.sources import embedded

    source = embedded.digits()
    x, y = source.train.pixels[:, 0].numpy(), source.train.labels.numpy()
    chosen = (y == 6) | (y == 9)
    return {"x_train": (x[chosen] * 15).astype(np.uint8), "y_train": (y[chosen] == 9).astype(np.int64)}


@builder
def crossings() -> Arrays:
    """Crosses and rings, which look the same from all sides."""
    random = generator()
    rows, columns = np.mgrid[:16, :16]
    y = random.integers(0, 2, 900)
    x = np.empty((900, 16, 16), np.float32)
    for i, label in enumerate(y):
        down, right = abs(rows - random.uniform(6, 9)), abs(columns - random.uniform(6, 9))
        ring = abs(np.hypot(down, right) - 4.5) < 1.2
        cross = (np.minimum(down, right) < 1.2) & (np.maximum(down, right) < 5.5)
        x[i] = (cross if label else ring) * random.uniform(90, 180) + 40
    return {"x_train": (x + random.normal(0, 20, x.shape)).clip(0, 255).astype(np.uint8), "y_train": y}
