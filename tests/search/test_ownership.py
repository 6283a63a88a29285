"""Who makes a study, who goes on with it, and who is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.search.plan import SearchPlan
from pipeline.search.settings import SearchSettings
from pipeline.search.study.heartbeat import WorkerIdentity
from pipeline.search.study.ownership import delete_study, open_or_join_study
from pipeline.search.study.round_study import RoundStudy
from pipeline.search.study.storage import open_storage
from tests.search.test_refine import SETTINGS
from tests.search.test_round_study import ROUND, FakeWorker

PLAN = SearchPlan(("search=coarse",), ("optimizer.lr=interval(0.1,1)",), None, "/outputs/run/search_1", "1")
JOINING = dataclasses.replace(SETTINGS, join=True)


def join(
    folder: Path, plan: SearchPlan = PLAN, *, me: WorkerIdentity | None = None, settings: SearchSettings = SETTINGS
) -> int:
    return open_or_join_study(
        open_storage(None, folder), "s", ROUND, plan, settings=settings, me=me or WorkerIdentity()
    )


def working(folder: Path, me: WorkerIdentity) -> None:
    """`me` gives a sign of life in the first round."""
    storage = open_storage(None, folder)
    RoundStudy(storage, "s.0", 0, round=ROUND, me=me, settings=SETTINGS, offset=0).signs.send(now=True)


def test_the_first_to_come_makes_it_and_the_same_command_goes_on(tmp_path: Path) -> None:
    made = join(tmp_path)
    assert open_storage(None, tmp_path).get_study_user_attrs(made)["plan"]["fingerprint"] == "1"
    working(tmp_path, FakeWorker(alive=False))
    assert join(tmp_path) == made


@pytest.mark.parametrize("settings", [SETTINGS, JOINING], ids=["alone", "joining"])
def test_another_search_is_refused_and_its_command_told(settings: SearchSettings, tmp_path: Path) -> None:
    join(tmp_path)
    with pytest.raises(UserError, match="python -m pipeline search=coarse") as error:
        join(tmp_path, dataclasses.replace(PLAN, fingerprint="2"), settings=settings)
    assert error.value.field == "search.study"


@pytest.mark.parametrize(
    ("plan", "me"),
    [(dataclasses.replace(PLAN, directory="/elsewhere"), WorkerIdentity()), (PLAN, FakeWorker(host="another"))],
    ids=["another directory", "another machine"],
)
def test_a_second_directory_is_refused_unless_it_joins(plan: SearchPlan, me: WorkerIdentity, tmp_path: Path) -> None:
    made = join(tmp_path)
    with pytest.raises(UserError, match="/outputs/run/search_1") as error:
        join(tmp_path, plan, me=me)
    assert error.value.field == "search.storage"
    assert join(tmp_path, plan, me=me, settings=JOINING) == made


def test_while_another_works_on_it_nobody_joins_by_chance(tmp_path: Path) -> None:
    made, other = join(tmp_path), FakeWorker()
    working(tmp_path, other)
    with pytest.raises(UserError, match=f"process {other.heartbeat_text()['pid']}") as error:
        join(tmp_path)
    assert error.value.field == "search.join"
    assert join(tmp_path, settings=JOINING) == made


def test_what_could_not_begin_is_forgotten_with_its_empty_folders(tmp_path: Path) -> None:
    made, storage = join(tmp_path), open_storage(None, tmp_path)
    folder = tmp_path / "outputs" / "run" / "search_1"
    folder.mkdir(parents=True)
    (folder / "journal.log").write_text("")
    (tmp_path / "outputs" / "kept").write_text("")
    delete_study(storage, made, folder)
    assert not storage.get_all_studies()
    assert [path.name for path in (tmp_path / "outputs").iterdir()] == ["kept"]
