"""The list of runs: records that cannot be read are listed as broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.runs.index import SEARCH, list_runs, resolve_run
from pipeline.runs.json_files import write_outcome
from pipeline.runs.run_ids import id_matches, short_ids

ID = "2026-01-31_23-59-59_1f0c9a3e77b2"
RECORD = {"schema": 1, "status": "passed", "seconds": 1.5, "command": "python -m pipeline seed=1", "stages": []}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "name" / ID
    path.mkdir(parents=True)
    return path


def test_whole_record(directory: Path, tmp_path: Path) -> None:
    write_outcome(directory, RECORD)
    [run] = list_runs(tmp_path)
    assert (run.id, run.short_id, run.name, run.status) == (ID, "1f0c", "name", "passed")
    assert (run.seconds, run.overrides, run.problem) == (1.5, ("seed=1",), "")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 99}', '{"schema": 1}', '{"schema": 1, "rounds": 3}'])
def test_broken_search(content: str, directory: Path, tmp_path: Path) -> None:
    (directory / SEARCH).write_text(content)
    [run] = list_runs(tmp_path)
    assert (run.id, run.short_id, run.status) == (ID, "1f0c", "broken")
    assert run.problem.startswith(SEARCH)
    assert resolve_run("1f0c", tmp_path) == directory


@pytest.mark.parametrize(
    "changes", [{"stages": [1]}, {"stages": None}, {"seconds": None}, {"command": "'"}, {"diagnosis": [{}]}]
)
def test_malformed_record(changes: dict[str, Any], directory: Path, tmp_path: Path) -> None:
    (directory / "outcome.json").write_text(json.dumps(RECORD | changes))
    [run] = list_runs(tmp_path)
    assert run.status == "broken"
    assert run.problem.startswith("outcome.json")


def test_short_ids() -> None:
    tails = ("abcdef000000", "abcdee000000", "abc900000000")
    ids = short_ids(Path(f"2026-01-31_23-59-59_{tail}") for tail in tails)
    assert sorted(ids.values()) == ["abc9", "abcdee", "abcdef"]


@pytest.mark.parametrize(
    ("reference", "run_id", "matches"),
    [
        ("1f0c", ID, True), ("77b2", ID, True), ("2026", ID, True), ("name/1f0c", ID, True), ("other/1f0c", ID, False),
        ("f0c", ID, False), ("", ID, False), ("1f0c", f"{ID}/3", False), ("1f0c/3", f"{ID}/3", True),
    ],
)  # fmt: skip
def test_id_matches(reference: str, run_id: str, matches: bool) -> None:
    assert id_matches(reference, run_id, name="name") is matches
