"""Directories of runs as they are left, made without training."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.runs.json_files import write_outcome

MakeRun = Callable[..., Path]


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("outputs")


@pytest.fixture
def make_run(outputs: Path) -> MakeRun:
    """Return a function that makes a run of some age in seconds, whose files were last written when it started."""
    now = datetime.datetime.now()  # the jobs of one multirun began in one second

    def make(
        tail: str,
        *,
        name: str = "run",
        job: str = "",
        age: float = 3600,
        status: str = "passed",
        val: float | None = None,
        test: float | None = None,
        finding: str = "",
        words: str = "",
        config: dict[str, Any] | None = None,
    ) -> Path:
        started = now - datetime.timedelta(seconds=age)
        folder = outputs / name / f"{started:%Y-%m-%d_%H-%M-%S}_{tail}" / job
        stages: list[dict[str, Any]] = [{"name": "sanity", "status": "passed", "metrics": {"first_loss": 2.3}}]
        stages += [] if val is None else [{"name": "train", "status": "passed", "metrics": {"val_accuracy": val}}]
        stages += [] if test is None else [{"name": "evaluate", "status": "passed", "metrics": {"test_accuracy": test}}]
        record = {
            "schema": 1,
            "status": status,
            "seconds": 3.5,
            "command": f"python -m pipeline {words}".strip(),
            "stages": stages,
            "diagnosis": [{"check": finding, "severity": "failure"}] if finding else [],
        }
        write_outcome(folder, record)
        (folder / ".hydra").mkdir()
        (folder / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config or {"seed": 0}, sort_keys=False))
        for path in folder.rglob("*"):
            os.utime(path, (started.timestamp(),) * 2)
        return folder

    return make
