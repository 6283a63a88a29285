"""One real run with every log at once, and a way to begin others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import pipeline
from pipeline.workflow.result import RunResult

SMALL = ("data=digits", "model=mlp", "model.width=16", "optimizer.lr=0.02", "stages.train.epochs=3", "trainer=cpu")


@pytest.fixture(scope="session")
def run_in() -> Callable[..., RunResult]:
    def run(outputs: Path, *overrides: str) -> RunResult:
        return pipeline.run([f"outputs={outputs}", *SMALL, *overrides], quiet=True)

    return run


@pytest.fixture(scope="session")
def whole(run_in: Callable[..., RunResult], tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """Four logs, 24 steps an epoch, looked at in steps 1, 10, 25, 50."""
    outputs = tmp_path_factory.mktemp("whole") / "outputs"
    return run_in(
        outputs, "stage=[sanity,train,evaluate]", "logger=[csv,tensorboard,mlflow,wandb]", "tags=[a]", "report=true"
    )
