"""Cache files are whole or not there, whatever happens while they are written or afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.storage import cache_files
from pipeline.data.storage.cache_files import cache_folder, default_cache, open_cached, write_cache
from pipeline.data.storage.decoding import digest

PIXELS = np.random.default_rng(0).integers(0, 256, (200, 1, 4, 4), dtype=np.uint8)


def write(path: Path) -> tuple[np.ndarray, dict[str, object]]:
    np.save(path, PIXELS)
    return np.array([digest(row) for row in PIXELS]), {"rows": [None] * len(PIXELS), "errors": {}}


def truncate(folder: Path) -> None:
    os.truncate(folder / "pixels.npy", (folder / "pixels.npy").stat().st_size - 100)


def overwrite(folder: Path) -> None:
    with (folder / "pixels.npy").open("r+b") as file:
        file.seek(128)
        file.write(bytes(2000))


def edit_facts(folder: Path) -> None:
    (folder / "facts.json").write_text(
        (folder / "facts.json").read_text().replace('"errors": {}', '"errors": {"3": "x"}')
    )


def empty_facts(folder: Path) -> None:
    (folder / "facts.json").write_text("[]")


def remove_digests(folder: Path) -> None:
    (folder / "digests.npy").unlink()


def empty_pixels(folder: Path) -> None:
    (folder / "pixels.npy").write_bytes(b"")


@pytest.mark.parametrize("damage", [truncate, overwrite, edit_facts, empty_facts, remove_digests, empty_pixels])
def test_damaged_files_are_made_anew(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    folder = tmp_path / "cache" / "key"
    assert open_cached(folder) is None
    write_cache(folder, write)
    assert open_cached(folder) is not None
    damage(folder)
    assert open_cached(folder) is None
    assert np.array_equal(write_cache(folder, write).pixels, PIXELS)
    assert [entry.name for entry in folder.parent.iterdir()] == ["key"]


def test_nothing_is_left_of_a_failure(tmp_path: Path) -> None:
    def fail(path: Path) -> tuple[np.ndarray, dict[str, object]]:
        write(path)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_cache(tmp_path / "key", fail)
    assert list(tmp_path.iterdir()) == []


def test_two_that_write_at_once(tmp_path: Path) -> None:
    """The second finds the first one's file in its way, and takes it."""

    def write_during(path: Path) -> tuple[np.ndarray, dict[str, object]]:
        write_cache(tmp_path / "key", write)
        return write(path)

    assert np.array_equal(write_cache(tmp_path / "key", write_during).pixels, PIXELS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-S", "-c", ""])
    ended.wait()
    for pid in (ended.pid, os.getpid()):
        (tmp_path / f"{cache_files._unfinished(tmp_path / 'key')}{pid}-0").mkdir()
    write_cache(tmp_path / "key", write)
    left = [entry.name for entry in tmp_path.iterdir() if entry.name != "key"]
    assert len(left) == 1  # that of a process that still writes
    assert f"-{os.getpid()}-" in left[0]


def test_what_is_remembered(tmp_path: Path) -> None:
    cached, calls = write_cache(tmp_path / "key", write), []

    def measure() -> dict[str, int]:
        calls.append(1)
        return {"n": len(calls)}

    assert [cached.remember(key, measure) for key in ("a", "a", "b")] == [{"n": 1}, {"n": 1}, {"n": 2}]


def test_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/there")
    assert default_cache() == Path("/there/staged-training-pipeline/images")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache().is_relative_to(Path.home() / ".cache")
    names = {cache_folder(Path("c"), key, shape) for key in "ab" for shape in ((1, 2), (2, 1))}
    assert len(names) == 4
