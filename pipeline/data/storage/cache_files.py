"""Files of decoded images: one folder for each set of images, which is there as a whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import secrets
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.storage.decoding import digest

_PIXELS, _DIGESTS, _FACTS = "pixels.npy", "digests.npy", "facts.json"
_FORMAT = 1
_COMPARED = 64
"""Rows whose digest is compared when a file is opened."""


@dataclass(frozen=True)
class CachedImages:
    """The images of one folder of a cache: `pixels` (N, C, H, W), memory-mapped, and the `digests` (N,) of the rows."""

    folder: Path
    pixels: np.ndarray
    digests: np.ndarray
    facts: Mapping[str, Any]
    """What reading the images showed, as plain data."""

    def remember(self, key: str, measure: Callable[[], Any]) -> Any:
        """Return what `measure` returned for `key`, plain data, or call it and keep the result."""
        path = self.folder / f"remembered-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
        with contextlib.suppress(OSError, ValueError):
            return json.loads(path.read_text())
        value = measure()
        with contextlib.suppress(OSError):  # a folder that nobody may write to is read all the same
            _write_beside(path, json.dumps(value).encode())
        return value


def default_cache() -> Path:
    """Return the folder for decoded images below the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "staged-training-pipeline" / "images"


def cache_folder(cache: Path, key: str, shape: tuple[int, ...]) -> Path:
    """Return the folder of the images (N, C, H, W) of `shape` with `key` in `cache`."""
    return cache / hashlib.sha256(f"{_FORMAT} {key} {shape}".encode()).hexdigest()[:32]


def open_cached(folder: Path) -> CachedImages | None:
    """Return the images in `folder`; None where there are none, or what is there is damaged.

    Sizes and the digests of some rows are compared, so that a file that was cut short or written over is not used.
    """
    try:
        content = json.loads((folder / _FACTS).read_text())
        facts = content["facts"]
        pixels = np.load(folder / _PIXELS, mmap_mode="r", allow_pickle=False)
        digests = np.load(folder / _DIGESTS, allow_pickle=False)
        chosen = np.unique(np.linspace(0, len(digests) - 1, min(_COMPARED, len(digests))).astype(int))
        is_whole = (
            content["sha256"] == _sha256(facts, digests)
            and len(pixels) == len(digests)
            and all(digest(pixels[row]) == digests[row] for row in chosen if digests[row])
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None
    return CachedImages(folder, pixels, digests, facts) if is_whole else None


def write_cache(folder: Path, write: Callable[[Path], tuple[np.ndarray, Mapping[str, Any]]]) -> CachedImages:
    """Return the images that `write` puts into the file it is given; it returns their digests and facts.

    They are written beside `folder` and then renamed, so that a process that is stopped leaves nothing, and two that
    write at once both end with a whole folder. Raises `OSError` where nothing can be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder)
    beside = folder.with_name(f"{_unfinished(folder)}{os.getpid()}-{secrets.token_hex(4)}")
    beside.mkdir()
    try:
        digests, facts = write(beside / _PIXELS)
        np.save(beside / _DIGESTS, digests)
        text = json.dumps({"sha256": _sha256(facts, digests), "facts": facts})
        (beside / _FACTS).write_text(text)
        _sync(beside)
        while True:
            try:
                beside.rename(folder)
                break
            except OSError:
                if (found := open_cached(folder)) is not None:  # another process was first
                    return found
                shutil.rmtree(folder)  # damaged
        written = open_cached(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    if written is None:
        raise OSError(f"what was written to {folder} cannot be read back")
    return written


def _sha256(facts: Mapping[str, Any], digests: np.ndarray) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode() + digests.tobytes()).hexdigest()


def _sync(folder: Path) -> None:
    """Let the files reach the disk before the name says that they are whole."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _write_beside(path: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    Path(name).replace(path)


def _unfinished(folder: Path) -> str:
    """Return how the names begin of what this machine writes beside `folder`; the process id comes next."""
    return f".{folder.name}-{platform.node()}-"


def _remove_abandoned(folder: Path) -> None:
    """Remove what processes of this machine that were killed left while they wrote `folder`."""
    prefix = _unfinished(folder)
    for left in folder.parent.glob(f"{prefix}*"):
        pid = left.name.removeprefix(prefix).partition("-")[0]
        if Path("/proc/self").exists() and not Path("/proc", pid).exists():
            shutil.rmtree(left, ignore_errors=True)
