"""What was typed, kept in the storage for others."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from pipeline.search.plan import SearchPlan, plan_from_dict

PLAN = SearchPlan(
    ("search=coarse", "data=digits"), ("optimizer.lr=interval(0.1,1)",), None, "/outputs/run/search_1", "1"
)


def test_a_plan_is_read_back_from_the_storage() -> None:
    assert plan_from_dict(json.loads(json.dumps(dataclasses.asdict(PLAN)))) == PLAN


def test_the_command_is_what_was_typed() -> None:
    told = PLAN.command(["hydra.mode=MULTIRUN", "hydra/launcher=joblib"])
    words = "hydra/launcher=joblib search=coarse data=digits 'optimizer.lr=interval(0.1,1)'"
    assert told == f"python -m pipeline {words}"


def test_the_command_names_the_folder_of_options_that_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = dataclasses.replace(PLAN, config_dir=str(tmp_path / "mine")).command()
    assert told.startswith("python -m pipeline --config-dir=mine search=coarse data=digits ")
