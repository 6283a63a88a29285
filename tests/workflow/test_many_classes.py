"""More classes than the stages take examples: all stages run, and what is written stays small."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

import pipeline

CLASSES = 1_000


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> pipeline.RunResult:
    """Return a run on 4 images of each class, which differ in their mean image, and of which some labels are wrong."""
    folder = tmp_path_factory.mktemp("classes")
    random = np.random.default_rng(0)
    means = random.random((CLASSES, 6, 6))
    labels = np.repeat(np.arange(CLASSES), 4)
    images = 200 * means[labels] + 55 * random.random((len(labels), 6, 6))
    labels[::40] = (labels[::40] + 1) % CLASSES
    np.savez(folder / "data.npz", x_train=images.astype(np.uint8), y_train=labels)
    small = ["model=mlp", "model.width=32", "model.depth=1", "trainer=cpu", "stages.train.epochs=2"]
    data = ["data=npz", f"data.path={folder / 'data.npz'}", "data.validation=0.25", "data.test=0.25"]
    return pipeline.run([*small, *data, f"outputs={folder / 'out'}", "optimizer.lr=0.05", "checks.fail_on=never"])


def test_all_stages_run(run: pipeline.RunResult) -> None:
    assert list(run.metrics) == ["sanity", "overfit", "train", "evaluate"]
    assert run.metrics["sanity"]["expected_first_loss"] == pytest.approx(math.log(CLASSES))
    assert run.metrics["sanity"]["first_loss"] == pytest.approx(math.log(CLASSES), rel=0.05)
    assert run.metrics["sanity"]["examples"] < CLASSES


def test_the_record_is_small(run: pipeline.RunResult) -> None:
    """The whole matrix would have a million numbers."""
    evaluate = run.metrics["evaluate"]
    assert len(evaluate["confusion"]) == len(evaluate["confusion_classes"]) == 30
    wrong = [mistake["label"] for mistake in evaluate["mistakes"]]
    assert wrong
    assert sum(map(sum, evaluate["confusion"])) <= sum(evaluate["confusion_examples"])
    sizes = {name: (run.directory / name).stat().st_size for name in ("outcome.json", "signals.json", "report.html")}
    assert sizes["outcome.json"] < 300_000
    assert sizes["signals.json"] < 600_000
    assert sizes["report.html"] < 3_000_000


def test_the_page_shows_some_classes(run: pipeline.RunResult) -> None:
    page = (run.directory / "report.html").read_text()
    assert "30 most confused of 1000 classes" in page
    record = json.loads((run.directory / "outcome.json").read_text())
    assert len(record["data"]["classes"]) == CLASSES
