"""Where studies are kept: a journal file, or a data base by URL."""

from __future__ import annotations

import fcntl
import os
import time
import warnings
from pathlib import Path

from optuna.storages import BaseStorage, JournalStorage, RDBStorage, get_storage
from optuna.storages.journal import JournalFileBackend

from pipeline.errors import UserError

JOURNAL = "journal.log"
PATIENCE = 10
"""Seconds to wait for a data base to answer."""


class KernelLock:
    """A lock that the kernel gives back when its holder is killed: Optuna's own, a file, is waited for 30 seconds.

    A line that a kill tore is cut off before the next is written: appended to it, the journal could not be read.
    """

    def __init__(self, journal: Path):
        self.journal = journal
        self._handles: list[int] = []

    def acquire(self) -> bool:
        handle = os.open(self.journal.with_name(self.journal.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o666)
        fcntl.flock(handle, fcntl.LOCK_EX)
        self._handles.append(handle)
        self._mend()
        return True

    def release(self) -> None:
        os.close(self._handles.pop())

    def _mend(self) -> None:
        with self.journal.open("rb+") as file:
            end = file.seek(0, os.SEEK_END)
            if end == 0:
                return
            file.seek(end - 1)
            if file.read(1) != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)


def opened(url: str | None, directory: Path) -> BaseStorage:
    """The storage behind `search.storage`; raises `UserError` where it cannot be reached."""
    if url is None or "://" not in url:
        path = Path(url) if url else directory / JOURNAL
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return JournalStorage(JournalFileBackend(str(path), lock_obj=KernelLock(path)))  # type: ignore[arg-type]
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{str(path)!r} is no journal that can be used: {error}", field="search.storage") from error
    if url.startswith(("postgresql://", "postgres://")):
        url = "postgresql+psycopg://" + url.partition("://")[2]
    patience = "timeout" if url.startswith("sqlite") else "connect_timeout"
    options = {"connect_args": {patience: PATIENCE if patience == "connect_timeout" else 60}, "pool_pre_ping": True}
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
            if attempt == 4 or not _by_another(error):
                reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
                raise UserError(f"{url!r} cannot be used: {reason}", field="search.storage") from error
            time.sleep(0.2 * (attempt + 1))
    raise AssertionError("unreachable")


def _by_another(error: Exception) -> bool:
    """Whether another process made the tables at the same moment."""
    words = str(error).lower()
    return "already exists" in words or "duplicate key" in words or "unique" in words
