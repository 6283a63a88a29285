"""The ensemble stage: its numbers against a slow average, and how its members differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.config.compose import compose_config
from pipeline.data import Flip
from pipeline.errors import UserError
from pipeline.model.task import from_probabilities, to_probabilities
from pipeline.stages.ensemble import Ensemble, ensemble_signals
from pipeline.stages.evaluate import Evaluate
from pipeline.stages.train import Train
from pipeline.training.ensemble_members import EnsembleMember, load_member
from pipeline.workflow.build import build_components
from pipeline.workflow.components import Components, RunContext, Stage
from pipeline.workflow.outcome import Outcome
from tests.small_run import MakeRun, SmallRun

TRAIN = Train(epochs=2, break_factor=100.0, patience=None, monitor="val_accuracy")


def run_ensemble(small: SmallRun, *, members: int = 3, checkpoints: tuple[str, ...] = ()) -> Outcome:
    return Ensemble(members=members, checkpoints=checkpoints)(*small, [TRAIN(*small, [])])


def member_of(small: SmallRun, path: str) -> EnsembleMember:
    fingerprint = small.components.data.fingerprint()
    return load_member(Path(path), fingerprint=fingerprint, device=torch.device("cpu"), field="x")


def with_train(small: SmallRun, **changes: Any) -> SmallRun:
    return small.replace(stages={"train": TRAIN}, **changes)


def test_mean_of_probabilities(small_run: MakeRun) -> None:
    small = with_train(small_run("optimizer.lr=0.05"), augmentation=Flip(p=0.5, average=True))
    outcome = run_ensemble(small)
    accuracies, joint = [], torch.zeros(len(small.components.data.val), 10)
    for path in outcome.metrics["checkpoints"]:
        member = member_of(small, path)
        with torch.no_grad():
            pixels = small.components.data.val.pixels
            logits = (member(pixels) + member(pixels.flip(-1))) / 2
        accuracies.append(float((logits.argmax(1) == small.components.data.val.labels).float().mean()))
        joint += logits.softmax(1) / 3
    assert outcome.metrics["member_accuracies"] == pytest.approx(accuracies)
    accuracy = float((joint.argmax(1) == small.components.data.val.labels).float().mean())
    assert outcome.metrics["ensemble_accuracy"] == pytest.approx(accuracy)
    loss = float(-joint.gather(1, small.components.data.val.labels[:, None]).log().mean())
    assert outcome.metrics["ensemble_log_loss"] == pytest.approx(loss, rel=1e-4)
    assert outcome.passed


def test_members_differ_in_seed(small_run: MakeRun) -> None:
    """The first member is the run itself, and the others are the runs of the next seeds."""
    small = with_train(small_run())
    paths = [Path(path) for path in run_ensemble(small).metrics["checkpoints"]]
    assert [path.relative_to(small.context.directory).as_posix() for path in paths] == [
        "checkpoints/best.ckpt",
        "members/seed_1/checkpoints/best.ckpt",
        "members/seed_2/checkpoints/best.ckpt",
    ]
    other = small_run(seed=1, make_network=lambda: small.components.make_network(1))
    TRAIN(*other, [])
    states = [
        torch.load(path, weights_only=True)["state_dict"]
        for path in (*paths, other.context.directory / "checkpoints" / "best.ckpt")
    ]
    assert any(not torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert all(torch.equal(states[1][name], states[3][name]) for name in states[1])  # as a run with that seed
    assert torch.load(paths[1], weights_only=True)["pipeline"]["config"]["seed"] == 1


def test_test_split_is_not_touched(small_run: MakeRun) -> None:
    small = with_train(small_run())
    first = run_ensemble(small).metrics
    blind = replace(small.components.data.test, pixels=torch.zeros_like(small.components.data.test.pixels))
    hidden = with_train(small_run(), data=replace(small.components.data, test=blind))
    assert run_ensemble(hidden).metrics["ensemble_accuracy"] == first["ensemble_accuracy"]


def test_checkpoints_of_any_architecture(small_run: MakeRun) -> None:
    runs = [small_run(), small_run("model.width=24", "preprocessing=standardize")]
    for run in runs:
        TRAIN(*run, [])
    small = small_run()
    paths = (str(runs[0].context.directory), str(runs[1].context.directory / "checkpoints" / "last.ckpt"))
    outcome = Ensemble(members=3, checkpoints=paths)(*small, [])
    assert len(outcome.metrics["member_accuracies"]) == 2
    assert not small.context.directory.exists()


def test_identical_members(small_run: MakeRun) -> None:
    small = small_run()
    TRAIN(*small, [])
    outcome = Ensemble(members=2, checkpoints=(str(small.context.directory),) * 2)(*small, [])
    assert outcome.metrics["disagreement"] == 0
    assert [finding.check for finding in outcome.findings] == ["ensemble_no_better"]
    assert outcome.findings[0].severity == "warning"


def test_members_of_other_data(small_run: MakeRun) -> None:
    other = small_run("data.split_seed=7")
    TRAIN(*other, [])
    with pytest.raises(UserError) as caught:
        Ensemble(members=2, checkpoints=(str(other.context.directory),) * 2)(*small_run(), [])
    assert caught.value.field == "stages.ensemble.checkpoints"


def test_other_files_are_refused(small_run: MakeRun, tmp_path: Path) -> None:
    torch.save({"weights": torch.zeros(3)}, tmp_path / "other.ckpt")
    for name in ("other.ckpt", "missing.ckpt"):
        with pytest.raises(UserError) as caught:
            Ensemble(members=2, checkpoints=(str(tmp_path / name),) * 2)(*small_run(), [])
        assert caught.value.field == "stages.ensemble.checkpoints"


class FailingTrain(Stage):
    """A training that fails with some seeds."""

    def __init__(self, broken: set[int]):
        self.broken = broken

    def __call__(self, components: Components, context: RunContext, earlier: Sequence[Outcome]) -> Outcome:
        return replace(TRAIN(components, context, []), passed=components.seed not in self.broken)


@pytest.mark.parametrize(("broken", "passed"), [({1}, True), ({1, 2}, False)])
def test_failed_members_are_left_out(small_run: MakeRun, broken: set[int], passed: bool) -> None:
    small = small_run(stages={"train": FailingTrain(broken)})
    outcome = run_ensemble(small)
    assert outcome.passed == passed
    assert outcome.metrics["members_broken"] == len(broken)
    assert len(outcome.metrics["checkpoints"]) == 3 - len(broken)


def test_members_are_resumed(small_run: MakeRun) -> None:
    small = with_train(small_run())
    whole = run_ensemble(small)
    again = with_train(small_run(), resume_from=small.context.directory / "checkpoints" / "last.ckpt")
    last = torch.load(small.context.directory / "members/seed_1/checkpoints/last.ckpt", weights_only=True)
    assert last["epoch"] == 1
    resumed = run_ensemble(again)
    assert resumed.metrics["member_accuracies"] == whole.metrics["member_accuracies"]


def test_evaluate_ensemble(small_run: MakeRun) -> None:
    small = with_train(small_run("optimizer.lr=0.05"))
    outcome = run_ensemble(small)
    metrics = Evaluate(checkpoint="ensemble")(*small, [outcome]).metrics
    joint = torch.zeros(len(small.components.data.test), 10)
    for path in outcome.metrics["checkpoints"]:
        with torch.no_grad():
            joint += member_of(small, path)(small.components.data.test.pixels).softmax(1) / 3
    assert metrics["test_accuracy"] == pytest.approx(
        float((joint.argmax(1) == small.components.data.test.labels).float().mean())
    )
    assert metrics["checkpoint"] == "ensemble of 3"


def test_disagreement() -> None:
    labels = torch.tensor([0, 1, 1, 0])
    predictions = torch.tensor([[0, 1, 1, 1], [0, 1, 0, 1], [0, 1, 1, 1]])
    signals = ensemble_signals(torch.nn.functional.one_hot(predictions, 2).float(), labels)
    assert signals["disagreement"] == 0.25
    assert signals["member_accuracies"] == [0.75, 0.5, 0.75]
    assert signals["ensemble_accuracy"] == 0.75


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        (["stage=ensemble"], "stages.ensemble.checkpoints"),
        (["stage=[ensemble,train]"], "stages.ensemble.checkpoints"),
        (["stage=[train,ensemble]", "stages.ensemble.members=1"], "stages.ensemble.members"),
        (["stage=[train,ensemble]", "stages.ensemble.checkpoints=[a]"], "stages.ensemble.checkpoints"),
        (["stage=[train,ensemble]", "stages.ensemble.checkpoints=a"], "stages.ensemble.checkpoints"),
        (["stage=[train,evaluate]", "stages.evaluate.checkpoint=ensemble"], "stages.evaluate.checkpoint"),
    ],
)
def test_wrong_options_are_refused(overrides: list[str], field: str) -> None:
    """They are refused before anything is trained."""
    with pytest.raises(UserError) as caught:
        build_components(compose_config(["data=digits", "model=mlp", *overrides]))
    assert caught.value.field == field


def test_signals_of_other_tasks() -> None:
    probabilities = torch.tensor([[[0.9, 0.2], [0.4, 0.6]], [[0.6, 0.7], [0.7, 0.9]]])
    signals = ensemble_signals(probabilities, torch.tensor([[1.0, 0.0], [0.0, 1.0]]), task="multilabel")
    assert signals["member_accuracies"] == [1.0, 0.5]
    assert signals["ensemble_accuracy"] == 0.75  # the mean is 0.75, 0.45 and 0.55, 0.75
    assert signals["disagreement"] == 1.0
    signals = ensemble_signals(probabilities, probabilities[0], task="regression")
    assert signals["member_r2"] == pytest.approx([1.0, 1 - (0.09 + 0.25 + 0.09 + 0.09) / 4])
    assert signals["ensemble_r2"] == pytest.approx(1 - (0.09 + 0.25 + 0.09 + 0.09) / 16)


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_probabilities_and_back(task: str) -> None:
    probabilities = torch.tensor([[0.9, 0.1], [0.25, 0.75]])
    assert to_probabilities(task, from_probabilities(task, probabilities)).tolist() == [
        pytest.approx(row) for row in probabilities.tolist()
    ]
