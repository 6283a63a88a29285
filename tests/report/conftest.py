"""Small real runs, whose pages are looked at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import pipeline
from pipeline.workflow.result import RunResult
from tests.report.pages import EVIL

TINY = ("model=mlp", "model.width=16", "model.depth=2", "trainer=cpu", "data.batch_size=32")
RunIn = Callable[..., RunResult]


@pytest.fixture(scope="session")
def run_in() -> RunIn:
    def run(outputs: Path, *overrides: str) -> RunResult:
        return pipeline.run([*TINY, f"outputs={outputs}", *overrides], quiet=True)

    return run


@pytest.fixture(scope="session")
def runs(run_in: RunIn, tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunResult]:
    """Return a run that passed, with classes and a tag that are markup; one with zero weights; one that exploded."""
    folder = tmp_path_factory.mktemp("runs")
    generator = np.random.default_rng(0)
    labels = np.arange(240) % 3
    images = (generator.random((240, 12, 12, 1)) * 60 + 90 * labels[:, None, None, None]).astype(np.uint8)
    classes = np.array([EVIL, "<b>bold</b>", "plain & simple"])
    np.savez(folder / "mine.npz", x_train=images, y_train=labels, classes=classes)
    outputs, data = folder / "outputs", ("data=npz", f"data.path={folder / 'mine.npz'}")
    tag = "tags=['</script><script>window.injected=1</script>']"
    return {
        "passed": run_in(outputs, *data, "name=passed", tag, "stages.train.epochs=5", "checks=off"),
        "zeros": run_in(outputs, "data=digits", "name=zeros", "init=zeros"),
        "exploded": run_in(outputs, "data=digits", "name=exploded", "optimizer.lr=1000", "stage=[train]"),
    }
