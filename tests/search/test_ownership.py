"""Who creates a study, who continues it, and who is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.search.plan import JOURNAL, SearchPlan, SearchRequest
from pipeline.search.space.trial_configs import TrialConfigs
from pipeline.search.study.heartbeat import WorkerIdentity
from pipeline.search.study.ownership import delete_study, open_or_join_study
from pipeline.search.study.round_study import RoundStudy
from tests.search.studies import ROUND, SETTINGS, FakeWorker, journal_in

REQUEST = SearchRequest(("search=coarse",), ("optimizer.lr=interval(0.1,1)",), None, "/outputs/run/search_1", "1")


def plan_in(storage_dir: Path, *, join: bool = False, **changes: str) -> SearchPlan:
    """Return a plan with its journal in `storage_dir`; `changes` are those of the request."""
    request = dataclasses.replace(REQUEST, **changes)
    settings = dataclasses.replace(SETTINGS, storage=str(storage_dir / JOURNAL), join=join)
    return SearchPlan(request, settings, TrialConfigs((), ROUND.parameters), ROUND, "s", request.command())


def send_heartbeat(directory: Path, identity: WorkerIdentity) -> None:
    storage = journal_in(directory)
    study = RoundStudy(storage, "s.0", 0, search_round=ROUND, identity=identity, settings=SETTINGS, offset=0)
    study.heartbeats.send(now=True)


def test_first_creates_and_same_command_continues(tmp_path: Path) -> None:
    open_or_join_study(plan_in(tmp_path), WorkerIdentity())
    storage = journal_in(tmp_path)
    assert storage.get_study_user_attrs(0)["plan"]["fingerprint"] == "1"
    send_heartbeat(tmp_path, FakeWorker(alive=False))
    open_or_join_study(plan_in(tmp_path), WorkerIdentity())
    assert len(journal_in(tmp_path).get_all_studies()) == 1


@pytest.mark.parametrize("join", [False, True])
def test_another_search(join: bool, tmp_path: Path) -> None:
    """It is refused, and the error names the command of the search that the study belongs to."""
    open_or_join_study(plan_in(tmp_path), WorkerIdentity())
    with pytest.raises(UserError) as error:
        open_or_join_study(plan_in(tmp_path, fingerprint="2", join=join), WorkerIdentity())
    assert error.value.field == "search.study"
    assert REQUEST.command() in error.value.message


@pytest.mark.parametrize(
    ("changes", "identity"),
    [({"directory": "/elsewhere"}, WorkerIdentity()), ({}, FakeWorker(host="another"))],
    ids=["another directory", "another host"],
)
def test_another_place(changes: dict[str, str], identity: WorkerIdentity, tmp_path: Path) -> None:
    """A process of another directory or host takes part only with `search.join`."""
    open_or_join_study(plan_in(tmp_path), WorkerIdentity())
    with pytest.raises(UserError) as error:
        open_or_join_study(plan_in(tmp_path, **changes), identity)
    assert error.value.field == "search.storage"
    assert "/outputs/run/search_1" in error.value.message
    open_or_join_study(plan_in(tmp_path, join=True, **changes), identity)


def test_second_process(tmp_path: Path) -> None:
    """While another process works on the search, it takes part only with `search.join`."""
    open_or_join_study(plan_in(tmp_path), WorkerIdentity())
    other = FakeWorker()
    send_heartbeat(tmp_path, other)
    with pytest.raises(UserError) as error:
        open_or_join_study(plan_in(tmp_path), WorkerIdentity())
    assert error.value.field == "search.join"
    assert str(other.pid) in error.value.message
    open_or_join_study(plan_in(tmp_path, join=True), WorkerIdentity())


def test_delete_study(tmp_path: Path) -> None:
    """Nothing is left of the search but directories that hold something else."""
    directory = tmp_path / "outputs" / "run" / "search_1"
    directory.mkdir(parents=True)
    (directory / "report.html").write_text("")
    (tmp_path / "outputs" / "other").write_text("")
    plan = plan_in(tmp_path, directory=str(directory))
    delete_study(open_or_join_study(plan, WorkerIdentity()), plan)
    assert not journal_in(tmp_path).get_all_studies()
    assert [path.name for path in (tmp_path / "outputs").iterdir()] == ["other"]
