"""The page of all runs: newest first, differences only, small."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.report import report, write_index
from pipeline.errors import UserError
from pipeline.report.index_page import COMPARED, RunRow, index_page
from tests.report.test_page import EVIL, PageParser

Runs = dict[str, Any]


def listed(number: int, **changes: Any) -> RunRow:
    given = {
        "label": f"run/{number}", "href": f"run/{number}/report.html", "status": "passed", "validation": number / 1000,
        "test": None, "seconds": 1.0, "started": "2026-01-31 23:59", "overrides": f"seed={number}",
        "config": {"seed": str(number), "model.width": "16"}, "curves": {"epoch": [0.0, 1.0], "val_loss": [2.0, 1.0]},
    }  # fmt: skip
    return RunRow(**(given | changes))  # type: ignore[arg-type]


def compared(page: str) -> list[dict[str, Any]]:
    return json.loads(PageParser(page).blocks["data-runs"])


def test_only_keys_that_differ_travel() -> None:
    first, second = compared(index_page([listed(2), listed(1)], folder="outputs"))
    assert first["config"] == {"seed": "2"}
    assert second["curves"] == {"epoch": [0.0, 1.0], "val_loss": [2.0, 1.0]}


def test_a_key_that_only_some_have_differs() -> None:
    page = index_page([listed(1), listed(2, config={"seed": "2", "model.width": "16", "model.depth": "3"})], folder="o")
    assert compared(page)[1]["config"] == {"seed": "2", "model.depth": "3"}


def test_a_loss_that_is_not_finite_is_a_gap() -> None:
    page = index_page([listed(1, curves={"epoch": [0.0, 1.0], "val_loss": [1.0, math.nan]}), listed(2)], folder="o")
    assert compared(page)[0]["curves"]["val_loss"] == [1.0, None]


def test_the_best_is_named() -> None:
    words = PageParser(index_page([listed(2), listed(3), listed(1, validation=None)], folder="outputs")).words
    place = words.index("best validation accuracy")
    assert words[place + 1 : place + 3] == ["0.0030", "run/3"]


def test_hundreds_of_runs_stay_small() -> None:
    runs = [listed(number, curves={"epoch": list(range(50)), "val_loss": [1 / 3] * 50}) for number in range(500)]
    page = index_page(runs, folder="outputs")
    assert len(page.encode()) < 3_000_000
    assert len(compared(page)) == COMPARED
    assert page.count("<tr>") == 501


def test_no_runs_is_no_error() -> None:
    assert "There are no runs in outputs." in index_page([], folder="outputs")


def test_words_of_users_are_text() -> None:
    evil = [listed(n, label=EVIL, overrides=EVIL, finding=EVIL, config={EVIL: str(n)}) for n in (1, 2)]
    plain = [listed(n, label="a", overrides="a" * len(EVIL), finding="a" * len(EVIL), config={}) for n in (1, 2)]
    assert PageParser(index_page(evil, folder="o")).tags == PageParser(index_page(plain, folder="o")).tags


def test_the_command_writes_it_and_a_runs_page_anew(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = tmp_path / "outputs"
    shutil.copytree(runs["passed"].directory.parents[1], outputs, symlinks=True)
    (outputs / "zeros" / runs["zeros"].directory.name / "report.html").unlink()
    monkeypatch.chdir(tmp_path)
    assert report(["zeros"]) == 0
    first, second = capsys.readouterr().out.split()
    assert first == f"outputs/zeros/{runs['zeros'].directory.name}/report.html"
    assert second == "outputs/index.html"
    assert (tmp_path / first).is_file()
    links = [row for row in PageParser((tmp_path / second).read_text()).words if "/" in row]
    assert len(links) >= 3


def test_what_cannot_be_told_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there are no runs yet"):
        write_index(tmp_path / "none")
    with pytest.raises(UserError, match="there is no run"):
        report(["nothing", "--outputs", str(tmp_path)])
