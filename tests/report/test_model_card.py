"""model_card.md, and the intervals in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest

import pipeline
from pipeline.report.intervals import wilson_interval
from pipeline.report.model_card import MODEL_CARD, describe_node, model_card, write_model_card
from pipeline.report.run_files import Run, read_run
from pipeline.workflow.result import RunResult
from tests.small_run import SMALL


@pytest.mark.parametrize(("right", "n"), [(0, 1), (1, 1), (0, 20), (20, 20), (9, 10), (90, 100), (501, 1000), (3, 7)])
def test_wilson_interval(right: int, n: int) -> None:
    expected = binomtest(right, n).proportion_ci(method="wilson")
    assert wilson_interval(right / n, n) == pytest.approx((expected.low, expected.high), abs=1e-7)


def test_interval_of_nothing() -> None:
    assert wilson_interval(0.0, 0) == (0.0, 1.0)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    outputs = tmp_path_factory.mktemp("card")
    overrides = [*SMALL, "stage=[train,evaluate]", "stages.train.epochs=2", f"outputs={outputs}"]
    return pipeline.run(overrides, quiet=True)


def cells(card: str, section: str) -> list[list[str]]:
    """The rows of the tables in a section."""
    text = card.partition(f"## {section}\n")[2].partition("\n## ")[0]
    return [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]


def test_card_of_a_run(result: RunResult) -> None:
    card = (result.directory / MODEL_CARD).read_text()
    assert re.findall("^## (.*)$", card, re.MULTILINE) == [
        *("Data", "Recipe", "Metrics", "Findings", "Limits", "How to use it")
    ]
    metrics = result.metrics["evaluate"]
    low, high = wilson_interval(metrics["test_accuracy"], 180)
    rows = cells(card, "Metrics")
    assert ["test", "accuracy", f"{metrics['test_accuracy']:.4f}", f"{low:.3f} to {high:.3f}", "180"] in rows
    assert [row[0] for row in rows].count("validation") >= 2
    worst = min(metrics["per_class_accuracy"].values())
    by_class = [row for row in rows if len(row) == 4 and row[0].isdigit()]
    assert len(by_class) == 10
    assert by_class[0][1] == f"{worst:.3f}"
    counts = read_run(result.directory).record["data"]["class_counts"]
    assert cells(card, "Data")[2:] == [
        [str(i), *(str(counts[split][i]) for split in ("train", "val", "test"))] for i in range(10)
    ]
    recipe = {row[0]: row[1] for row in cells(card, "Recipe")}
    assert recipe["epochs"] == "2"
    assert recipe["model"].startswith("MLP (width 16")
    for finding in result.findings:
        assert f"**{finding.severity}** {finding.check}" in card
    assert str(result.directory.name) in card


def test_no_card(tmp_path: Path) -> None:
    """Without reports, and of a run that trained nothing, there is none."""
    for number, overrides in enumerate((["stage=[train]", "stages.train.epochs=1", "report=false"], ["stage=sanity"])):
        run = pipeline.run([*SMALL, f"outputs={tmp_path / str(number)}", *overrides], quiet=True)
        assert not (run.directory / MODEL_CARD).exists()
    assert write_model_card(run.directory) is None


def test_names_are_no_markup(result: RunResult) -> None:
    run = read_run(result.directory)
    record: dict[str, Any] = {**run.record}
    record["data"] = {**record["data"], "classes": ["a|b", "<b>", "`x`", *"3456789"], "name": "x\n# y"}
    card = model_card(Run(run.id, record), {})
    assert "a\\|b" in card
    assert "<b>" not in card
    assert "\n# y" not in card


def test_describe_node() -> None:
    node = {
        "_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1, "fused": None, "max_lr": "${times:1,2}",
        "inner": {"_target_": "a.B", "x": 1},
    }  # fmt: skip
    assert describe_node(node) == "SGD (lr 0.1, B (x 1))"
    assert describe_node({"l2": 0.5}) == "l2 0.5"
