"""How OpenMP's threads wait: settled when `pipeline` is imported, before torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import TURNS, _turns


@pytest.fixture(autouse=True)
def _four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.mark.parametrize(
    ("running", "threads", "turns"),
    [(1, None, TURNS), (2, None, 0), (9, None, 0), (2, "3", TURNS), (3, "3", 0), (4, "1", TURNS), (2, "many", 0)],
)
def test_threads_wait_asleep_where_other_work_wants_their_cores(
    running: int, threads: str | None, turns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loadavg").write_text(f"0.00 0.01 0.05 {running}/812 4711\n")
    if threads:
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
    assert _turns(tmp_path / "loadavg") == turns


@pytest.mark.parametrize("text", ["", "0.0 0.0 0.0\n", "0.0 0.0 0.0 none 1\n"])
def test_where_the_system_does_not_say_they_look_for_a_while(text: str, tmp_path: Path) -> None:
    (tmp_path / "loadavg").write_text(text)
    assert _turns(tmp_path / "loadavg") == _turns(tmp_path / "absent") == TURNS


def test_one_that_flits_by_is_no_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "loadavg"
    path.write_text("0 0 0 2/9 1\n")
    monkeypatch.setattr("time.sleep", lambda _: path.write_text("0 0 0 1/9 1\n"))
    assert _turns(path) == TURNS


def test_what_the_user_says_stands() -> None:
    says = "import pipeline, os; print(os.environ['GOMP_SPINCOUNT'])"
    environment = os.environ | {"GOMP_SPINCOUNT": "77"}
    assert subprocess.check_output([sys.executable, "-c", says], env=environment, text=True).strip() == "77"
    del environment["GOMP_SPINCOUNT"]
    found = subprocess.check_output([sys.executable, "-c", says], env=environment, text=True).strip()
    assert found in ("0", str(TURNS))
