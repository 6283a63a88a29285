"""What the study uses of Optuna beyond its documented interface: each name must exist and mean what we think."""

from __future__ import annotations

from pathlib import Path

import optuna
from optuna.storages.journal import JournalFileBackend

from pipeline.search.study.optuna_internals import journal_path, running_trial, trial_id


def test_trial_id() -> None:
    """It is the storage's number of the trial, counted over all studies."""
    storage = optuna.storages.InMemoryStorage()
    first, second = optuna.create_study(storage=storage), optuna.create_study(storage=storage)
    first.enqueue_trial({})
    second.enqueue_trial({"x": 1})
    (row,) = second.get_trials()
    assert row.number == 0
    assert storage.get_trial(trial_id(row)).system_attrs == row.system_attrs
    assert trial_id(row) != trial_id(first.get_trials()[0])


def test_running_trial() -> None:
    """It stands for the row that was claimed, and adds no other."""
    study = optuna.create_study()
    study.ask()
    trial = running_trial(study, trial_id(study.get_trials()[0]))
    trial.suggest_float("x", 0, 1)
    (row,) = study.get_trials()
    assert row.params.keys() == {"x"}


def test_journal_path(tmp_path: Path) -> None:
    assert journal_path(JournalFileBackend(str(tmp_path / "j.log"))) == tmp_path / "j.log"
