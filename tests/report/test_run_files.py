"""Files of a run that are missing or cannot be read."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.report.run_files import load_history, read_run
from pipeline.report.run_page import run_page
from pipeline.runs.images import PICTURES
from pipeline.runs.json_files import OUTCOME, SIGNALS
from pipeline.runs.paths import UnreadableFileError
from tests.report.pages import PageParser

Runs = dict[str, Any]


@pytest.fixture
def directory(runs: Runs, tmp_path: Path) -> Path:
    """Return a copy of a run."""
    return Path(shutil.copytree(runs["passed"].directory, tmp_path / "outputs" / "name" / "run"))


def test_complete_run_has_no_problems(directory: Path) -> None:
    run = read_run(directory)
    assert list(run.problems) == []
    assert run.stage_names == ["sanity", "overfit", "train", "evaluate"]
    assert run.current_stage is None


@pytest.mark.parametrize("name", [SIGNALS, PICTURES, ".hydra/config.yaml"])
@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe"])
def test_unreadable_file_is_on_the_page(name: str, content: bytes, directory: Path) -> None:
    (directory / name).write_bytes(content)
    run = read_run(directory)
    [problem] = run.problems
    assert problem.startswith(Path(name).name)
    page = PageParser(run_page(run))
    assert any(problem in text for text in page.texts)


@pytest.mark.parametrize("name", [SIGNALS, PICTURES, ".hydra/config.yaml"])
def test_missing_file_is_no_problem(name: str, directory: Path) -> None:
    (directory / name).unlink()
    run = read_run(directory)
    assert list(run.problems) == []
    assert PageParser(run_page(run)).headline


def test_history_stands_in_for_an_interrupted_training(directory: Path) -> None:
    (directory / SIGNALS).unlink()
    epochs = read_run(directory).signals["train"]["epochs"]
    assert len(epochs["val_loss"]) == 5
    assert epochs == load_history(directory)


def test_unreadable_history(directory: Path) -> None:
    (directory / SIGNALS).unlink()
    (directory / "history.csv").write_text("epoch,loss\n0\n")
    with pytest.raises(UnreadableFileError):
        load_history(directory)
    run = read_run(directory)
    assert len(run.problems) == 1
    assert "train" not in run.signals


def test_no_record(directory: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_run(tmp_path)
    (directory / OUTCOME).write_text("{")
    with pytest.raises(UnreadableFileError):
        read_run(directory)
