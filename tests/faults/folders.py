"""Folders of image files: transparency, and pictures that are not square."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from tests.faults.builders import Files, folder_builder, generator

KINDS = ("disc", "block", "cone")


def _draw(image: Image.Image, kind: int, centre: tuple[float, float], size: float, fill: object) -> None:
    """Draw a disc, a square or a triangle."""
    x, y = centre
    drawing = ImageDraw.Draw(image)
    box = (x - size, y - size, x + size, y + size)
    if kind == 0:
        drawing.ellipse(box, fill=fill)  # type: ignore[arg-type]
    elif kind == 1:
        drawing.rectangle(box, fill=fill)  # type: ignore[arg-type]
    else:
        drawing.polygon([(x, y - size), (x - size, y + size), (x + size, y + size)], fill=fill)  # type: ignore[arg-type]


@folder_builder
def icons(how: str = "flat", number: int = 600) -> Files:
    """Icons of three shapes, saved in one of these ways.

    `flat`: black on white, no transparency. `black`: black, and the ground is transparent black (RGBA). `palette`: the
    same with a palette of which one entry is transparent. `white`: white on transparent white, grey with alpha (LA).
    `coloured`: light colours on transparent black, which remain without alpha. `opaque`: alpha is 255.
    """
    random, files = generator(), {}
    for i in range(number):
        kind = i % 3
        centre, size = tuple(random.uniform(10, 14, 2)), float(random.uniform(5, 9))
        alpha = Image.new("L", (24, 24), 0)
        _draw(alpha, kind, centre, size, 255)
        files[f"{KINDS[kind]}/{i:04}.png"] = _saved(how, alpha, random)
    return files


def _saved(how: str, alpha: Image.Image, random: np.random.Generator) -> Image.Image:
    noisy = Image.fromarray(random.integers(225, 256, (24, 24, 3)).astype(np.uint8))
    if how in ("flat", "opaque"):
        noisy.paste((20, 20, 20), mask=alpha)
        return noisy if how == "flat" else noisy.convert("RGBA")
    if how == "palette":
        image = Image.fromarray((np.asarray(alpha) > 0).astype(np.uint8), "L").convert("P")
        image.putpalette([0, 0, 0, 0, 0, 0] + [0, 0, 0] * 254)
        image.info["transparency"] = 0
        return image
    if how == "white":
        image = Image.new("LA", (24, 24), (255, 0))
        image.putalpha(alpha)
        return image
    image = Image.new("RGBA", (24, 24), (0, 0, 0, 0))
    if how == "coloured":
        image.paste(noisy.convert("RGBA"), mask=alpha)
    image.putalpha(alpha)
    return image


@folder_builder
def strips(place: str = "middle", upright: bool = False, number: int = 600) -> Files:
    """Photographs three times as wide as high (or as high as wide): a shape in the `middle`, or at one `end` of it."""
    random, files = generator(), {}
    for i in range(number):
        kind = i % 3
        image = Image.fromarray(random.integers(60, 120, (24, 72, 3)).astype(np.uint8))
        x = 36 + random.uniform(-3, 3) if place == "middle" else random.choice([9, 63]) + random.uniform(-1, 1)
        _draw(image, kind, (x, 12 + random.uniform(-3, 3)), float(random.uniform(4, 7)), (220, 210, 190))
        files[f"{KINDS[kind]}/{i:04}.png"] = image.rotate(90, expand=True) if upright else image
    return files


@folder_builder
def stripes(number: int = 600) -> Files:
    """Wide pieces of striped cloth, whose ends show what the middle shows: a crop loses nothing."""
    random, files = generator(), {}
    rows, columns = np.mgrid[:24, :60]
    for i in range(number):
        kind, period = i % 3, random.uniform(5, 8)
        along = [rows, columns, rows + columns][kind]
        wave = 120 + 60 * np.sin(2 * np.pi * along / period + random.uniform(0, 6)) + random.normal(0, 20, rows.shape)
        name = ("across", "along", "slanted")[kind]
        files[f"{name}/{i:04}.png"] = Image.fromarray(wave.clip(0, 255).astype(np.uint8))
    return files
