"""Where studies are kept: a journal file, or a data base by URL."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
import warnings
import weakref
from collections.abc import Generator
from pathlib import Path
from typing import Any, BinaryIO

from optuna.storages import BaseStorage, JournalStorage, RDBStorage, get_storage
from optuna.storages.journal import JournalFileBackend

from pipeline.errors import UserError

JOURNAL = "journal.log"
BEGINNING = b'{"op_code"'
"""Of each line of Optuna's journals."""
CONNECT_TIMEOUT = 10
"""Seconds to wait for a data base to answer."""
FSYNC_SECONDS = 1.0
"""Seconds after which what was written is forced to the disk. Waiting for the disk at each of a trial's four lines, the
program keeps workers with short trials waiting."""


class LockedJournal(JournalFileBackend):
    """Optuna's journal file, with a lock that the kernel gives back when its holder is killed (Optuna's own, a file, is
    waited for 30 seconds), and with nobody waiting for the disk.

    What is written survives whatever becomes of the processes; a machine that fails loses the last second (`SYNC`), and
    the trials of it run again. A line that a kill tore is cut off before the next is written: appended to it, the
    journal could not be read.
    """

    def __init__(self, path: Path):
        super().__init__(str(path))
        self._due: threading.Timer | None = None
        weakref.finalize(self, _force, self._file_path)  # also when the program ends before the second is over

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        with Path(self._file_path).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)  # a torn line that is replaced meanwhile would be read as half of each
            logs = list(super().read_logs(log_number_from))
        yield from logs

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with Path(self._file_path).open("rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
            _cut_torn_line(file)
            file.write(lines.encode())
        if self._due is None:
            self._due = threading.Timer(FSYNC_SECONDS, self._sync)
            self._due.daemon = True
            self._due.start()

    def _sync(self) -> None:
        self._due = None  # before: what is written meanwhile has a second of its own
        _force(self._file_path)


def _force(path: str) -> None:
    """To the disk, whichever process wrote it."""
    with contextlib.suppress(FileNotFoundError), Path(path).open("rb") as file:
        os.fsync(file.fileno())


def _cut_torn_line(file: BinaryIO) -> None:
    """Leaves the file at its end."""
    if end := file.seek(0, os.SEEK_END):
        file.seek(end - 1)
        if file.read(1) != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
            file.seek(0, os.SEEK_END)


def _may_be_a_journal(path: Path) -> bool:
    """Another file must not lose a last line that has no end. Empty, or torn by a kill in its first line, it may be."""
    with path.open("rb") as file:
        return BEGINNING.startswith(file.read(len(BEGINNING)))


def open_storage(url: str | None, directory: Path) -> BaseStorage:
    """The storage behind `search.storage`; raises `UserError` where it cannot be reached."""
    if url is None or "://" not in url:
        path = Path(url) if url else directory / JOURNAL
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and not _may_be_a_journal(path):
                raise ValueError("it holds something else")
            return JournalStorage(LockedJournal(path))
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{str(path)!r} is no journal that can be used: {error}", field="search.storage") from error
    if url.startswith(("postgresql://", "postgres://")):
        url = "postgresql+psycopg://" + url.partition("://")[2]
    patience = "timeout" if url.startswith("sqlite") else "connect_timeout"
    options = {
        "connect_args": {patience: CONNECT_TIMEOUT if patience == "connect_timeout" else 60},
        "pool_pre_ping": True,
    }
    if url.startswith("sqlite"):
        del options["pool_pre_ping"]
    for attempt in range(5):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return get_storage(RDBStorage(url, engine_kwargs=options))
        except ImportError as error:
            raise UserError(
                f"{url!r} needs a driver that is not installed ({error}). "
                "For PostgreSQL: pip install 'staged-training-pipeline[postgres]'.",
                field="search.storage",
            ) from error
        except Exception as error:  # each data base has its own kinds; two that begin at once trip over the tables
            if attempt == 4 or not _is_creation_race(error):
                reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
                raise UserError(f"{url!r} cannot be used: {reason}", field="search.storage") from error
            time.sleep(0.2 * (attempt + 1))
    raise AssertionError("unreachable")


def _is_creation_race(error: Exception) -> bool:
    """Whether another process made the tables at the same moment."""
    words = str(error).lower()
    return "already exists" in words or "duplicate key" in words or "unique" in words
