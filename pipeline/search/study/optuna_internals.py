"""What this package uses of Optuna beyond its documented interface, in one place.

tests/search/test_optuna_internals.py holds each of them.
"""

from __future__ import annotations

from pathlib import Path

import optuna
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial


def trial_id(row: FrozenTrial) -> int:
    """Return the id by which the storage knows the row; the documented `number` counts within its study."""
    return row._trial_id


def running_trial(study: optuna.Study, id_: int) -> optuna.Trial:
    """Return the row with that id as a running trial.

    `Study.ask` would take the first waiting row or add one; this row was claimed before.
    """
    return optuna.Trial(study, id_)


def journal_path(backend: JournalFileBackend) -> Path:
    """Return the path of the journal file."""
    return Path(backend._file_path)
