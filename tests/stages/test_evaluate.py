"""The evaluate stage: its numbers against a slow count, and the checkpoints it takes and refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.data import Flip, Images
from pipeline.errors import UserError
from pipeline.signals.schema import EvaluateSignals, ValidationSignals
from pipeline.stages.evaluate import Evaluate
from pipeline.stages.train import Train
from pipeline.training import checkpoints
from pipeline.training.checkpoints import strip_prefix
from pipeline.workflow.outcome import Outcome
from tests.small_run import MakeRun, SmallRun


def trained(small: SmallRun) -> Outcome:
    return Train(epochs=3, break_factor=100.0, patience=None, monitor="val_accuracy")(*small, [])


def checkpoint(small: SmallRun, name: str = "best") -> Path:
    return small.context.directory / "checkpoints" / f"{name}.ckpt"


@pytest.mark.parametrize("views", [1, 2])
def test_metrics_against_slow_count(small_run: MakeRun, views: int) -> None:
    small = small_run(augmentation=Flip(p=0.5, average=views == 2))
    outcome = Evaluate(checkpoint="best")(*small, [trained(small)])
    network, test = small.components.make_network().eval(), small.components.data.test
    state = torch.load(checkpoint(small), weights_only=True)["state_dict"]
    network.load_state_dict(strip_prefix(state, "network."))
    confusion = [[0] * 10 for _ in range(10)]
    total = 0.0
    with torch.no_grad():
        for i in range(len(test)):
            image = test.pixels[i : i + 1]
            logits = (
                sum(network(small.components.preprocessing(view)) for view in (image, image.flip(-1))[:views]) / views
            )
            total += float(small.components.loss(logits, test.labels[i : i + 1]))
            confusion[int(test.labels[i])][int(logits.argmax())] += 1
    metrics = outcome.metrics
    assert metrics["confusion"] == confusion
    correct = [confusion[c][c] for c in range(10)]
    assert metrics["test_accuracy"] == pytest.approx(sum(correct) / len(test))
    assert metrics["test_loss"] == pytest.approx(total / len(test), rel=1e-4)
    assert metrics["per_class_accuracy"] == {
        name: pytest.approx(correct[c] / sum(confusion[c])) for c, name in enumerate(small.components.data.classes)
    }
    assert outcome.passed
    assert metrics["views"] == views
    assert metrics["checkpoint"] == str(checkpoint(small))


def test_confusion_rows_are_true_classes(small_run: MakeRun) -> None:
    small = small_run()
    earlier = [trained(small)]
    zeros = replace(small.components.data.test, labels=torch.zeros_like(small.components.data.test.labels))
    confusion = Evaluate(checkpoint="best")(
        *small.replace(data=replace(small.components.data, test=zeros)), earlier
    ).metrics["confusion"]
    assert sum(confusion[0]) == len(zeros)
    assert sum(sum(row) for row in confusion[1:]) == 0


def test_class_without_examples(small_run: MakeRun) -> None:
    small = small_run()
    earlier = [trained(small)]
    test = small.components.data.test
    others = test.labels != 4
    small = small.replace(data=replace(small.components.data, test=Images(test.pixels[others], test.labels[others])))
    metrics = Evaluate(checkpoint="best")(*small, earlier).metrics
    assert metrics["per_class_accuracy"][small.components.data.classes[4]] is None
    assert sum(map(sum, metrics["confusion"])) == int(others.sum())


def test_best_and_last_are_files(small_run: MakeRun) -> None:
    small = small_run()
    earlier = [trained(small)]
    for name in ("best", "last"):
        assert Evaluate(checkpoint=name)(*small, earlier).metrics["checkpoint"] == str(checkpoint(small, name))


def test_evaluates_checkpoint(small_run: MakeRun) -> None:
    """It is the checkpoint that is measured, and not a fresh network."""
    small, long = small_run(), small_run("optimizer=adam", "optimizer.lr=0.02")
    poor = Evaluate(checkpoint="last")(*small, [trained(small)]).metrics["test_accuracy"]
    trained(long)
    good = Evaluate(checkpoint=str(checkpoint(long, "last")))(*small, []).metrics["test_accuracy"]
    assert good > poor


def test_path_needs_no_training(small_run: MakeRun) -> None:
    small, other = small_run(), small_run()
    trained(small)
    alone = Evaluate(checkpoint=str(checkpoint(small)))(*other, [])
    assert alone.metrics == Evaluate(checkpoint=str(checkpoint(small)))(*small, []).metrics


def test_preprocessing_is_that_of_checkpoint(small_run: MakeRun) -> None:
    small = small_run()
    trained(small)
    stage = Evaluate(checkpoint=str(checkpoint(small)))
    shifted = small_run()
    with torch.no_grad():
        shifted.components.preprocessing.offset.add_(10)  # type: ignore[operator]
    assert stage(*shifted, []).metrics == stage(*small, []).metrics


def test_components_stay_unchanged(small_run: MakeRun) -> None:
    small, other = small_run(), small_run("preprocessing=standardize")
    trained(small)
    before = {name: tensor.clone() for name, tensor in other.components.preprocessing.state_dict().items()}
    Evaluate(checkpoint=str(checkpoint(small)))(*other, [])
    after = other.components.preprocessing.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("name", ["best", "last"])
def test_needs_training_or_path(small_run: MakeRun, name: str) -> None:
    with pytest.raises(UserError) as caught:
        Evaluate(checkpoint=name)(*small_run(), [])
    assert caught.value.field == "stages.evaluate.checkpoint"


@pytest.mark.parametrize(
    "options", [("model.width=17",), ("model.depth=2",), ("batchnorm=none",), ("preprocessing=pca",)]
)
def test_checkpoint_of_other_model(small_run: MakeRun, options: tuple[str, ...]) -> None:
    small = small_run()
    trained(small)
    with pytest.raises(UserError) as caught:
        Evaluate(checkpoint=str(checkpoint(small)))(*small_run(*options), [])
    assert caught.value.field == "stages.evaluate.checkpoint"


def test_other_files_are_refused(small_run: MakeRun, tmp_path: Path) -> None:
    torch.save({"weights": torch.zeros(3)}, tmp_path / "other.pt")
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    for name in ("other.pt", "tensor.pt", "missing.pt"):
        with pytest.raises(UserError) as caught:
            Evaluate(checkpoint=str(tmp_path / name))(*small_run(), [])
        assert caught.value.field == "stages.evaluate.checkpoint"


def test_damaged_checkpoint(small_run: MakeRun) -> None:
    small = small_run()
    earlier = [trained(small)]
    data = bytearray(checkpoint(small).read_bytes())
    data[len(data) // 2] ^= 1
    checkpoint(small).write_bytes(data)
    with pytest.raises(UserError, match="checksum") as caught:
        Evaluate(checkpoint="best")(*small, earlier)
    assert caught.value.field == "stages.evaluate.checkpoint"


@pytest.mark.parametrize("value", ["", None, 3])
def test_wrong_fields_are_named(value: object) -> None:
    with pytest.raises(UserError) as caught:
        Evaluate(checkpoint=value)  # type: ignore[arg-type]
    assert caught.value.field == "checkpoint"


def shuffled(images: Images) -> Images:
    """Return the images with labels that have nothing to do with them."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return Images(images.pixels, images.labels[order])


@pytest.fixture
def well_trained(small_run: MakeRun) -> tuple[SmallRun, Outcome]:
    small = small_run("optimizer=adam", "optimizer.lr=0.02", "data.limit=1000")
    return small, Train(epochs=6, break_factor=100.0, patience=None, monitor="val_accuracy")(*small, [])


def test_signals_of_both_splits(well_trained: tuple[SmallRun, Outcome]) -> None:
    small, train = well_trained
    outcome = Evaluate(checkpoint="best")(*small, [train])
    signals, data = outcome.signals, small.components.data
    assert signals is not None
    assert signals["test_accuracy"] == outcome.metrics["test_accuracy"]
    assert signals["test_class_accuracy"] == list(outcome.metrics["per_class_accuracy"].values())
    assert signals["test_class_counts"] == data.class_counts()["test"]
    assert (signals["test_examples"], signals["val_examples"]) == (len(data.test), len(data.val))
    assert signals["val_accuracy"] == pytest.approx(train.metrics["val_accuracy"])
    assert signals["val_class_counts"] == data.class_counts()["val"]
    right = sum(a * n for a, n in zip(signals["val_class_accuracy"], signals["val_class_counts"], strict=True))
    assert right / len(data.val) == pytest.approx(signals["val_accuracy"])
    assert signals["epochs_compared"] == 6
    assert signals.keys() <= EvaluateSignals.__annotations__.keys() | ValidationSignals.__annotations__.keys()
    assert outcome.passed
    assert outcome.findings == ()


def test_test_split_of_another_kind(well_trained: tuple[SmallRun, Outcome]) -> None:
    small, train = well_trained
    small = small.replace(data=replace(small.components.data, test=shuffled(small.components.data.test)))
    path = str(checkpoint(small))
    other_data = Evaluate(checkpoint=path)(*small, [train])
    assert other_data.passed  # it was trained on data of another fingerprint, whose validation split is unknown
    assert other_data.signals is not None
    assert "val_accuracy" not in other_data.signals
    state = torch.load(path, weights_only=True)
    state["pipeline"]["fingerprint"] = small.components.data.fingerprint()
    checkpoints.save(state, Path(path))
    outcome = Evaluate(checkpoint="best")(*small, [train])
    assert not outcome.passed
    (finding,) = outcome.findings
    assert (finding.check, finding.severity, finding.stage) == ("test_below_validation", "failure", "evaluate")
    assert finding.measured["val_accuracy"] > 0.8
    assert finding.measured["test_accuracy"] < 0.3


def test_a_cause_that_was_named_explains_the_warning(well_trained: tuple[SmallRun, Outcome]) -> None:
    small, _ = well_trained
    checks = small.components.checks
    signals = {
        "test_class_accuracy": [0.8, 0.8], "test_class_counts": [500, 500],
        "val_class_accuracy": [0.95, 0.95], "val_class_counts": [500, 500], "epochs_compared": 5,
    }  # fmt: skip
    (alone,) = checks.evaluate(signals, stage="evaluate")
    assert alone.severity == "warning"
    for check in ("split_shift", "label_noise", "shared_groups"):
        cause = replace(alone, check=check, stage="sanity")
        assert checks.evaluate(signals, stage="evaluate", earlier=[cause]) == []
