"""All image files below a folder, and what lies beside them."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath

from PIL import Image

from pipeline.errors import UserError

_NO_PICTURES = ("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF")
"""Formats that Pillow recognizes, but whose pixels it cannot read by itself."""
_SYSTEM_FOLDERS = {"__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
_SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}


@dataclass
class FoundFiles:
    """What a folder holds, as parts of paths below it; parents before their subfolders, each in order of names."""

    images: dict[tuple[str, ...], Path] = field(default_factory=dict)
    folders: list[tuple[str, ...]] = field(default_factory=list)
    foreign: list[tuple[str, ...]] = field(default_factory=list)
    """Files that have no ending of an image."""
    hidden: int = 0
    """Files and folders whose names begin with a dot, and those that operating systems leave behind."""


def find_files(root: Path) -> FoundFiles:
    """Return the files below `root`. Links are followed, but not into a folder that holds them.

    Raises `UserError` (`path`) for a folder that cannot be listed.
    """
    found, endings = FoundFiles(), image_endings()
    for folder, names in _walk(root, found):
        parts = folder.relative_to(root).parts
        for name in sorted(names):
            path = folder / name
            if _is_hidden(name) or name.lower() in _SYSTEM_FILES:
                found.hidden += 1
            elif path.suffix.lower() in endings and _is_file_or_broken_link(path):
                found.images[(*parts, name)] = path
            else:
                found.foreign.append((*parts, name))
    return found


@functools.cache
def image_endings() -> frozenset[str]:
    """Return the endings, with a dot and in lower case, of files whose pixels Pillow can read."""
    return frozenset(
        ending
        for ending, kind in Image.registered_extensions().items()
        if (kind in Image.OPEN or kind == "MPO") and kind not in _NO_PICTURES
    )


def ending_of(name: str) -> str:
    """Return the ending of a file's name, with its dot and in lower case; "" where there is none."""
    return PurePath(name).suffix.lower()


def show_path(*parts: str) -> str:
    """Return a path for people, with / between its parts and a mark for bytes that are no text."""
    return PurePosixPath(*parts).as_posix().encode(errors="surrogateescape").decode(errors="replace")


def _walk(root: Path, found: FoundFiles) -> Iterator[tuple[Path, list[str]]]:
    """Yield each folder with the names of its files; note in `found` its subfolders and what is hidden."""

    def refuse(error: OSError) -> None:
        raise UserError(f"the folder {error.filename} cannot be listed: {error.strerror}.", field="path") from error

    above = {root: frozenset({root.resolve()})}  # the real folders that each folder is in, and itself
    for directory, folders, names in os.walk(root, onerror=refuse, followlinks=True):
        here = Path(directory)
        kept = sorted(name for name in folders if not _is_hidden(name) and name not in _SYSTEM_FOLDERS)
        found.hidden += len(folders) - len(kept)
        real = {name: (here / name).resolve() for name in kept}
        folders[:] = [name for name in kept if real[name] not in above[here]]  # in place: what comes next
        above |= {here / name: above[here] | {real[name]} for name in folders}
        parts = here.relative_to(root).parts
        found.folders += [(*parts, name) for name in folders]
        yield here, names


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def _is_file_or_broken_link(path: Path) -> bool:
    """Return whether reading `path` gives a picture or an error, and does not wait as for a pipe."""
    return path.is_file() or (path.is_symlink() and not path.exists())
