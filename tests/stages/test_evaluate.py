from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.data import Flip, Images
from pipeline.errors import UserError
from pipeline.stages.evaluate import Evaluate
from pipeline.stages.train import Train
from pipeline.training.checkpoints import strip_prefix
from pipeline.workflow.components import Components, Outcome

PartsOf = Callable[..., Components]


def trained(parts: Components) -> Outcome:
    return Train(epochs=3, break_factor=100.0, patience=None, monitor="val_accuracy")(parts, [])


def checkpoint(parts: Components, name: str = "best") -> Path:
    return parts.directory / "checkpoints" / f"{name}.ckpt"


@pytest.mark.parametrize("views", [1, 2])
def test_all_numbers_agree_with_a_slow_count(parts_of: PartsOf, views: int) -> None:
    parts = parts_of(augmentation=Flip(p=0.5, average=views == 2))
    outcome = Evaluate(checkpoint="best")(parts, [trained(parts)])
    network, test = parts.make_network().eval(), parts.data.test
    state = torch.load(checkpoint(parts), weights_only=True)["state_dict"]
    network.load_state_dict(strip_prefix(state, "network."))
    confusion = [[0] * 10 for _ in range(10)]
    total = 0.0
    with torch.no_grad():
        for i in range(len(test)):
            image = test.pixels[i : i + 1]
            logits = sum(network(parts.preprocessing(view)) for view in (image, image.flip(-1))[:views]) / views
            total += float(parts.loss(logits, test.labels[i : i + 1]))
            confusion[int(test.labels[i])][int(logits.argmax())] += 1
    metrics = outcome.metrics
    assert metrics["confusion"] == confusion
    right = [confusion[c][c] for c in range(10)]
    assert metrics["test_accuracy"] == pytest.approx(sum(right) / len(test))
    assert metrics["test_loss"] == pytest.approx(total / len(test), rel=1e-4)
    assert metrics["per_class_accuracy"] == {
        name: pytest.approx(right[c] / sum(confusion[c])) for c, name in enumerate(parts.data.classes)
    }
    assert outcome.passed
    assert metrics["views"] == views
    assert ("2 views of each" in outcome.headline) == (views == 2)
    assert metrics["checkpoint"] == str(checkpoint(parts))
    worst = min(metrics["per_class_accuracy"], key=lambda name: metrics["per_class_accuracy"][name])
    assert f"worst class {worst!r}" in outcome.headline


def test_rows_of_the_confusion_matrix_are_the_true_classes(parts_of: PartsOf) -> None:
    parts = parts_of()
    earlier = [trained(parts)]
    zeros = replace(parts.data.test, labels=torch.zeros_like(parts.data.test.labels))
    confusion = Evaluate(checkpoint="best")(replace(parts, data=replace(parts.data, test=zeros)), earlier).metrics[
        "confusion"
    ]
    assert sum(confusion[0]) == len(zeros)
    assert sum(sum(row) for row in confusion[1:]) == 0


def test_a_class_without_test_examples_has_no_accuracy(parts_of: PartsOf) -> None:
    parts = parts_of()
    earlier = [trained(parts)]
    test = parts.data.test
    kept = test.labels != 4
    parts = replace(parts, data=replace(parts.data, test=Images(test.pixels[kept], test.labels[kept])))
    metrics = Evaluate(checkpoint="best")(parts, earlier).metrics
    assert metrics["per_class_accuracy"][parts.data.classes[4]] is None
    assert sum(map(sum, metrics["confusion"])) == int(kept.sum())


def test_best_and_last_are_the_files_of_those_names(parts_of: PartsOf) -> None:
    parts = parts_of()
    earlier = [trained(parts)]
    for name in ("best", "last"):
        assert Evaluate(checkpoint=name)(parts, earlier).metrics["checkpoint"] == str(checkpoint(parts, name))


def test_it_measures_the_checkpoint_and_not_the_fresh_network(parts_of: PartsOf) -> None:
    parts, long = parts_of(), parts_of("optimizer=adam", "optimizer.lr=0.02")
    poor = Evaluate(checkpoint="last")(replace(parts), [trained(parts)]).metrics["test_accuracy"]
    trained(long)
    good = Evaluate(checkpoint=str(checkpoint(long, "last")))(parts, []).metrics["test_accuracy"]
    assert good > poor


def test_a_path_needs_no_training_before(parts_of: PartsOf) -> None:
    parts, other = parts_of(), parts_of()
    trained(parts)
    alone = Evaluate(checkpoint=str(checkpoint(parts)))(other, [])
    assert alone.metrics == Evaluate(checkpoint=str(checkpoint(parts)))(parts, []).metrics


def test_the_preprocessing_is_that_of_the_checkpoint(parts_of: PartsOf) -> None:
    parts = parts_of()
    trained(parts)
    stage = Evaluate(checkpoint=str(checkpoint(parts)))
    shifted = parts_of()
    with torch.no_grad():
        shifted.preprocessing.offset.add_(10)  # type: ignore[operator]
    assert stage(shifted, []).metrics == stage(parts, []).metrics


def test_the_parts_stay_as_they_were(parts_of: PartsOf) -> None:
    parts, other = parts_of(), parts_of("preprocessing=standardize")
    trained(parts)
    before = {name: tensor.clone() for name, tensor in other.preprocessing.state_dict().items()}
    Evaluate(checkpoint=str(checkpoint(parts)))(other, [])
    after = other.preprocessing.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("name", ["best", "last"])
def test_alone_it_needs_a_path(parts_of: PartsOf, name: str) -> None:
    with pytest.raises(UserError, match="path") as caught:
        Evaluate(checkpoint=name)(parts_of(), [])
    assert caught.value.field == "stages.evaluate.checkpoint"


@pytest.mark.parametrize(
    "options", [("model.width=17",), ("model.depth=2",), ("batchnorm=none",), ("preprocessing=pca",)]
)
def test_a_checkpoint_of_another_model_or_preprocessing_is_refused(parts_of: PartsOf, options: tuple[str, ...]) -> None:
    parts = parts_of()
    trained(parts)
    with pytest.raises(UserError, match="another model or preprocessing") as caught:
        Evaluate(checkpoint=str(checkpoint(parts)))(parts_of(*options), [])
    assert caught.value.field == "stages.evaluate.checkpoint"


def test_what_is_no_checkpoint_of_a_run_is_refused(parts_of: PartsOf, tmp_path: Path) -> None:
    torch.save({"weights": torch.zeros(3)}, tmp_path / "other.pt")
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    for name in ("other.pt", "tensor.pt", "missing.pt"):
        with pytest.raises(UserError) as caught:
            Evaluate(checkpoint=str(tmp_path / name))(parts_of(), [])
        assert caught.value.field == "stages.evaluate.checkpoint"


def test_a_damaged_checkpoint_is_refused(parts_of: PartsOf) -> None:
    parts = parts_of()
    earlier = [trained(parts)]
    data = bytearray(checkpoint(parts).read_bytes())
    data[len(data) // 2] ^= 1
    checkpoint(parts).write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        Evaluate(checkpoint="best")(parts, earlier)


@pytest.mark.parametrize("value", ["", None, 3])
def test_wrong_fields_are_named(value: object) -> None:
    with pytest.raises(UserError) as caught:
        Evaluate(checkpoint=value)  # type: ignore[arg-type]
    assert caught.value.field == "checkpoint"
