"""A run's page, from the files of real runs: what it tells first, and that nothing but files is needed."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.report.run_files import Run
from pipeline.report.run_page import run_page, verdict, write_report
from pipeline.runs.images import PICTURES, read_pictures
from pipeline.runs.json_files import read_outcome, read_signals
from tests.report.test_page import PageParser

Runs = dict[str, Any]


def charts(page: str) -> dict[str, Any]:
    return {chart["id"]: chart for chart in json.loads(PageParser(page).blocks["data-charts"])}


def words(page: str) -> str:
    return " ".join(PageParser(page).words)


def page_of(run: Any) -> str:
    return (run.directory / "report.html").read_text()


def loaded(folder: Path, **changes: Any) -> Run:
    record = read_outcome(folder) or {}
    return Run(folder.name, record | changes, read_signals(folder) or {}, read_pictures(folder), ["sanity", "train"])


def test_it_opens_with_the_verdict(runs: Runs) -> None:
    assert re.search(r"<h1>Passed.* Test accuracy \d\.\d{3}\.</h1>", page_of(runs["passed"]))
    assert "<h1>Sanity failed: symmetric units in hidden.dense1.linear.weight.</h1>" in page_of(runs["zeros"])
    assert "<h1>Train failed: loss exploding.</h1>" in page_of(runs["exploded"])


def test_it_says_what_to_do_as_a_command(runs: Runs) -> None:
    command = (read_outcome(runs["zeros"].directory) or {})["command"]
    assert f"<code>{command} init=he</code>" in page_of(runs["zeros"])


def test_it_is_complete_from_the_files_alone(runs: Runs, tmp_path: Path) -> None:
    folder = tmp_path / "outputs" / "passed" / runs["passed"].directory.name
    shutil.copytree(runs["passed"].directory, folder)
    (folder / "report.html").unlink()
    assert write_report(folder).read_text() == page_of(runs["passed"])


def test_every_subject_has_its_chart(runs: Runs) -> None:
    drawn = charts(page_of(runs["passed"]))
    assert {
        "loss", "accuracy", "gradients", "updates", "spread-before", "spread-after", "off", "rate", "by-heart",
        "class-counts", "plane-before", "plane-after", "confusion", "calibration", "per-class", "first-gradients",
    } == drawn.keys()  # fmt: skip
    signals = read_signals(runs["passed"].directory) or {}
    by_name = {trace["name"]: trace for trace in drawn["loss"]["data"]}
    assert by_name["validation"]["y"] == pytest.approx(signals["train"]["epochs"]["val_loss"], rel=1e-4)
    assert by_name["each batch"]["y"] == pytest.approx(signals["train"]["losses"], rel=1e-4)
    assert drawn["confusion"]["data"][0]["z"][0] == pytest.approx(_shares(runs["passed"].metrics["evaluate"])[0])
    last = drawn["accuracy"]["layout"]["annotations"][0]["text"]
    epochs = signals["train"]["epochs"]
    gap = 100 * (epochs["probe_accuracy"][-1] - epochs["val_accuracy"][-1])
    assert last == f"gap {gap:.1f} points"


def _shares(metrics: dict[str, Any]) -> list[list[float]]:
    return [[n / max(1, sum(row)) for n in row] for row in metrics["confusion"]]


def test_an_explosion_is_marked_where_it_happened(runs: Runs) -> None:
    loss = charts(page_of(runs["exploded"]))["loss"]
    step = runs["exploded"].metrics["train"]["exploded_step"]
    [evidence] = [trace for trace in loss["data"] if trace["name"] == "evidence"]
    assert evidence["x"] == [step]
    assert loss["layout"]["annotations"][0]["text"] == "exploding"
    assert next(iter(loss["views"])) == "log"


def test_dead_activations_are_a_bar_at_zero(runs: Runs) -> None:
    hills = charts(page_of(runs["zeros"]))["spread-before"]["data"]
    bars = [trace for trace in hills if trace["x"] == [0, 0]]
    assert len(bars) == 2
    assert all(bar["y"][1] - bar["y"][0] == pytest.approx(0.86) for bar in bars), "a whole row: all values are 0"


def test_measured_stands_beside_expected(runs: Runs) -> None:
    page = page_of(runs["zeros"])
    cell = "<td[^>]*>([^<]*)</td>"
    rows = re.findall(rf"<tr><td[^>]*>(.)[^<]*</td>{cell}{cell}{cell}</tr>", page)
    by_name = {what: (mark, measured, expected) for mark, what, measured, expected in rows}
    assert by_name["layers whose units are copies"] == ("✕", "3 of 3", "0")
    assert by_name["first loss"][0] == "✓"


def test_stages_that_were_not_reached_are_told(runs: Runs) -> None:
    page = page_of(runs["zeros"])
    assert re.search(r'<a href="#train" class="skipped">', page)
    assert "not reached" in words(page)


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        ("interrupted", "Interrupted during train; resume=auto goes on from here."),
        ("error", "Crashed during train."),
        ("running", "Still running during train, or killed."),
    ],
)
def test_runs_without_an_end_are_told(runs: Runs, status: str, sentence: str) -> None:
    run = loaded(runs["zeros"].directory, status=status)
    assert verdict(run).startswith(sentence)
    assert f"<h1>{sentence}" in run_page(run)


def test_a_training_that_was_interrupted_shows_its_history(runs: Runs, tmp_path: Path) -> None:
    folder = tmp_path / "o" / "n" / "r"
    shutil.copytree(runs["passed"].directory, folder)
    for name in ("outcome.json", "signals.json"):
        content = json.loads((folder / name).read_text())
        if name == "outcome.json":
            content |= {"status": "interrupted", "diagnosis": []}
            content["stages"] = [s for s in content["stages"] if s["name"] in ("sanity", "overfit")]
        else:
            del content["stages"]["train"]
        (folder / name).write_text(json.dumps(content))
    page = write_report(folder).read_text()
    assert len(charts(page)["loss"]["data"][1]["x"]) == 5, "epochs"
    assert '<a href="#train" class="interrupted">' in page


def test_what_was_not_measured_leaves_no_hole(runs: Runs) -> None:
    run = loaded(runs["passed"].directory)
    for signals in ({}, {"sanity": {}}, {"train": {}, "sanity": {"data": {}}}):
        page = run_page(dataclasses.replace(run, signals=signals, pictures={}))
        assert "<h1>" in page


def test_a_folder_without_pictures_has_a_page(runs: Runs, tmp_path: Path) -> None:
    folder = tmp_path / "o" / "n" / "r"
    shutil.copytree(runs["passed"].directory, folder)
    (folder / PICTURES).write_bytes(b"no zip")
    assert "No pictures" in write_report(folder).read_text() or "class-counts" in write_report(folder).read_text()
    with pytest.raises(FileNotFoundError):
        write_report(tmp_path)


def test_it_is_small(runs: Runs) -> None:
    assert len(page_of(runs["passed"]).encode()) < 3_000_000


def test_no_report_leaves_neither_page_nor_pictures(tmp_path: Path) -> None:
    from tests.report.conftest import run_in

    run = run_in(tmp_path, "data=digits", "stage=sanity", "report=false")
    assert {path.name for path in run.directory.iterdir()} == {".hydra", "outcome.json", "signals.json"}
    assert "histograms" not in (read_signals(run.directory) or {})["sanity"]
