"""Folders of runs, and files in them that appear whole or not at all."""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import UserError


def new_run_id() -> str:
    """`2026-01-31_23-59-59_1f0c9a3e77b2`: sorts by time; 48 random bits keep runs of one second apart."""
    return f"{datetime.datetime.now():%Y-%m-%d_%H-%M-%S}_{secrets.token_hex(6)}"


def write_atomic(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Create or replace `path` in one move: write beside it, fsync, rename. A reader sees the old file or the new one.

    The temporary file lies in the same folder, since a rename across file systems is a copy that a kill can tear.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    write_atomic(path, lambda file: file.write(text.encode()))


def update_latest_link(run: Path, outputs: Path) -> None:
    """Let `<outputs>/latest` point to `run`, by rename, so that it never points nowhere."""
    link = outputs / "latest"
    if link.exists() and not link.is_symlink():
        return  # somebody's own folder of that name
    beside = outputs / f".latest.{secrets.token_hex(4)}"
    with contextlib.suppress(OSError):  # file systems without symbolic links do without
        beside.symlink_to(os.path.relpath(run, outputs), target_is_directory=True)
        beside.replace(link)


def check_working_folder() -> None:
    """Raise a `UserError` where the folder that the shell stands in was removed meanwhile."""
    try:
        Path.cwd()
    except OSError as error:
        raise UserError("the folder you are in no longer exists; `cd` to one that does.") from error


def check_name(name: object) -> None:
    """A run's name is one folder's name: no separators, no leading dot."""
    if not isinstance(name, (str, int, float)) or not re.fullmatch(r"[\w][\w.+-]{0,99}", str(name)):
        raise UserError(
            f"{name!r} cannot name a folder: use letters, digits, '_', '-', '+' and '.', not first.", field="name"
        )


def check_writable(outputs: Path) -> None:
    """Raise a `UserError` unless a folder can be made and a file written under `outputs`; leaves nothing behind."""
    try:
        there = next(folder for folder in [outputs, *outputs.parents] if folder.exists())
        # the missing folders are tried out in one of our own, so that runs that start together never share one
        with tempfile.TemporaryDirectory(dir=there, prefix=".") as own:
            (Path(own) / outputs.relative_to(there)).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot write to the folder {str(outputs)!r} ({error.strerror or error}). "
            "Choose another: outputs=some/folder.",
            field="outputs",
        ) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """The rename itself survives a power cut only once the folder is synced; not every file system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
