"""Small files of each kind of input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

COLOURS = {"blue": (40, 40, 200), "green": (40, 200, 40), "red": (200, 40, 40)}


def write_picture(path: Path, colour: tuple[int, int, int], *, size: tuple[int, int] = (15, 10), seed: int = 0) -> Path:
    """Write a noisy picture of a colour; `size` is width and height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).normal(0, 20, (size[1], size[0], 3))
    Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)).save(path)
    return path


def write_rows(path: Path, kind: str) -> Path:
    """Write 120 rows of 6 numbers with two targets (kind regression) or four labels (multilabel), by fixed weights."""
    random = np.random.default_rng(1)
    x, weights = random.normal(size=(120, 6)).astype(np.float32), random.normal(size=(6, 4))
    arrays: dict[str, Any] = {"x_train": x}
    if kind == "regression":
        arrays |= {"y_train": (x @ weights[:, :2] * 10 + 100).astype(np.float32), "classes": np.array(["cm", "kg"])}
    else:
        arrays |= {"y_train": (x @ weights > 0).astype(np.int64), "classes": np.array(list("abcd"))}
    np.savez(path, **arrays)
    return path


def write_table(path: Path, rows: int, *, towns: tuple[str, ...] = ("Bern", "Rome", "Oslo")) -> Path:
    """Write rows with a number that may be missing, a category, and a label that follows the number."""
    random = np.random.default_rng(rows)
    lines = ["town,age,label"]
    for i in range(rows):
        age = int(random.integers(20, 80))
        lines.append(f"{towns[i % len(towns)]},{age if i % 9 else ''},{'old' if age > 50 else 'young'}")
    path.write_text("\n".join(lines) + "\n")
    return path
