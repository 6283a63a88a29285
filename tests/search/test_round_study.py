"""A round's rows in a journal, taken by processes that may vanish at any moment."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from optuna.storages import BaseStorage
from optuna.study import StudyDirection

from pipeline.errors import UserError
from pipeline.search.records import COMPLETE, CRASHED, KILLED, Parameter, Round, Value
from pipeline.search.space.sampling import ActiveParameters, all_parameters
from pipeline.search.study import heartbeat
from pipeline.search.study import storage as storage_module
from pipeline.search.study.heartbeat import WorkerIdentity
from pipeline.search.study.round_study import RoundStudy
from pipeline.search.study.storage import JOURNAL, open_storage
from tests.search.test_refine import SETTINGS

ROUND = Round("coarse", (Parameter("lr", "float", low=1e-4, high=1.0, log=True),), 6, 2)


class FakeWorker(WorkerIdentity):
    """Another process of this machine, which may have ended."""

    def __init__(self, *, alive: bool = True, host: str | None = None):
        super().__init__()
        self.host = host or self.host
        self.started_at = self.started_at if alive else "long ago"


def joined(
    folder: Path,
    me: WorkerIdentity | None = None,
    *,
    round: Round = ROUND,
    sampler: str = "random",
    applying: ActiveParameters = all_parameters,
) -> RoundStudy:
    """The study as a process with its own connection sees it; made and filled by the first."""
    me = me or WorkerIdentity()
    storage: BaseStorage = open_storage(None, folder)
    settings = dataclasses.replace(SETTINGS, sampler=sampler)
    RoundStudy.create(storage, "s.0", round, direction="maximize", me=me)
    study = RoundStudy(storage, "s.0", 0, round=round, me=me, settings=settings, offset=0, applying=applying)
    study.signs.send(now=True)
    if study.total_trials() is None and study.is_enqueuer():
        study.enqueue_trials()
    return study


def result(score: float = 0.5) -> dict:
    return {"state": COMPLETE, "score": score, "metrics": {"val_loss": 1.0}, "scores": [score], "seconds": 0.1}


def states(study: RoundStudy) -> Counter:
    return Counter(trial.state for trial in study.trials(lambda round, params: []))


def test_each_row_is_taken_once_by_many_at_once(tmp_path: Path) -> None:
    many = dataclasses.replace(ROUND, trials=40)
    joined(tmp_path, round=many)
    taken: list[int] = []

    def take() -> None:
        study = joined(tmp_path, round=many)
        while (claim := study.claim()) is not None:
            taken.append(claim.number)
            assert study.complete(claim, result())

    threads = [threading.Thread(target=take) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(40))
    assert joined(tmp_path, round=many).finished()


def test_rows_of_a_process_that_is_gone_wait_again_with_the_same_parameters(tmp_path: Path) -> None:
    gone = joined(tmp_path, FakeWorker(alive=False))
    first = gone.claim()
    here = joined(tmp_path)
    assert first is not None
    assert here.requeue_orphans() == 1
    again = here.claim()
    assert again is not None
    assert (again.number, again.params) == (first.number, first.params)
    assert not gone.complete(first, result(0.9))  # comes back from the dead
    assert here.complete(again, result(0.5))
    assert here.trials(lambda round, params: [])[again.number].score == 0.5


def test_rows_of_a_process_that_lives_are_left_alone(tmp_path: Path) -> None:
    other = joined(tmp_path, FakeWorker())
    assert other.claim() is not None
    assert joined(tmp_path).requeue_orphans() == 0


def test_another_machine_is_gone_after_a_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = joined(tmp_path, FakeWorker(host="elsewhere"))
    assert other.claim() is not None
    here = joined(tmp_path)
    monkeypatch.setattr(heartbeat, "HEARTBEAT_TIMEOUT", 0.3)
    assert here.requeue_orphans() == 0
    time.sleep(0.4)
    other.signs.send(now=True)
    assert here.requeue_orphans() == 0  # it spoke
    time.sleep(0.4)
    assert here.requeue_orphans() == 1  # and has been silent since


def test_a_row_that_ends_its_worker_twice_is_given_up(tmp_path: Path) -> None:
    study = joined(tmp_path)
    claim = study.claim()
    assert claim is not None
    assert not study.record_worker_death(claim, "its worker was ended by SIGKILL")
    again = study.claim()
    assert again is not None
    assert again.number == claim.number
    assert study.record_worker_death(again, "its worker was ended by SIGKILL")
    trial = study.trials(lambda round, params: [])[claim.number]
    assert (trial.state, trial.score) == (KILLED, None)
    assert "2 times" in trial.reason


def test_whoever_leaves_gives_back_what_it_took(tmp_path: Path) -> None:
    study = joined(tmp_path)
    study.claim()
    study.close()
    assert states(study) == {"waiting": 6}
    assert not study.signs.alive_peers()


def test_rows_that_a_killed_maker_left_out_are_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [t.params for t in joined(tmp_path / "whole").trials(lambda round, params: [])]
    storage = open_storage(None, tmp_path)
    made = storage.create_new_trial
    count = iter(range(4))

    def killed(*args: object, **kwargs: object) -> int:
        if next(count) == 3:
            raise KeyboardInterrupt
        return made(*args, **kwargs)  # type: ignore[arg-type]

    gone = FakeWorker(alive=False)
    RoundStudy.create(storage, "s.0", ROUND, direction="maximize", me=gone)
    study = RoundStudy(storage, "s.0", 0, round=ROUND, me=gone, settings=SETTINGS, offset=0)
    monkeypatch.setattr(storage, "create_new_trial", killed)
    with pytest.raises(KeyboardInterrupt):
        study.enqueue_trials()
    assert [t.params for t in joined(tmp_path).trials(lambda round, params: [])] == whole


def test_a_crash_is_kept_with_its_reason(tmp_path: Path) -> None:
    study = joined(tmp_path)
    claim = study.claim()
    assert claim is not None
    study.complete(claim, {"state": CRASHED, "reason": "ValueError: no", "scores": [float("nan")]})
    trial = study.trials(lambda round, params: [])[claim.number]
    assert (trial.state, trial.reason, trial.score) == (CRASHED, "ValueError: no", None)


def test_a_sampler_that_learns_chooses_when_a_row_is_taken(tmp_path: Path) -> None:
    study = joined(tmp_path, sampler="tpe")
    while (claim := study.claim()) is not None:
        assert 1e-4 <= float(claim.params["lr"]) <= 1.0  # type: ignore[arg-type]
        assert study.complete(claim, result(1 - float(claim.params["lr"])))  # type: ignore[arg-type]
    assert states(study) == {"complete": 6}


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_row_has_what_belongs_to_its_options(sampler: str, tmp_path: Path) -> None:
    """The option is chosen first, though it stands last, then what comes with it; the storage knows of no more."""
    momentum = Parameter("momentum", "float", low=0.5, high=0.9)
    optimizer = Parameter("optimizer", "choice", choices=("sgd", "momentum"))

    def applying(parameters: Sequence[Parameter], params: Mapping[str, Value]) -> Sequence[Parameter]:
        if "optimizer" not in params:
            return [optimizer]
        return [p for p in parameters if p.key != "momentum" or params["optimizer"] == "momentum"]

    study = joined(tmp_path, round=Round("coarse", (momentum, optimizer), 12, 2), sampler=sampler, applying=applying)
    while (claim := study.claim()) is not None:
        assert ("momentum" in claim.params) == (claim.params["optimizer"] == "momentum")
        assert study.complete(claim, result())
    found = [trial.params for trial in study.trials(lambda round, params: [])]
    assert {frozenset(params) for params in found} == {frozenset({"optimizer"}), frozenset({"optimizer", "momentum"})}


def test_a_torn_line_is_cut_off_before_the_next_is_written(tmp_path: Path) -> None:
    study = joined(tmp_path)
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(b'{"op_code": 6, "wor')
    assert study.claim() is not None
    assert states(joined(tmp_path)) == {"running": 1, "waiting": 5}


def test_a_process_killed_while_it_writes_stops_nobody_and_loses_no_finished_trial(tmp_path: Path) -> None:
    study = joined(tmp_path)
    claim = study.claim()
    assert claim is not None
    assert study.complete(claim, result(0.7))
    killed(
        tmp_path,
        """
        def torn(file):  # it holds the lock
            file.seek(0, os.SEEK_END)
            file.write(b'{"op_code": 6, "wor')
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)

        module._cut_torn_line = torn
        storage.set_study_user_attr(0, "written", True)
        """,
    )
    here = joined(tmp_path)
    assert "written" not in here.storage.get_study_user_attrs(here.id)
    assert here.claim() is not None
    assert joined(tmp_path).trials(lambda round, params: [])[claim.number].score == 0.7


def test_what_is_written_survives_a_kill_at_once(tmp_path: Path) -> None:
    joined(tmp_path)
    killed(
        tmp_path,
        """
        storage.set_study_user_attr(0, "written", True)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    here = joined(tmp_path)
    assert here.storage.get_study_user_attrs(here.id)["written"]


def killed(folder: Path, end: str) -> None:
    """Another process has the journal open, and kills itself."""
    code = (
        "import os, signal; from pathlib import Path; import pipeline.search.study.storage as module\n"
        f"storage = module.opened(None, Path({str(folder)!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code + textwrap.dedent(end)], check=False)
    assert done.returncode == -signal.SIGKILL


def test_nobody_reads_while_a_line_is_written(tmp_path: Path) -> None:
    study = joined(tmp_path)
    reader = threading.Thread(target=study.count_finished, daemon=True)
    with (tmp_path / JOURNAL).open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        reader.start()
        reader.join(0.3)
        assert reader.is_alive()
    reader.join(10)
    assert not reader.is_alive()


def test_the_disk_is_waited_for_once_in_a_while_and_after_the_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = open_storage(None, tmp_path)
    journal = tmp_path / JOURNAL
    forced: list[int] = []  # lines that were there

    def fsync(file: int) -> None:
        if os.path.samestat(os.fstat(file), journal.stat()):  # and not that of a test before
            forced.append(journal.read_text().count("\n"))

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(storage_module, "FSYNC_SECONDS", 0.3)
    for lines in (29, 1):
        for _ in range(lines):
            storage.create_new_study([StudyDirection.MAXIMIZE])
        written, until = journal.read_text().count("\n"), time.monotonic() + 10
        while forced[-1:] != [written] and time.monotonic() < until:
            time.sleep(0.05)
        assert forced[-1] == written
    assert len(forced) < 10


def test_the_last_lines_are_forced_to_the_disk_when_the_program_ends(tmp_path: Path) -> None:
    joined(tmp_path)
    code = (
        "import os; from pathlib import Path; from pipeline.search.study.storage import opened\n"
        f"storage = opened(None, Path({str(tmp_path)!r}))\n"
        "os.fsync = lambda file: print('forced')\n"
        "storage.set_study_user_attr(0, 'written', True)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "forced\n"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://me@localhost:1/none", "cannot be used"),
        ("mysql://x/y", "driver"),
        ("/proc/none/j.log", "journal"),
    ],
)
def test_a_storage_that_cannot_be_reached(tmp_path: Path, url: str, told: str) -> None:
    with pytest.raises(UserError, match=told) as error:
        open_storage(url, tmp_path)
    assert error.value.field == "search.storage"


@pytest.mark.parametrize("text", ["dear diary", '{"seed": 0}', "a\nb"])
def test_a_file_that_is_no_journal_is_left_as_it_is(text: str, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text(text)
    with pytest.raises(UserError, match="no journal") as error:
        open_storage(str(tmp_path / "mine"), tmp_path)
    assert error.value.field == "search.storage"
    assert (tmp_path / "mine").read_text() == text


@pytest.mark.parametrize("text", ["", '{"op', '{"op_code": 0, "wor'])
def test_a_journal_that_a_kill_left_without_a_whole_line_is_begun_again(text: str, tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_text(text)
    assert states(joined(tmp_path)) == {"waiting": ROUND.trials}
