"""pictures.npz: arrays of a run that signals.json cannot hold, named `<stage>.<name>`, without pickles.

docs/signals.md lists the arrays. Pixels are uint8 of shape (..., H, W, C) with C = 1 or 3 channels.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipeline.runs.paths import UnreadableFileError, write_atomic

PICTURES = "pictures.npz"

Arrays = Mapping[str, "np.ndarray"]


def write_pictures(folder: Path, stages: Mapping[str, Arrays]) -> None:
    """Write the arrays of each stage, compressed. Without arrays no file is written."""
    arrays = {f"{stage}.{name}": array for stage, named in stages.items() for name, array in named.items()}
    if arrays:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # its stub sees allow_pickle in any **
        write_atomic(folder / PICTURES, lambda file: file.write(buffer.getbuffer()))


def read_pictures(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """Return the arrays of each stage by the stage's name, or {} if there is no file that can be read."""
    try:
        return load_pictures(folder)
    except (FileNotFoundError, UnreadableFileError):
        return {}


def load_pictures(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """Return the arrays of each stage by the stage's name.

    Raise `FileNotFoundError` if there is no file, and `UnreadableFileError` if it cannot be read.
    """
    path = folder / PICTURES
    stages: dict[str, dict[str, np.ndarray]] = {}
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            for key in file.files:
                stage, _, name = key.partition(".")
                stages.setdefault(stage, {})[name] = file[key]
    except FileNotFoundError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, TypeError, AttributeError) as error:
        raise UnreadableFileError(path, error) from error
    return stages
