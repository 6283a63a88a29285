"""What the study uses of Optuna beyond its documented interface: each attribute must exist and mean what we think."""

from __future__ import annotations

from pathlib import Path

import optuna
from optuna.storages.journal import JournalFileBackend

from pipeline.search.study.optuna_internals import journal_path, running_trial, trial_id


def test_trial_id() -> None:
    study = optuna.create_study()
    other = optuna.create_study(storage=study._storage)
    other.enqueue_trial({})
    study.enqueue_trial({})
    (row,) = study.get_trials()
    assert row.number == 0
    assert trial_id(row) == 1
    assert study._storage.get_trial(trial_id(row)).number == 0


def test_running_trial() -> None:
    study = optuna.create_study()
    study.ask()
    claimed = trial_id(study.get_trials()[0])
    trial = running_trial(study, claimed)
    trial.suggest_float("x", 0, 1)
    assert len(study.get_trials()) == 1
    assert study.get_trials()[0].params.keys() == {"x"}


def test_journal_path(tmp_path: Path) -> None:
    assert journal_path(JournalFileBackend(str(tmp_path / "j.log"))) == tmp_path / "j.log"
