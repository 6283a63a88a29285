"""pictures.npz: what a run leaves to look at that signals.json cannot hold. Arrays by `<stage>.<name>`; no pickles.

What there is stands in docs/signals.md. Pixels are uint8, (..., H, W, channels) with one channel or three.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipeline.runs.paths import write_atomic

PICTURES = "pictures.npz"

Arrays = Mapping[str, "np.ndarray"]


def write_pictures(folder: Path, stages: Mapping[str, Arrays]) -> None:
    """The arrays of each stage, compressed; no file where there are none."""
    arrays = {f"{stage}.{name}": array for stage, named in stages.items() for name, array in named.items()}
    if arrays:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        write_atomic(folder / PICTURES, lambda file: file.write(buffer.getbuffer()))


def read_pictures(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """Each stage's arrays by the stage's name; nothing where there is no file that can be read."""
    stages: dict[str, dict[str, np.ndarray]] = {}
    try:
        with np.load(folder / PICTURES, allow_pickle=False) as file:
            for key in file.files:
                stage, _, name = key.partition(".")
                stages.setdefault(stage, {})[name] = file[key]
    except (OSError, ValueError, zipfile.BadZipFile):
        return {}
    return stages
