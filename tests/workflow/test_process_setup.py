"""How OpenMP's threads wait: settled when `pipeline` is imported, before torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import LIBGOMP_SPINCOUNT, _cores_are_busy


@pytest.fixture(autouse=True)
def _four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.mark.parametrize(
    ("running", "threads", "busy"),
    [
        (1, None, False), (2, None, True), (9, None, True), (2, "3", False), (3, "3", True), (4, "1", False),
        (2, "many", True),
    ],
)  # fmt: skip
def test_a_machine_is_busy_where_other_work_wants_the_threads_cores(
    running: int, threads: str | None, busy: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loadavg").write_text(f"0.00 0.01 0.05 {running}/812 4711\n")
    if threads:
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
    assert _cores_are_busy(tmp_path / "loadavg") == busy


def test_there_are_as_many_threads_as_cores_that_the_process_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loadavg").write_text("0.00 0.01 0.05 3/812 4711\n")
    assert _cores_are_busy(tmp_path / "loadavg")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    assert not _cores_are_busy(tmp_path / "loadavg")


@pytest.mark.parametrize("text", ["", "0.0 0.0 0.0\n", "0.0 0.0 0.0 none 1\n"])
def test_where_the_system_does_not_say_it_is_quiet(text: str, tmp_path: Path) -> None:
    (tmp_path / "loadavg").write_text(text)
    assert not _cores_are_busy(tmp_path / "loadavg")
    assert not _cores_are_busy(tmp_path / "absent")


def test_one_that_flits_by_is_no_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "loadavg"
    path.write_text("0 0 0 2/9 1\n")
    monkeypatch.setattr("time.sleep", lambda _: path.write_text("0 0 0 1/9 1\n"))
    assert not _cores_are_busy(path)


IMPORT = """
import os, pathlib, sys
read = pathlib.Path.read_text
pathlib.Path.read_text = lambda path, *a: f"0 0 0 {sys.argv[1]}/99 1" if path.name == "loadavg" else read(path, *a)
import pipeline
print(os.environ.get("GOMP_SPINCOUNT"))
"""


@pytest.mark.parametrize(
    ("running", "typed", "found"),
    [
        (1000, {}, "0"),
        (0, {}, str(LIBGOMP_SPINCOUNT)),
        (1000, {"GOMP_SPINCOUNT": "77"}, "77"),
        (0, {"GOMP_SPINCOUNT": "77"}, "77"),
        (1000, {"OMP_WAIT_POLICY": "active"}, "None"),
    ],
)
def test_beside_other_work_threads_wait_asleep_unless_the_user_says_otherwise(
    running: int, typed: dict[str, str], found: str
) -> None:
    chosen = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    environment = {name: value for name, value in os.environ.items() if name not in chosen} | typed
    said = subprocess.check_output([sys.executable, "-c", IMPORT, str(running)], env=environment, text=True)
    assert said.strip() == found
