"""The rows of a round in a journal, claimed by processes that may vanish at any moment."""

from __future__ import annotations

import dataclasses
import threading
import time
from pathlib import Path

import pytest

from pipeline.search.records import COMPLETE, CRASHED, KILLED, RUNNING, WAITING
from pipeline.search.study import heartbeat
from pipeline.search.study.round_study import RoundStudy
from tests.search.studies import (
    ROUND,
    SETTINGS,
    FakeWorker,
    complete_result,
    count_states,
    journal_in,
    open_round,
    trials_of,
)


def test_each_row_is_claimed_once(tmp_path: Path) -> None:
    many = dataclasses.replace(ROUND, trials=40)
    open_round(tmp_path, search_round=many)
    claimed: list[int] = []

    def claim_all() -> None:
        study = open_round(tmp_path, search_round=many)
        while (claim := study.claim()) is not None:
            claimed.append(claim.number)
            assert study.complete(claim, complete_result())

    threads = [threading.Thread(target=claim_all) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == list(range(40))
    assert open_round(tmp_path, search_round=many).is_finished()


def test_orphaned_rows_are_requeued(tmp_path: Path) -> None:
    """With the same parameters. A late result of their first owner does not count."""
    gone = open_round(tmp_path, FakeWorker(alive=False))
    first = gone.claim()
    ours = open_round(tmp_path)
    assert first is not None
    assert ours.requeue_orphans() == 1
    second = ours.claim()
    assert second is not None
    assert (second.number, second.params) == (first.number, first.params)
    assert not gone.complete(first, complete_result(0.9))
    assert ours.complete(second, complete_result(0.5))
    assert trials_of(ours)[second.number].score == 0.5


def test_rows_of_alive_workers_are_kept(tmp_path: Path) -> None:
    other = open_round(tmp_path, FakeWorker())
    assert other.claim() is not None
    assert open_round(tmp_path).requeue_orphans() == 0


def test_timeout_of_another_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A heartbeat of a process on another host counts until it has not changed for `HEARTBEAT_TIMEOUT`."""
    other = open_round(tmp_path, FakeWorker(host="elsewhere"))
    assert other.claim() is not None
    ours = open_round(tmp_path)
    monkeypatch.setattr(heartbeat, "HEARTBEAT_TIMEOUT", 0.1)
    assert ours.requeue_orphans() == 0
    time.sleep(0.15)
    other.heartbeats.send(now=True)
    assert ours.requeue_orphans() == 0
    time.sleep(0.15)
    assert ours.requeue_orphans() == 1


def test_row_that_kills_two_workers(tmp_path: Path) -> None:
    study = open_round(tmp_path)
    claim = study.claim()
    assert claim is not None
    assert not study.record_worker_death(claim, "SIGKILL")
    again = study.claim()
    assert again is not None
    assert again.number == claim.number
    assert study.record_worker_death(again, "SIGKILL")
    trial = trials_of(study)[claim.number]
    assert (trial.state, trial.score) == (KILLED, None)
    assert "SIGKILL" in trial.reason


def test_close_releases_claimed_rows(tmp_path: Path) -> None:
    study = open_round(tmp_path)
    study.claim()
    assert count_states(trials_of(study)) == {RUNNING: 1, WAITING: 5}
    study.close()
    assert count_states(trials_of(study)) == {WAITING: 6}
    assert study.heartbeats.all() == {}


def test_rows_of_a_killed_creator_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [t.params for t in trials_of(open_round(tmp_path / "whole"))]
    storage = journal_in(tmp_path)
    create_new_trial = storage.create_new_trial
    count = iter(range(4))

    def create_three(*args: object, **kwargs: object) -> int:
        if next(count) == 3:
            raise KeyboardInterrupt
        return create_new_trial(*args, **kwargs)  # type: ignore[arg-type]

    gone = FakeWorker(alive=False)
    RoundStudy.create(storage, "s.0", ROUND, direction="maximize", identity=gone)
    study = RoundStudy(storage, "s.0", 0, search_round=ROUND, identity=gone, settings=SETTINGS, offset=0)
    monkeypatch.setattr(storage, "create_new_trial", create_three)
    with pytest.raises(KeyboardInterrupt):
        study.enqueue_trials()
    assert [t.params for t in trials_of(open_round(tmp_path))] == expected


def test_crashed_trial(tmp_path: Path) -> None:
    study = open_round(tmp_path)
    claim = study.claim()
    assert claim is not None
    study.complete(claim, {"state": CRASHED, "reason": "ValueError: no", "scores": [float("nan")]})
    trial = trials_of(study)[claim.number]
    assert (trial.state, trial.reason, trial.score) == (CRASHED, "ValueError: no", None)


def test_trials_are_numbered_over_all_rounds(tmp_path: Path) -> None:
    study = open_round(tmp_path, index=1, offset=6)
    claim = study.claim()
    assert claim is not None
    assert study.complete(claim, complete_result())
    first = trials_of(study)[0]
    assert (first.number, first.round, first.state) == (6, 1, COMPLETE)
