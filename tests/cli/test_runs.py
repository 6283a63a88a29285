"""`runs` and `runs diff`, and references to runs."""

from __future__ import annotations

import io
import json
import shlex
from pathlib import Path

import pytest
from rich.console import Console

import pipeline
import pipeline.cli.diff
import pipeline.cli.runs
from pipeline.cli import COMMANDS, run_command
from pipeline.cli.runs import MAX_ROWS, format_age, runs
from pipeline.errors import UserError
from pipeline.runs.index import list_runs, resolve_run
from pipeline.runs.paths import update_latest_link
from pipeline.search.records import Round, Search, Trial, write_search
from tests.cli.conftest import MakeRun


def lines(capsys: pytest.CaptureFixture[str], *words: str) -> list[list[str]]:
    assert runs(words) == 0
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def print_on_terminal(monkeypatch: pytest.MonkeyPatch, *words: str, width: int) -> str:
    text = io.StringIO()
    terminal = Console(file=text, width=width, force_terminal=True, color_system=None, highlight=False, _environ={})
    for module in (pipeline.cli.runs, pipeline.cli.diff):
        monkeypatch.setattr(module, "console", lambda: terminal)
    assert runs(words) == 0
    return text.getvalue()


def test_list(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    make_run("aaaa00000000", age=7200, val=0.5, test=0.25, words="seed=1 init=he")
    make_run("bbbb00000000", age=90, status="failed", finding="dead_units", name="other", words="'stage=[sanity]'")
    head, *rows = lines(capsys)
    assert head == ["run", "name", "verdict", "val", "test", "age", "first", "finding", "overrides"]
    assert rows == [
        ["bbbb", "other", "failed", "-", "-", "1", "min", "dead_units", "'stage=[sanity]'"],
        ["aaaa", "run", "passed", "0.5000", "0.2500", "2", "h", "-", "seed=1", "init=he"],
    ]


def test_best(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    for tail, val in (("aaaa", 0.5), ("bbbb", None), ("cccc", 0.9), ("dddd", 0.0)):
        make_run(f"{tail}00000000", val=val, test=1 - (val or 0))
    assert [row[0] for row in lines(capsys, "--best")][1:] == ["cccc", "aaaa", "dddd", "bbbb"]


def test_jobs_and_searches(make_run: MakeRun, outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for job in ("0", "1"):
        make_run("eeee00000000", job=job, val=0.1, words=f"seed={job}")
    folder = outputs / "run" / "search_0123456789"
    trials = tuple(
        Trial(number=n, round=0, params={"lr": score}, overrides=(), state="complete", score=score, seconds=1.0)
        for n, score in enumerate((0.25, 0.75, 0.5))
    )
    search = Search(
        name="s", directory=str(folder), command="python -m pipeline -m search=coarse", base=(), direction="maximize",
        metric="val_accuracy", examples=0, seed=0, storage="", rounds=(Round("coarse", (), 3, 1),), trials=trials,
        finished=True,
    )  # fmt: skip
    write_search(search)
    rows = {row[0]: row for row in lines(capsys)[1:]}
    assert set(rows) == {"eeee/0", "eeee/1", "0123"}
    assert rows["0123"][2:4] == ["searched", "0.7500"]
    assert resolve_run("eeee/1", outputs).name == "1"
    assert resolve_run("search_01", outputs) == folder


def test_short_ids(make_run: MakeRun, outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = {tail: make_run(tail) for tail in ("abcdef000000", "abcdee000000", "abc900000000", "ffff00000000")}
    shown = [row[0] for row in lines(capsys)[1:]]
    assert sorted(shown) == ["abc9", "abcdee", "abcdef", "ffff"]
    for reference in shown:
        tail = next(tail for tail in folders if tail.startswith(reference))
        assert resolve_run(reference, outputs) == folders[tail]


def test_references(make_run: MakeRun, outputs: Path) -> None:
    old = make_run("aaaa00000001", age=500, name="mine")
    new = make_run("bbbb00000002", age=100, name="mine")
    other = make_run("cccc00000003", age=10)
    assert resolve_run(str(old), outputs) == old
    assert resolve_run("mine", outputs) == new
    assert resolve_run("latest", outputs) == other
    assert (
        resolve_run(old.name, outputs)
        == resolve_run("aaaa", outputs)
        == resolve_run("0001", outputs)
        == resolve_run("mine/aaaa", outputs)
        == old
    )
    update_latest_link(new.resolve(), outputs.resolve())
    assert resolve_run("latest", outputs) == new
    with pytest.raises(UserError, match="3 runs"):
        resolve_run("20", outputs)
    with pytest.raises(UserError, match="'mine'"):
        resolve_run("mien", outputs)
    with pytest.raises(UserError, match="'run/aaaa'"):
        resolve_run("run/aaaa", outputs)


def test_no_runs(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert runs([]) == 0
    assert "outputs" in capsys.readouterr().out
    with pytest.raises(UserError, match="'outputs'"):
        resolve_run("latest", outputs)


def test_unreadable_outputs(outputs: Path) -> None:
    outputs.write_text("mine")
    with pytest.raises(UserError) as error:
        runs([])
    assert error.value.field == "outputs"


def test_other_files_are_ignored(make_run: MakeRun, outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run("aaaa00000000")
    (outputs / "notes.txt").write_text("mine")
    (outputs / "run" / "empty").mkdir()
    (outputs / "run" / "torn").mkdir()
    (outputs / "run" / "torn" / "outcome.json").write_text('{"schema": 1')
    (outputs / "link").symlink_to(folder.parent.resolve())
    update_latest_link(folder.resolve(), outputs.resolve())
    assert [row[0] for row in lines(capsys)[1:]] == ["aaaa"]


def test_broken_search(make_run: MakeRun, outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A search whose file cannot be read is listed with the reason."""
    make_run("aaaa00000000")
    folder = outputs / "run" / "search_0123456789"
    folder.mkdir()
    (folder / "search.json").write_text("{")
    row = next(row for row in lines(capsys) if row[0] == "0123")
    assert row[2] == "broken"
    assert "search.json" in row
    runs(["--json"])
    problems = [one["problem"] for one in json.loads(capsys.readouterr().out)]
    assert sum(problem is not None for problem in problems) == 1


def test_stale_run_is_unfinished(make_run: MakeRun, outputs: Path) -> None:
    make_run("aaaa00000000", status="running", age=30)
    make_run("bbbb00000000", status="running", age=5 * 3600)
    assert [(run.short_id, run.status) for run in list_runs(outputs)] == [("aaaa", "running"), ("bbbb", "unfinished")]


def test_json(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run("aaaa00000000", val=0.5, words="tags=[a,b]")
    runs(["--json"])
    (one,) = json.loads(capsys.readouterr().out)
    assert Path(one["directory"]) == folder
    assert (one["val_accuracy"], one["test_accuracy"], one["first_finding"]) == (0.5, None, None)
    assert one["overrides"] == shlex.split("tags=[a,b]")


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_table_width(width: int, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table fits the terminal, and no id is cut."""
    for n in range(MAX_ROWS + 2):
        make_run(f"{n:04d}00000000", age=10 * n, name="a_rather_long_name", val=0.5, test=0.5, words="seed=1 " * 20)
    make_run("ffff00000000", age=5, status="interrupted", finding="regularization_raises_loss")
    printed = print_on_terminal(monkeypatch, width=width)
    rows = printed.splitlines()
    assert max(len(row.rstrip()) for row in rows) <= width
    assert len(rows) == MAX_ROWS + 2
    assert rows[-1].split()[0] == "3"
    assert all(f"{n:04d} " in printed for n in range(MAX_ROWS - 1))
    assert "interrupted" in printed
    assert ("overrides" in rows[0]) == (width >= 120)


def test_diff(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    left = {"seed": 0, "init": {"bias": 0.0, "gain": None}, "fix": False, "stages": {"sanity": {"a": 1}}}
    right = {"seed": 0, "init": {"bias": 0.01, "gain": None}, "fix": True, "stages": {"train": {"a": 1, "b": 2}}}
    make_run("aaaa00000000", config=left, val=0.5)
    make_run("bbbb00000000", config=right, status="failed", finding="dead_units")
    rows = [" ".join(row) for row in lines(capsys, "diff", "aaaa", "bbbb")]
    configuration = rows[1 : next(index for index, row in enumerate(rows) if row.startswith("results"))]
    assert configuration == [
        "init.bias 0.0 0.01",
        "fix false true",
        "stages.sanity.* chosen -",
        "stages.train.* - chosen",
    ]
    assert "status passed failed" in rows
    assert "first finding - dead_units" in rows
    assert "train: val_accuracy 0.5 -" in rows
    runs(["diff", "aaaa", "bbbb", "--json"])
    assert json.loads(capsys.readouterr().out)["configuration"]["init.bias"] == ["0.0", "0.01"]
    assert "no difference" in " ".join(" ".join(row) for row in lines(capsys, "diff", "aaaa", "aaaa"))


@pytest.mark.parametrize("width", [40, 80, 120])
def test_diff_width(width: int, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run("aaaa00000000", config={"a": "q" * 100})
    make_run("bbbb00000000", config={"a": "z" * 100})
    printed = print_on_terminal(monkeypatch, "diff", "aaaa", "bbbb", width=width)
    assert max(len(row.rstrip()) for row in printed.splitlines()) <= width
    assert printed.count("q") == printed.count("z") == 100


def test_diff_errors(make_run: MakeRun, outputs: Path) -> None:
    folder = make_run("aaaa00000000")
    (folder / ".hydra" / "config.yaml").unlink()
    with pytest.raises(UserError, match=r"\.hydra/config\.yaml"):
        runs(["diff", "aaaa", "aaaa"])
    with pytest.raises(UserError, match="B"):
        runs(["diff", "aaaa"])


@pytest.mark.parametrize(("words", "word"), [(["--bets"], "'--best'"), (["dif"], "'diff'"), (["--name"], "--name")])
def test_wrong_arguments(words: list[str], word: str, outputs: Path) -> None:
    with pytest.raises(UserError, match=word):
        runs(words)


def test_format_age() -> None:
    ages = [format_age(seconds) for seconds in (-5, 0, 59, 60, 3599, 3600, 86400, 172800, 86400 * 59, 86400 * 70)]
    assert ages == ["0 s", "0 s", "59 s", "1 min", "59 min", "1 h", "24 h", "2 d", "59 d", "10 w"]


def test_completion(make_run: MakeRun) -> None:
    make_run("aaaa00000000", name="mine")
    offered = list(COMMANDS["diagnose"].complete([], ""))
    assert offered == ["latest", "mine", "aaaa"]
    assert list(COMMANDS["runs"].complete(["diff", "aaaa"], "")) == offered
    assert list(COMMANDS["runs"].complete([], "")) == ["diff", "prune"]
    assert "outputs/mine/" in COMMANDS["diagnose"].complete([], "outputs/m")


def test_real_run(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = pipeline.run(["data=digits", "stage=sanity", "init=zeros"], quiet=True)
    (row,) = lines(capsys)[1:]
    assert row[1:3] == ["run", "failed"]
    assert row[-4:] == ["symmetric_units", "data=digits", "stage=sanity", "init=zeros"]
    assert result.directory.name.rpartition("_")[2].startswith(row[0])
    assert run_command("diagnose", [row[0]]) == 3
    assert "symmetric_units" in capsys.readouterr().out
    with pytest.raises(UserError, match="'nothing'"):
        run_command("diagnose", ["nothing"])
