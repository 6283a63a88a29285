"""The plan of a search, and the part of it that is stored for other processes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from pipeline.config.compose import compose
from pipeline.errors import UserError
from pipeline.search.plan import SearchPlan, SearchRequest, make_plan, request_from_dict
from tests.search.shell import TINY

REQUEST = SearchRequest(
    ("search=coarse", "data=digits"), ("optimizer.lr=interval(0.1,1)",), None, "/outputs/run/search_1", "1"
)


def plan_of(*overrides: str) -> SearchPlan:
    """Return the plan of a typed command."""
    typed = [*TINY, "search=coarse", *overrides]
    return make_plan(compose(typed).with_hydra(), typed)


def test_request_is_stored_as_json() -> None:
    assert request_from_dict(json.loads(json.dumps(dataclasses.asdict(REQUEST)))) == REQUEST


def test_command() -> None:
    command = REQUEST.command(["hydra.mode=MULTIRUN", "hydra/launcher=joblib"])
    arguments = "hydra/launcher=joblib search=coarse data=digits 'optimizer.lr=interval(0.1,1)'"
    assert command == f"python -m pipeline {arguments}"


def test_command_with_config_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = dataclasses.replace(REQUEST, config_dir=str(tmp_path / "mine")).command()
    assert command.startswith("python -m pipeline --config-dir=mine search=coarse data=digits ")


def test_base_lacks_keys_of_the_search() -> None:
    request = SearchRequest(("search=coarse", "search.seed=1", "+data.x=1", "name=a", "hydra/launcher=ray"), (), None)
    assert request.base == ("+data.x=1",)


def test_fingerprint() -> None:
    """It depends on what decides the trials, and not on how they are run."""
    plan, same, other = (plan_of(*words) for words in ([], ["search.workers=1"], ["search.seed=1"]))
    assert plan.request.fingerprint == same.request.fingerprint != other.request.fingerprint


def test_default_space() -> None:
    plan = plan_of()
    assert [p.key for p in plan.first_round.parameters] == ["optimizer.lr", "regularization.l2"]
    assert (plan.first_round.name, plan.first_round.trials, plan.first_round.epochs) == ("coarse", 20, 2)
    assert plan.study_name == f"run-{plan.request.fingerprint}"


def test_search_needs_a_training() -> None:
    with pytest.raises(UserError) as error:
        plan_of("stage=[sanity]")
    assert error.value.field == "stage"
