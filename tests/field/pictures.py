"""Folders of small pictures, drawn: shapes in class folders, and what people have beside them."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SHAPES = ("brick", "disc", "star")
Draw = Callable[[np.random.Generator, int], Image.Image]


def shape_mask(random: np.random.Generator, kind: int, size: tuple[int, int] = (24, 24)) -> Image.Image:
    """Return a filled rectangle, disc or triangle at a random place, 255 on 0; `size` is (width, height)."""
    mask = Image.new("L", size, 0)
    draw = ImageDraw.Draw(mask)
    half, (width, height) = int(random.integers(5, 8)), size
    x, y = (int(random.integers(half + 1, side - half)) for side in (width, height))
    box = (x - half, y - half, x + half, y + half)
    if kind % 3 == 0:
        draw.rectangle(box, fill=255)
    elif kind % 3 == 1:
        draw.ellipse(box, fill=255)
    else:
        draw.polygon([(x, y - half), (x - half, y + half), (x + half, y + half)], fill=255)
    return mask


def coloured(random: np.random.Generator, kind: int, size: tuple[int, int] = (24, 24)) -> Image.Image:
    """Return a coloured shape on a noisy ground."""
    ground = np.clip(90 + 12 * random.normal(size=(size[1], size[0], 3)), 0, 255).astype("uint8")
    picture = Image.fromarray(ground)
    colour = np.clip(
        np.array([(220, 60, 50), (60, 200, 70), (70, 90, 230)][kind % 3]) + 20 * random.normal(size=3), 0, 255
    )
    picture.paste(tuple(int(value) for value in colour), mask=shape_mask(random, kind, size))
    return picture


def clear_icon(random: np.random.Generator, kind: int) -> Image.Image:
    """Return a black shape on a clear ground: the drawing is in the alpha channel alone."""
    picture = Image.new("RGBA", (24, 24), (0, 0, 0, 0))
    picture.putalpha(shape_mask(random, kind))
    return picture


def write_classes(
    folder: Path, *, each: int = 40, classes: Sequence[str] = SHAPES, draw: Draw = coloured, ending: str = ".png"
) -> Path:
    """Write `each` pictures of every class into `folder/<class>/`, and return `folder`."""
    random = np.random.default_rng(zlib.crc32(str(folder.name).encode()))
    for kind, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            draw(random, kind).save(folder / name / f"{number:03}{ending}")
    return folder


def write_sixteen_bits(path: Path, values: np.ndarray) -> None:
    """Write a TIFF of 16-bit RGB (H, W, 3), uncompressed, which Pillow cannot write."""
    height, width, _ = values.shape
    data = values.astype("<u2").tobytes()
    entries = [  # tag, type (3: uint16, 4: uint32), count, value
        *((256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, 8 + len(data)), (259, 3, 1, 1), (262, 3, 1, 2)),
        *((273, 4, 1, 8), (277, 3, 1, 3), (278, 4, 1, height), (279, 4, 1, len(data)), (284, 3, 1, 1)),
    ]
    bits = np.array([16, 16, 16], "<u2").tobytes() + b"\0\0"
    head = b"II*\0" + np.array([8 + len(data) + len(bits)], "<u4").tobytes()
    table = np.array([len(entries)], "<u2").tobytes()
    for tag, kind, count, value in entries:
        table += np.array([tag, kind], "<u2").tobytes() + np.array([count, value], "<u4").tobytes()
    path.write_bytes(head + data + bits + table + b"\0\0\0\0")


def spoil(path: Path) -> None:
    """Cut a file in half."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def copy_many(first: Path, names: Sequence[Path]) -> None:
    """Copy one file under many names."""
    for name in names:
        name.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(first, name)
