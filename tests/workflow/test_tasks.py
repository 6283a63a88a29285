"""Several labels, and numbers to predict, through all stages: what is measured, judged, kept and refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import pipeline
from pipeline.errors import UserError

SMALL = ("model=mlp", "model.width=32", "model.depth=1", "trainer=cpu", "report=false", "data=npz")


def write_data(path: Path, *, labels: str) -> Path:
    """Write 600 images of 8 x 8 whose upper and lower halves have random brightness, and what is to be predicted."""
    random = np.random.default_rng(0)
    brightness = random.random((600, 2))
    images = np.repeat(brightness, 4, axis=1)[:, :, None] * np.ones((1, 1, 8))
    images = (200 * images + 50 * random.random(images.shape)).astype(np.uint8)
    targets: Any = brightness * [10.0, 1000.0] + [0.0, 5000.0]
    if labels == "multilabel":
        targets = (brightness > [0.5, 0.8]).astype(np.int64)
    np.savez(path, x_train=images, y_train=targets.astype(np.float32) if labels == "regression" else targets)
    return path


def run(tmp_path: Path, labels: str, *overrides: str) -> pipeline.RunResult:
    file = write_data(tmp_path / "data.npz", labels=labels)
    outputs = f"outputs={tmp_path / 'out'}"
    return pipeline.run([*SMALL, f"data.path={file}", outputs, "stages.train.epochs=8", *overrides])


def test_regression(tmp_path: Path) -> None:
    """Targets are standardized for the network; errors are in the units of the targets."""
    result = run(tmp_path, "regression", "loss=regression", "stages.train.monitor=val_mae", "report=true")
    assert result.status == "passed", [finding.message for finding in result.findings]
    sanity, overfit, train, evaluate = (result.metrics[name] for name in ("sanity", "overfit", "train", "evaluate"))
    assert 0.5 < sanity["expected_first_loss"] < 1.5
    assert "overfit_wrong" not in overfit
    assert evaluate["test_r2"] > 0.9
    by_target = evaluate["by_class"]["mae"]
    assert by_target[1] > 20 * by_target[0]
    assert evaluate["test_mae"] == pytest.approx(sum(by_target) / 2)
    row = train["history"][train["best_epoch"]]
    assert row["val_mae"] == min(row["val_mae"] for row in train["history"])
    assert "val_accuracy" not in row
    record = json.loads((result.directory / "outcome.json").read_text())
    assert record["data"]["task"] == "regression"
    page = (result.directory / "report.html").read_text()
    assert "Predictions of" in page


def test_several_labels(tmp_path: Path) -> None:
    result = run(tmp_path, "multilabel", "loss=bce", "stages.train.monitor=val_exact_match", "report=true")
    assert result.status == "passed", [finding.message for finding in result.findings]
    assert result.metrics["sanity"]["expected_first_loss"] == pytest.approx(np.log(2), rel=1e-5)
    assert result.metrics["overfit"]["overfit_wrong"] == 0
    evaluate = result.metrics["evaluate"]
    assert evaluate["test_exact_match"] <= evaluate["test_accuracy"]
    assert evaluate["test_auc"] > 0.95
    best = max(row["val_exact_match"] for row in result.metrics["train"]["history"])
    assert result.metrics["train"]["val_exact_match"] == best


@pytest.mark.parametrize(
    ("labels", "loss", "right"),
    [
        ("regression", "cross_entropy", "loss=regression"),
        ("regression", "mse", "loss=regression"),
        ("multilabel", "regression", "loss=bce"),
        ("multilabel", "cross_entropy", "loss=bce"),
    ],
)
def test_wrong_loss(tmp_path: Path, labels: str, loss: str, right: str) -> None:
    with pytest.raises(UserError, match=right) as caught:
        run(tmp_path, labels, f"loss={loss}")
    assert caught.value.field == "loss"


def test_classes_with_a_loss_for_targets(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="loss=cross_entropy"):
        pipeline.run([*SMALL[:-1], "data=digits", f"outputs={tmp_path}", "loss=regression"])


def test_wrong_monitor(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        run(tmp_path, "regression", "loss=regression", "stages.train.monitor=val_accuracy", "stage=train")
    assert caught.value.field == "stages.train.monitor"


def test_targets_that_do_not_depend_on_the_images(tmp_path: Path) -> None:
    """A training that never beats the mean is at chance, whatever its task."""
    file = tmp_path / "data.npz"
    random = np.random.default_rng(0)
    images = random.integers(0, 255, (400, 8, 8)).astype(np.uint8)
    np.savez(file, x_train=images, y_train=random.normal(size=400).astype(np.float32))
    small = [*SMALL, f"data.path={file}", f"outputs={tmp_path}", "loss=regression", "stage=train"]
    result = pipeline.run([*small, "optimizer.lr=1e-5", "stages.train.epochs=10"])
    assert {finding.check for finding in result.findings} & {"loss_plateau", "rate_too_low", "undertrained"}


def test_imbalance(tmp_path: Path) -> None:
    """Of rare classes, balanced epochs and balanced weights find more than plain ones; the check names the remedy."""
    random = np.random.default_rng(0)
    labels = (random.random(1500) < 0.05).astype(np.int64)
    images = random.normal(120, 40, (1500, 6, 6)) + labels[:, None, None] * 14
    file = tmp_path / "data.npz"
    np.savez(file, x_train=images.clip(0, 255).astype(np.uint8), y_train=labels, classes=["well", "ill"])
    small = [*SMALL, f"data.path={file}", f"outputs={tmp_path / 'out'}", "stages.train.epochs=6"]
    plain, sampled, weighted = (
        pipeline.run([*small, override, "stages.train.monitor=val_balanced_accuracy"])
        for override in ("seed=0", "data.sampling=balanced", "loss.weight=balanced")
    )
    assert [finding.check for finding in plain.findings] == ["class_imbalance", "loss_plateau"]
    assert {finding.remedy for finding in plain.findings} == {("data.sampling=balanced",)}
    assert plain.metrics["train"]["val_balanced_accuracy"] == 0.5
    for cured in (sampled, weighted):
        assert cured.status == "passed"
        assert "class_imbalance" not in {finding.check for finding in cured.findings}
        assert cured.metrics["evaluate"]["test_balanced_accuracy"] > 0.75


@pytest.mark.parametrize(("labels", "loss"), [("regression", "regression"), ("multilabel", "bce")])
def test_output_activation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labels: str, loss: str) -> None:
    """A sigmoid at the end is found where the loss asks for logits, or for targets that it cannot reach."""
    monkeypatch.setenv("PIPELINE_ALLOW", "tests.workflow.test_tasks.EndsInSigmoid")
    custom = ["model=custom", "model._target_=tests.workflow.test_tasks.EndsInSigmoid"]
    file = write_data(tmp_path / "data.npz", labels=labels)
    result = pipeline.run(
        [*custom, "trainer=cpu", "report=false", "data=npz", f"data.path={file}", f"outputs={tmp_path}", f"loss={loss}",
         "stage=sanity"]
    )  # fmt: skip
    assert result.findings[0].check == "output_activation"
    assert result.findings[0].where == "sigmoid"


class EndsInSigmoid(nn.Sequential):
    """A network whose outputs are between 0 and 1."""

    def __init__(self, classes: int):
        super().__init__(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, classes), nn.Sigmoid())
