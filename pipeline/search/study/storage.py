"""The storage of studies: a journal file, or a database that is given by its URL."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage, JournalStorage, RDBStorage, get_storage

from pipeline.errors import UserError
from pipeline.search.study.journal import LockedJournal, may_be_journal

Storage = BaseStorage

CONNECT_TIMEOUT = 10
"""Seconds to wait for the answer of a database server."""
LOCK_TIMEOUT = 60
"""Seconds to wait until another process has written to an SQLite file."""
CREATION_ATTEMPTS = 5
"""Attempts to open a database, while other processes create its tables."""


def open_storage(address: str) -> Storage:
    """Open a storage: a database if `address` is a URL, and otherwise a journal file of that path.

    Raise `UserError` if it cannot be used.
    """
    return _open_database(address) if "://" in address else _open_journal(Path(address))


def _open_journal(path: Path) -> Storage:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not may_be_journal(path):
            raise ValueError("it is another kind of file")
        return JournalStorage(LockedJournal(path))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{str(path)!r} cannot be used as a journal file: {error}.", field="search.storage") from error


def _open_database(url: str) -> Storage:
    for attempt in range(CREATION_ATTEMPTS):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return get_storage(RDBStorage(_with_driver(url), engine_kwargs=_engine_options(url)))
        except ImportError as error:
            raise UserError(
                f"{url!r} needs a driver that is not installed ({error}). "
                "For PostgreSQL: pip install 'staged-training-pipeline[postgres]'.",
                field="search.storage",
            ) from error
        except Exception as error:  # each database has exceptions of its own
            if attempt == CREATION_ATTEMPTS - 1 or not _is_creation_race(error):
                reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
                raise UserError(f"{url!r} cannot be used: {reason}", field="search.storage") from error
            time.sleep(0.2 * (attempt + 1))
    raise AssertionError("unreachable")


def _with_driver(url: str) -> str:
    if url.startswith(("postgresql://", "postgres://")):
        return "postgresql+psycopg://" + url.partition("://")[2]
    return url


def _engine_options(url: str) -> dict[str, Any]:
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": LOCK_TIMEOUT}}
    return {"connect_args": {"connect_timeout": CONNECT_TIMEOUT}, "pool_pre_ping": True}


def _is_creation_race(error: Exception) -> bool:
    """Whether another process created the tables at the same moment."""
    message = str(error).lower()
    return "already exists" in message or "duplicate key" in message or "unique" in message
