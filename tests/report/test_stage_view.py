"""How stages are shown: each by a module of its name, and a new one by default."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import pipeline.report.stages
from pipeline.report.blocks import Table
from pipeline.report.expected_values import expected_table
from pipeline.report.run_files import Run
from pipeline.report.run_page import run_page
from pipeline.report.stage_view import StageData, stage_view
from tests.report.pages import PageParser

CONF = Path(__file__).resolve().parents[2] / "conf"
MODULES = {path.stem for path in Path(pipeline.report.stages.__path__[0]).glob("*.py")} - {"__init__"}
OVERFIT = {"overfit_best_loss": math.nan, "overfit_wrong": 0, "overfit_target": 0.01, "overfit_examples": 32}


def run_of(name: str, **entry: Any) -> Run:
    stage = {"name": name, "status": "passed", "seconds": 1.0, "headline": "it worked", "metrics": {}, "findings": []}
    data = {"name": "d", "fingerprint": "f", "classes": ["a"], "class_counts": {"train": [1]}, "sizes": {"train": 1}}
    record = {
        "status": "passed", "name": "run", "seed": 0, "seconds": 1.0, "tags": [], "command": "python -m pipeline",
        "config_hash": "", "resumed_from": None, "versions": {}, "fixes": [], "diagnosis": [], "data": data,
        "stages": [stage | entry],
    }  # fmt: skip
    return Run("id", record, planned=[name])


def test_modules_are_stages() -> None:
    """A module that no stage has the name of would never be used."""
    stages = {path.stem for path in (CONF / "stage").glob("*.yaml")}
    assert stages >= MODULES


@pytest.mark.parametrize("name", ["distill", "no/module", "../train", ""])
def test_unknown_stage_has_the_default(name: str) -> None:
    stage = StageData(name, run_of(name, metrics={"reached": True, "gap": 0.12345, "history": [1], "steps": 7}))
    view = stage_view(name)
    assert view.metric_rows(stage.metrics) == {"gap": 0.12345, "steps": 7}
    assert view.headline_tile(stage) == ("gap", "0.1235", "", "passed")
    [table] = view.charts(stage)
    assert isinstance(table, Table)
    assert table.rows == [["gap", 0.12345], ["steps", 7]]
    assert list(view.expected_values({})) == []


def test_new_stage_on_the_page() -> None:
    """A stage that `report/` does not know has a section with its headline, a tile and a table."""
    page = PageParser(run_page(run_of("distill", metrics={"gap": 0.125, "steps": 7})))
    assert page.links["#distill"] == "passed"
    texts = [text.strip() for text in page.texts]
    assert texts.count("0.125") == 2, "tile and table"
    assert "it worked (1.0 s)" in texts


@pytest.mark.parametrize(
    ("stage", "metrics", "rows"),
    [
        ("sanity", {"first_loss": 2.3, "lr": 0.1}, {"first_loss": 2.3}),
        ("train", {"val_accuracy": 0.5, "val_loss": None, "epochs": 3}, {"val_accuracy": 0.5}),
        ("evaluate", {"test_loss": 1.5, "test_accuracy": 0.5}, {"test_accuracy": 0.5, "test_loss": 1.5}),
    ],
)
def test_metric_rows(stage: str, metrics: dict[str, Any], rows: dict[str, float]) -> None:
    assert stage_view(stage).metric_rows(metrics) == rows


@pytest.mark.parametrize(
    ("severities", "marks"), [({}, ["", "✓"]), ({"cannot_overfit": "failure"}, ["✕ failure", "✕ failure"])]
)
def test_expected_marks(severities: dict[str, str], marks: list[str]) -> None:
    """A tick needs numbers that hold: a check may be silent because another finding explains it."""
    table = expected_table(stage_view("overfit").expected_values(OVERFIT), severities)
    assert table
    assert [row[0] for row in table.rows] == marks


def test_no_expectations_no_table() -> None:
    assert expected_table([], {}) is None
