"""A journal file that survives the death of any process that writes to it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import weakref
from collections.abc import Generator
from pathlib import Path
from typing import Any, BinaryIO

from optuna.storages.journal import JournalFileBackend

from pipeline.search.study.optuna_internals import journal_path

LINE_START = b'{"op_code"'
"""The first bytes of each line of Optuna's journals."""
FSYNC_SECONDS = 1.0
"""Seconds after which written lines are forced to the disk. A trial writes four lines: if the program waited for the
disk at each of them, workers with short trials would wait for the program."""


class LockedJournal(JournalFileBackend):
    """Optuna's journal file with another lock, and without waiting for the disk.

    The kernel releases the lock when its owner is killed. Optuna's own lock is a file, for which other processes then
    wait 30 seconds. Written lines survive whatever happens to the processes. A machine that fails loses the lines of
    the last `FSYNC_SECONDS`, and the trials in them run again. A line that a kill tore is cut off before the next line
    is written: if that were appended to it, the journal could not be read.
    """

    def __init__(self, path: Path):
        super().__init__(str(path))
        self._path = journal_path(self)
        self._timer: threading.Timer | None = None
        weakref.finalize(self, fsync_file, self._path)  # also if the program ends before the timer

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Yield the entries of the journal from the given number on."""
        with self._path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)  # a torn line that is replaced while it is read would be half of each
            logs = list(super().read_logs(log_number_from))
        yield from logs

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append entries under the lock."""
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with self._path.open("rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
            cut_torn_line(file)
            file.write(lines.encode())
        if self._timer is None:
            self._timer = threading.Timer(FSYNC_SECONDS, self._fsync)
            self._timer.daemon = True
            self._timer.start()

    def _fsync(self) -> None:
        self._timer = None  # set before the fsync: a line that is written meanwhile starts a timer of its own
        fsync_file(self._path)


def fsync_file(path: Path) -> None:
    """Force the file to the disk, whichever process wrote it."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        os.fsync(file.fileno())


def cut_torn_line(file: BinaryIO) -> None:
    """Remove an incomplete last line, and leave the position at the end of the file."""
    if end := file.seek(0, os.SEEK_END):
        file.seek(end - 1)
        if file.read(1) != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
            file.seek(0, os.SEEK_END)


def may_be_journal(path: Path) -> bool:
    """Whether the file is a journal, possibly empty or torn by a kill in its first line.

    Any other file must not lose a last line that has no end.
    """
    with path.open("rb") as file:
        return LINE_START.startswith(file.read(len(LINE_START)))
