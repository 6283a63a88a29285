"""Directories of runs, and files in them that appear whole or not at all."""

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

CHECKPOINTS, FINETUNE = "checkpoints", "finetune"
"""Folders of a run: the checkpoints of the training, and the second training with checkpoints of its own."""


class UnreadableFileError(Exception):
    """A file of a run exists and cannot be read: cut off, of another version, or not permitted."""

    def __init__(self, path: Path, reason: object):
        super().__init__(f"{path.name} cannot be read: {reason}")
        self.path = path


def new_run_id() -> str:
    """Return a name such as `2026-01-31_23-59-59_1f0c9a3e77b2`.

    Names sort by time, and 48 random bits tell runs of the same second apart.
    """
    return f"{datetime.datetime.now():%Y-%m-%d_%H-%M-%S}_{secrets.token_hex(6)}"


def checkpoint_file(directory: Path, name: str) -> Path:
    """Return the path of the checkpoint `name` (best or last) of the run in `directory`: that of its last training."""
    finetuned = directory / FINETUNE / CHECKPOINTS / f"{name}.ckpt"
    return finetuned if finetuned.is_file() else directory / CHECKPOINTS / f"{name}.ckpt"


def run_of_checkpoint(path: Path) -> Path:
    """Return the directory of the run that wrote the checkpoint `path`."""
    directory = path.parent.parent
    is_second = directory.name == FINETUNE and (directory.parent / CHECKPOINTS).is_dir()
    return directory.parent if is_second else directory


def write_atomic(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Create or replace `path` in one move, so that a reader sees the old file or the new one.

    `write(file)` fills a temporary file, which is synced and renamed. It lies in the same directory, since a rename
    across file systems is a copy that a kill can tear. Missing directories are made.
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
    """Create or replace `path` with UTF-8 text in one move."""
    write_atomic(path, lambda file: file.write(text.encode()))


def update_latest_link(run: Path, outputs: Path) -> None:
    """Make `<outputs>/latest` point to `run`, by a rename, so that it points to a run at any time.

    A file or directory of the user's with that name is left alone, and so are file systems without symbolic links.
    """
    link = outputs / "latest"
    if link.exists() and not link.is_symlink():
        return
    temporary = outputs / f".latest.{secrets.token_hex(4)}"
    with contextlib.suppress(OSError):
        temporary.symlink_to(os.path.relpath(run, outputs), target_is_directory=True)
        temporary.replace(link)


def validate_working_folder() -> None:
    """Raise `UserError` if the working directory of the shell no longer exists."""
    try:
        Path.cwd()
    except OSError as error:
        raise UserError("the folder you are in no longer exists; `cd` to one that does.") from error


def validate_name(name: object) -> None:
    """Raise `UserError` unless `name` can name a directory: no separators, no leading dot."""
    if not isinstance(name, (str, int, float)) or not re.fullmatch(r"[\w][\w.+-]{0,99}", str(name)):
        raise UserError(
            f"{name!r} cannot name a folder. Use up to 100 letters, digits, '_', '-', '+' and '.', "
            "and begin with a letter, a digit or '_'.",
            field="name",
        )


def validate_writable(outputs: Path) -> None:
    """Raise `UserError` unless a directory can be made and a file written under `outputs`. Nothing is left behind."""
    try:
        existing = next(folder for folder in [outputs, *outputs.parents] if folder.exists())
        # the missing directories are made inside a temporary one, so that runs that start together never share one
        with tempfile.TemporaryDirectory(dir=existing, prefix=".") as temporary:
            (Path(temporary) / outputs.relative_to(existing)).mkdir(parents=True, exist_ok=True)
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
    """Sync a directory, without which a rename may not survive a power cut; not every file system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
