"""The page of all runs: the newest first, only the keys that differ, and small."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.report import report, write_index
from pipeline.errors import UserError
from pipeline.report.index_page import MAX_COMPARED, RunRow, index_page
from tests.report.pages import EVIL, PageParser

Runs = dict[str, Any]


def row(number: int, **changes: Any) -> RunRow:
    fields = {
        "label": f"run/{number}", "href": f"run/{number}/report.html", "status": "passed", "validation": number / 1000,
        "test": None, "seconds": 1.0, "started": "2026-01-31 23:59", "overrides": f"seed={number}",
        "config": {"seed": str(number), "model.width": "16"}, "curves": {"epoch": [0.0, 1.0], "val_loss": [2.0, 1.0]},
    }  # fmt: skip
    return RunRow(**(fields | changes))  # type: ignore[arg-type]


def page_of(*rows: RunRow) -> PageParser:
    return PageParser(index_page(rows, folder="outputs"))


def compared(page: PageParser) -> list[dict[str, Any]]:
    return json.loads(page.scripts["data-runs"])


def test_only_differing_keys() -> None:
    first, second = compared(page_of(row(2), row(1)))
    assert first["config"] == {"seed": "2"}
    assert second["curves"] == {"epoch": [0.0, 1.0], "val_loss": [2.0, 1.0]}


def test_key_of_one_run_differs() -> None:
    page = page_of(row(1), row(2, config={"seed": "2", "model.width": "16", "model.depth": "3"}))
    assert compared(page)[1]["config"] == {"seed": "2", "model.depth": "3"}


def test_nonfinite_loss_is_a_gap() -> None:
    page = page_of(row(1, curves={"epoch": [0.0, 1.0], "val_loss": [1.0, math.nan]}), row(2))
    assert compared(page)[0]["curves"]["val_loss"] == [1.0, None]


def test_best_run() -> None:
    page = page_of(row(2), row(3), row(1, validation=None))
    assert "0.0030" in page.by_tag["dd"]
    assert "run/3" in page.by_tag["small"]


def test_broken_run() -> None:
    """A run whose record cannot be read is listed with the reason."""
    page = page_of(row(1, status="broken", problem="search.json cannot be read"), row(2))
    assert "broken" in page.by_tag["td"]
    assert "search.json cannot be read" in page.by_tag["td"]


def test_hundreds_of_runs_are_small() -> None:
    runs = [row(number, curves={"epoch": list(range(50)), "val_loss": [1 / 3] * 50}) for number in range(500)]
    page = index_page(runs, folder="outputs")
    assert len(page.encode()) < 3_000_000
    assert len(compared(PageParser(page))) == MAX_COMPARED
    assert page.count("<tr>") == 501


def test_no_runs() -> None:
    page = page_of()
    assert "table" not in page.tags
    assert compared(page) == []


def test_texts_are_escaped() -> None:
    evil = [row(n, label=EVIL, overrides=EVIL, finding=EVIL, problem=EVIL, config={EVIL: str(n)}) for n in (1, 2)]
    plain = [row(n, label="a", overrides="a" * len(EVIL), finding="a" * len(EVIL), config={}) for n in (1, 2)]
    assert page_of(*evil).tags == page_of(*plain).tags


def test_command(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`report` writes a run's page and the index again, and prints their paths."""
    outputs = tmp_path / "outputs"
    shutil.copytree(runs["passed"].directory.parents[1], outputs, symlinks=True)
    run = runs["zeros"].directory.name
    (outputs / "zeros" / run / "report.html").unlink()
    monkeypatch.chdir(tmp_path)
    assert report(["zeros"]) == 0
    first, second = capsys.readouterr().out.split()
    assert (first, second) == (f"outputs/zeros/{run}/report.html", "outputs/index.html")
    assert (tmp_path / first).is_file()
    index = PageParser((tmp_path / second).read_text())
    assert {f"{name}/{runs[name].directory.name}/report.html" for name in runs} < index.links.keys()


def test_unreadable_history_is_in_the_index(runs: Runs, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    shutil.copytree(runs["passed"].directory, outputs / "name" / "run")
    (outputs / "name" / "run" / "history.csv").write_text("epoch,loss\n0\n")
    index = PageParser(write_index(outputs).read_text())
    assert any(cell.startswith("history.csv") for cell in index.by_tag["td"])


def test_user_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        write_index(tmp_path / "none")
    assert error.value.field == "outputs"
    with pytest.raises(UserError):
        report(["nothing", "--outputs", str(tmp_path)])
