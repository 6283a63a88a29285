"""pictures.npz: arrays of stages come back, and an unreadable file is no crash."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.runs.images import PICTURES, load_pictures, read_pictures, write_pictures
from pipeline.runs.paths import UnreadableFileError


def test_arrays_come_back(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"train": {"filters": np.arange(4)}, "a": {"b.c": np.zeros(1)}, "empty": {}})
    stages = read_pictures(tmp_path)
    assert stages.keys() == {"train", "a"}
    assert stages["train"]["filters"].tolist() == [0, 1, 2, 3]
    assert stages["a"].keys() == {"b.c"}


def test_no_arrays_no_file(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"train": {}})
    assert not list(tmp_path.iterdir())
    assert read_pictures(tmp_path) == {}
    with pytest.raises(FileNotFoundError):
        load_pictures(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut off"])
def test_unreadable(content: bytes, tmp_path: Path) -> None:
    (tmp_path / PICTURES).write_bytes(content)
    assert read_pictures(tmp_path) == {}
    with pytest.raises(UnreadableFileError) as error:
        load_pictures(tmp_path)
    assert error.value.path == tmp_path / PICTURES


def test_pickles_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / PICTURES, **{"train.evil": np.array([object()])})  # type: ignore[arg-type]
    with pytest.raises(UnreadableFileError):
        load_pictures(tmp_path)
