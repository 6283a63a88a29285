"""One real run with all loggers at once, and a way to start others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import pipeline
from pipeline.workflow.result import RunResult

SMALL = ("data=digits", "model=mlp", "model.width=16", "optimizer.lr=0.02", "stages.train.epochs=3", "trainer=cpu")
RunIn = Callable[..., RunResult]


@pytest.fixture(scope="session")
def run_in() -> RunIn:
    def run(outputs: Path, *overrides: str) -> RunResult:
        return pipeline.run([f"outputs={outputs}", *SMALL, *overrides], quiet=True)

    return run


@pytest.fixture(scope="session")
def logged_run(run_in: RunIn, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """Return a run with four loggers: 23 steps an epoch, measured in full at steps 1, 10, 25 and 50."""
    outputs = tmp_path_factory.mktemp("logged") / "outputs"
    return run_in(
        outputs, "stage=[sanity,train,evaluate]", "logger=[csv,tensorboard,mlflow,wandb]", "tags=[a]", "report=true"
    )
