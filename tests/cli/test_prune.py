"""`runs prune`: the runs that are named are removed, and nothing else."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from pipeline.cli.prune import remove_run
from pipeline.cli.runs import runs
from pipeline.errors import UserError
from pipeline.runs.index import list_runs
from pipeline.runs.paths import update_latest_link
from tests.cli.conftest import MakeRun

DAY = 86400.0


def remaining(outputs: Path) -> list[str]:
    return sorted(run.short_id for run in list_runs(outputs))


@pytest.fixture
def five(make_run: MakeRun) -> None:
    make_run("aaaa00000000", age=40 * DAY, val=0.9)
    make_run("bbbb00000000", age=40 * DAY, status="failed")
    make_run("cccc00000000", age=20 * DAY, status="interrupted", val=0.2)
    make_run("dddd00000000", age=2 * DAY, val=0.8, name="other")
    make_run("eeee00000000", age=10, status="failed", val=0.1)


@pytest.mark.parametrize(
    ("flags", "gone"),
    [
        (["--older", "30d"], "ab"),
        (["--older", "3w"], "ab"),
        (["--older", "24h"], "abcd"),
        (["--failed"], "bc"),
        (["--failed", "--older", "30d"], "b"),
        (["--keep-best", "1"], "bcd"),
        (["--keep-best", "2"], "bc"),
        (["--keep-best", "1", "--name", "other"], "d"),
        (["--older", "0h", "--name", "none"], ""),
        (["--older", "0h"], "abcd"),
    ],
)
def test_flags(flags: list[str], gone: str, five: None, outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = remaining(outputs)
    assert runs(["prune", *flags, "--yes"]) == 0
    assert remaining(outputs) == [reference for reference in before if reference[0] not in gone]
    assert (f"{len(gone)} of 5 runs" in capsys.readouterr().out) == bool(gone)


def test_newest_and_latest_are_kept(five: None, outputs: Path) -> None:
    old = next(run for run in list_runs(outputs) if run.short_id == "aaaa")
    update_latest_link(old.directory.resolve(), outputs.resolve())
    runs(["prune", "--older", "0h", "--yes"])
    assert remaining(outputs) == ["aaaa", "eeee"]
    assert not (outputs / "other").exists(), "a name without runs leaves no folder"


def test_running_is_kept(make_run: MakeRun, outputs: Path) -> None:
    make_run("eeee00000000", age=10)
    live = make_run("aaaa00000000", age=40 * DAY, status="running")
    make_run("bbbb00000000", age=40 * DAY, status="running")
    os.utime(live / "outcome.json")
    runs(["prune", "--failed", "--yes"])
    assert remaining(outputs) == ["aaaa", "eeee"]


def test_multirun_is_one_unit(make_run: MakeRun, outputs: Path) -> None:
    make_run("eeee00000000", age=10)
    for job, status in (("0", "failed"), ("1", "passed")):
        make_run("aaaa00000000", job=job, age=DAY, status=status)
    for job in ("0", "1"):
        make_run("bbbb00000000", job=job, age=DAY, status="failed")
    runs(["prune", "--failed", "--yes"])
    assert remaining(outputs) == ["aaaa/0", "aaaa/1", "eeee"]


def test_links_are_not_followed(make_run: MakeRun, outputs: Path, tmp_path: Path) -> None:
    make_run("eeee00000000", age=10)
    away = tmp_path / "away"
    shutil.move(make_run("aaaa00000000", age=DAY, status="failed", name="gone").parent, away)
    (outputs / "gone").symlink_to(away)
    target = make_run("bbbb00000000", age=DAY, status="failed")
    shutil.move(target, tmp_path / "far")
    target.symlink_to(tmp_path / "far")
    inside = make_run("cccc00000000", age=DAY, status="failed")
    (inside / "link").symlink_to(away)
    runs(["prune", "--failed", "--yes"])
    assert not inside.exists()
    assert len(list(away.glob("*/outcome.json"))) == 1
    assert (tmp_path / "far" / "outcome.json").exists()


@pytest.mark.parametrize(
    ("answer", "removed"), [("y", True), ("YES", True), ("n", False), ("", False), ("yess", False)]
)
def test_confirmation(
    answer: str, removed: bool, five: None, outputs: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    questions: list[str] = []

    def reply(question: str) -> str:
        questions.append(question)
        return answer

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", reply)
    assert runs(["prune", "--failed"]) == 0
    assert len(remaining(outputs)) == (3 if removed else 5)
    assert "2 of 5 runs" in questions[0]
    assert len(questions) == 1


def test_remove_run(make_run: MakeRun, outputs: Path, tmp_path: Path) -> None:
    """It removes nothing but a real directory two levels below the outputs."""
    run = make_run("aaaa00000000")
    (tmp_path / "mine" / "things").mkdir(parents=True)
    link = outputs / "run" / "link"
    link.symlink_to(run.resolve())
    for elsewhere in (tmp_path / "mine" / "things", outputs / "run", run / ".hydra", link):
        with pytest.raises(UserError, match=elsewhere.name):
            remove_run(elsewhere, outputs)
        assert elsewhere.exists()
    remove_run(run, outputs)
    assert not run.exists()


def test_end_of_input(five: None, outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang_up(question: str) -> str:
        raise EOFError

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", hang_up)
    assert runs(["prune", "--failed"]) == 0
    assert len(remaining(outputs)) == 5


def test_not_a_terminal(five: None, outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    with pytest.raises(UserError, match=r"2 of 5 runs, .*--yes"):
        runs(["prune", "--failed"])
    assert len(remaining(outputs)) == 5


@pytest.mark.parametrize("words", [[], ["--name", "run"], ["--yes"]])
def test_no_condition(words: list[str], five: None, outputs: Path) -> None:
    with pytest.raises(UserError, match="--older"):
        runs(["prune", *words])
    assert len(remaining(outputs)) == 5


@pytest.mark.parametrize("words", [["--older", "10"], ["--older", "-1d"], ["--keep-best", "0"], ["--faild"]])
def test_wrong_arguments(words: list[str], five: None, outputs: Path) -> None:
    with pytest.raises(UserError, match=words[0]):
        runs(["prune", *words, "--yes"])
    assert len(remaining(outputs)) == 5
