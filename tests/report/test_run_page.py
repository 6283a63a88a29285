"""A run's page, from the files of real runs: what is at the top, and what each chart shows."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.report.run_files import Run, read_run
from pipeline.report.run_page import run_page, write_report
from pipeline.runs.json_files import read_outcome, read_signals
from tests.report.pages import PageParser

Runs = dict[str, Any]


def page_of(result: Any) -> PageParser:
    return PageParser((result.directory / "report.html").read_text())


def with_record(run: Run, **changes: Any) -> Run:
    return dataclasses.replace(run, record={**run.record, **changes})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("passed", r"Passed.*\d\.\d{3}\."),
        ("zeros", r"Sanity .*symmetric units in hidden\.dense1\.linear\.weight\."),
        ("exploded", r"Train .*loss exploding\."),
    ],
)
def test_headline(runs: Runs, name: str, expected: str) -> None:
    assert re.fullmatch(expected, page_of(runs[name]).headline)


@pytest.mark.parametrize(("status", "word"), [("interrupted", "resume=auto"), ("error", "train"), ("running", "train")])
def test_headline_without_an_end(runs: Runs, status: str, word: str) -> None:
    run = with_record(read_run(runs["zeros"].directory), status=status, stages=[], diagnosis=[])
    run = dataclasses.replace(run, planned=["train"])
    page = PageParser(run_page(run))
    assert word in page.headline
    assert page.links["#train"] == status


def test_a_watched_loop_has_no_configuration(runs: Runs) -> None:
    run = read_run(runs["zeros"].directory)
    data = {**run.record["data"], "classes": [], "class_counts": {}, "fingerprint": ""}
    changes = {"config_hash": "", "data": data, "status": "interrupted"}
    page = run_page(dataclasses.replace(with_record(run, **changes), images={}))
    assert PageParser(page).headline.startswith("Interrupted")
    for word in ("resume=auto", "seed 0", "fingerprint", "0 classes", "Examples per class"):
        assert word not in page


def test_remedy_is_a_command(runs: Runs) -> None:
    command = (read_outcome(runs["zeros"].directory) or {})["command"]
    assert f"{command} init=he" in page_of(runs["zeros"]).by_tag["code"]


def test_a_change_of_code_and_what_was_not_checked(runs: Runs) -> None:
    """A finding without overrides has a line of code to copy; the checks that could not judge are folded away."""
    run = read_run(runs["zeros"].directory)
    [stage] = run.record["stages"]
    cured_in_code = {"remedy": [], "advice": "Draw the weights at random.", "code": "nn.init.normal_(weight)"}
    findings = [finding | cured_in_code for finding in stage["findings"]]
    diagnosis = [entry | {"also_in": ["train"]} for entry in run.record["diagnosis"]]
    page = PageParser(run_page(with_record(run, stages=[stage | {"findings": findings}], diagnosis=diagnosis)))
    assert "nn.init.normal_(weight)" in page.by_tag["code"]
    assert "Draw the weights at random." in page.by_tag["dd"]
    assert any(title.startswith("sanity, train: symmetric_units") for title in page.by_tag["h3"])
    judged, entries = run.record["judged"], run.record["not_checked"]
    assert page.by_tag["summary"] == [f"{judged} of {judged + len(entries)} checks judged; the others could not"]
    shown = " ".join(page.by_tag["dd"])
    assert all(entry["check"] in shown for entry in entries)
    assert {entry["check"]: entry["reason"] for entry in entries}["overtrained"] == "train did not run"
    older = {key: value for key, value in run.record.items() if key not in ("judged", "not_checked")}
    assert "summary" not in PageParser(run_page(dataclasses.replace(run, record=older))).by_tag


def test_complete_from_files_alone(runs: Runs, tmp_path: Path) -> None:
    original = runs["passed"].directory
    folder = shutil.copytree(original, tmp_path / "outputs" / "passed" / original.name)
    (folder / "report.html").unlink()
    assert write_report(folder).read_text() == (original / "report.html").read_text()


def test_charts(runs: Runs) -> None:
    charts = page_of(runs["passed"]).charts
    assert charts.keys() == {
        "loss", "accuracy", "gradients", "updates", "activations-before", "activations-after", "inactive-units", "rate",
        "overfit-loss", "class-counts", "pca-before", "pca-after", "confusion", "calibration", "per-class",
        "first-gradients",
    }  # fmt: skip
    signals = read_signals(runs["passed"].directory) or {}
    losses = {trace["name"]: trace["y"] for trace in charts["loss"]["data"]}
    assert losses["validation"] == pytest.approx(signals["train"]["epochs"]["val_loss"], rel=1e-4)
    assert losses["each batch"] == pytest.approx(signals["train"]["losses"], rel=1e-4)
    row = runs["passed"].metrics["evaluate"]["confusion"][0]
    assert charts["confusion"]["data"][0]["z"][0] == pytest.approx([n / max(1, sum(row)) for n in row])
    epochs = signals["train"]["epochs"]
    gap = 100 * (epochs["probe_accuracy"][-1] - epochs["val_accuracy"][-1])
    assert f"{gap:.1f}" in charts["accuracy"]["layout"]["annotations"][0]["text"]


def test_explosion_is_marked(runs: Runs) -> None:
    loss = page_of(runs["exploded"]).charts["loss"]
    [evidence] = [trace for trace in loss["data"] if trace["name"] == "evidence"]
    assert evidence["x"] == [runs["exploded"].metrics["train"]["exploded_step"]]
    assert loss["layout"]["annotations"][0]["text"] == "exploding"
    assert next(iter(loss["views"])) == "log"


def test_dead_activations_are_a_bar_at_zero(runs: Runs) -> None:
    traces = page_of(runs["zeros"]).charts["activations-before"]["data"]
    bars = [trace for trace in traces if trace["x"] == [0, 0]]
    assert len(bars) == 2
    assert all(bar["y"][1] - bar["y"][0] == pytest.approx(0.86) for bar in bars), "a whole row: all values are 0"


def test_measured_beside_expected(runs: Runs) -> None:
    cells = page_of(runs["zeros"]).by_tag["td"]
    copies = cells.index("3 of 3")
    assert cells[copies - 2].startswith("✕")
    assert cells[copies + 1] == "0"
    loss = cells.index("first loss")
    assert cells[loss - 1] == "✓"


def test_unreached_stages(runs: Runs) -> None:
    page = page_of(runs["zeros"])
    assert page.links["#sanity"] == "failed"
    assert page.links["#train"] == "skipped"


def test_interrupted_training_shows_its_epochs(runs: Runs, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(runs["passed"].directory, tmp_path / "o" / "n" / "r"))
    outcome = read_outcome(folder) or {}
    stages = [stage for stage in outcome["stages"] if stage["name"] in ("sanity", "overfit")]
    (folder / "outcome.json").write_text(
        json.dumps(outcome | {"status": "interrupted", "diagnosis": [], "stages": stages})
    )
    signals = json.loads((folder / "signals.json").read_text())
    del signals["stages"]["train"]
    (folder / "signals.json").write_text(json.dumps(signals))
    page = PageParser(write_report(folder).read_text())
    assert len(page.charts["loss"]["data"][1]["x"]) == 5, "epochs"
    assert page.links["#train"] == "interrupted"


@pytest.mark.parametrize("signals", [{}, {"sanity": {}}, {"train": {}, "sanity": {"data": {}}}])
def test_missing_signals(runs: Runs, signals: dict[str, Any]) -> None:
    run = dataclasses.replace(read_run(runs["passed"].directory), signals=signals, images={})
    assert PageParser(run_page(run)).headline


def test_size(runs: Runs) -> None:
    assert (runs["passed"].directory / "report.html").stat().st_size < 3_000_000


def test_no_report(run_in: Callable[..., Any], tmp_path: Path) -> None:
    """`report=false` leaves neither a page nor images, nor the signals that only a page shows."""
    run = run_in(tmp_path, "data=digits", "stage=sanity", "report=false")
    assert {path.name for path in run.directory.iterdir()} == {".hydra", "outcome.json", "signals.json"}
    assert "histograms" not in (read_signals(run.directory) or {})["sanity"]
