"""The loss function and the two modes in the sanity stage: which finding a fault gets, and what is a user's error."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.errors import UserError
from pipeline.model import CustomLoss
from pipeline.workflow.outcome import Outcome
from tests.signals.losses_under_test import (
    CLASSIFICATION,
    OVER_EXAMPLES,
    SHIFTED,
    LossFunction,
    scaled_by_columns,
)
from tests.small_run import MakeRun
from tests.stages.test_sanity import Net, run_with, sanity


def run_with_loss(small_run: MakeRun, function: LossFunction) -> Outcome:
    return sanity()(*small_run().replace(loss=CustomLoss(function=function)), [])


def alarms(outcome: Outcome) -> dict[str, str]:
    """Severity by check, without what is only mentioned."""
    return {finding.check: finding.severity for finding in outcome.findings if finding.severity != "info"}


def broadcast(logits: Tensor, labels: Tensor) -> Tensor:
    return F.mse_loss(logits.softmax(1) @ torch.arange(10.0)[:, None], labels.float(), reduction="none").mean()


@pytest.mark.filterwarnings("ignore:Using a target size")
def test_every_output_with_every_label(small_run: MakeRun) -> None:
    assert alarms(run_with_loss(small_run, broadcast)) == {"loss_ignores_pairs": "failure"}


def test_weights_of_other_examples(small_run: MakeRun) -> None:
    assert alarms(run_with_loss(small_run, scaled_by_columns)) == {"loss_ignores_pairs": "warning"}


@pytest.mark.parametrize("name", ["softmax over the batch", "normalized over the batch", "a view for a transpose"])
def test_a_loss_over_the_batch(small_run: MakeRun, name: str) -> None:
    assert alarms(run_with_loss(small_run, OVER_EXAMPLES[name])) == {"loss_mixes_examples": "failure"}


@pytest.mark.parametrize("name", ["labels + 1", "rolled", "shuffled", "labels as numbers"])
def test_shifted_labels(small_run: MakeRun, name: str) -> None:
    assert alarms(run_with_loss(small_run, SHIFTED[name][1])) == {"loss_disagrees": "failure"}


@pytest.mark.parametrize("name", ["class weights", "focal", "hardest examples", "one against rest", "mixup"])
def test_sound_losses(small_run: MakeRun, name: str) -> None:
    assert alarms(run_with_loss(small_run, CLASSIFICATION[name])) == {}


@pytest.mark.parametrize(
    "function",
    [
        lambda z, y: F.cross_entropy(z, y + 1),  # IndexError
        lambda z, y: F.nll_loss(z.log_softmax(1), y.float()),  # RuntimeError
        lambda z, y: F.binary_cross_entropy_with_logits(z, y),  # ValueError
        lambda z, y: F.cross_entropy(z.logits, y),  # AttributeError
        lambda z, y: F.cross_entropy(z[0], y),  # of a single example
    ],
)
def test_a_loss_that_raises_is_an_error_of_the_user(small_run: MakeRun, function: LossFunction) -> None:
    with pytest.raises(UserError, match=r"\(128, 10\)|\(64, 10\)") as error:
        run_with_loss(small_run, function)
    assert error.value.field == "loss"


def test_running_out_of_memory_is_not(small_run: MakeRun) -> None:
    def large(z: Tensor, y: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        run_with_loss(small_run, large)


# ----------------------------------------------------------------------------------------------------- modes


class Ending(Net):
    """A function of the logits."""

    def __init__(self, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(super().forward(x))


class DropoutOn(Net):
    def hidden(self, x: Tensor) -> Tensor:
        return F.dropout(super().hidden(x), 0.5, True)


class StuckInTraining(Net):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(20)

    def hidden(self, x: Tensor) -> Tensor:
        return self.norm(super().hidden(x))

    def train(self, mode: bool = True) -> StuckInTraining:
        self.training = mode
        return self


def test_dropout_that_stays_on(small_run: MakeRun) -> None:
    assert alarms(run_with(small_run(), DropoutOn)) == {"random_evaluation": "failure"}


def test_batchnorm_that_stays_in_training(small_run: MakeRun) -> None:
    outcome = run_with(small_run(), StuckInTraining)
    assert alarms(outcome) == {"wrong_mode": "failure"}
    assert outcome.findings[0].where == "norm"


def test_softmax_over_the_batch_is_named(small_run: MakeRun) -> None:
    outcome = run_with(small_run(), lambda: Ending(lambda z: z.log_softmax(0)))
    assert alarms(outcome) == {"batch_leak": "failure"}
    assert outcome.findings[0].code == "x = x.log_softmax(dim=1)"
