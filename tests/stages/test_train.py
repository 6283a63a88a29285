"""The train stage: its files, its early break and wrong fields. test_train_resumed.py interrupts and resumes it."""

from __future__ import annotations

import csv
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from pipeline.checks import CheckSuite
from pipeline.errors import UserError
from pipeline.loggers import MultiLogger
from pipeline.training.checkpoints import best_epoch, strip_prefix
from tests.resumed_training import (
    RANDOM,
    STEPS,
    differences,
    read,
    resumed,
    stopped,
    train,
    without_seconds,
)
from tests.small_run import MakeRun

DIVERGING = ("batchnorm=none", "optimizer=sgd", "optimizer.lr=1000")


# ------------------------------------------------------------------------------------------ determinism


def test_seed_decides_bits(small_run: MakeRun) -> None:
    """The same seed gives the same bits whatever was drawn before, and another seed gives others."""
    first, second, other = small_run(*RANDOM), small_run(*RANDOM), small_run(*RANDOM, "seed=1")
    torch.manual_seed(1)  # what ran before must not matter
    one = train()(*first, [])
    torch.manual_seed(2)
    two = train()(*second, [])
    train()(*other, [])
    assert not differences(read(first), read(second))
    assert without_seconds(one.metrics["history"]) == without_seconds(two.metrics["history"])
    assert differences(read(first)["state_dict"], read(other)["state_dict"])


def test_components_stay_unchanged(small_run: MakeRun) -> None:
    small = small_run()
    before, preprocessing = (
        small.components.make_network().state_dict(),
        dict(small.components.preprocessing.state_dict()),
    )
    train(1)(*small, [])
    assert not differences(before, small.components.make_network().state_dict())
    assert not differences(preprocessing, dict(small.components.preprocessing.state_dict()))


# ------------------------------------------------------------------------------------------ files and metrics


def test_files_of_training(small_run: MakeRun) -> None:
    small = small_run()
    outcome = train()(*small, [])
    assert outcome.passed
    assert sorted(file.name for file in (small.context.directory / "checkpoints").iterdir()) == [
        "best.ckpt", "best.ckpt.sha256", "last.ckpt", "last.ckpt.sha256",
    ]  # fmt: skip
    rows = list(csv.DictReader((small.context.directory / "history.csv").read_text().splitlines()))
    history = outcome.metrics["history"]
    assert [{name: float(value) for name, value in row.items()} for row in rows] == history
    assert [row["epoch"] for row in history] == [0, 1, 2]
    assert [row["step"] for row in history] == [STEPS, 2 * STEPS, 3 * STEPS]
    assert [row["seconds"] for row in history] == sorted(row["seconds"] for row in history)


@pytest.mark.parametrize("monitor", ["val_accuracy", "val_loss"])
def test_best_and_last_checkpoint(small_run: MakeRun, monitor: str) -> None:
    small = small_run("schedule=constant", "optimizer.lr=1")  # a rate so high that the score goes up and down
    outcome = train(6, monitor=monitor)(*small, [])
    history = outcome.metrics["history"]
    best = best_epoch(history, monitor, examples=len(small.components.data.val))
    assert best is not history[-1]
    assert read(small, "best")["pipeline"]["epoch"] == best["epoch"] + 1
    assert read(small, "best")["global_step"] == best["step"]
    assert read(small, "last")["pipeline"]["epoch"] == 6
    assert outcome.metrics["best_epoch"] == best["epoch"]
    assert outcome.metrics[monitor] == best[monitor]


def test_best_is_last_within_standard_error(small_run: MakeRun) -> None:
    """Of the epochs within one standard error of the highest accuracy, the last one is kept."""
    small = small_run("schedule=constant", "optimizer.lr=0.5")
    outcome = train(6)(*small, [])
    scores = [row["val_accuracy"] for row in outcome.metrics["history"]]
    top, n = max(scores), len(small.components.data.val)
    assert top > scores[-1] >= top - (top * (1 - top) / n) ** 0.5
    assert read(small, "best")["pipeline"]["epoch"] == 6
    assert outcome.metrics["best_epoch"] == 5


def test_best_checkpoint_has_its_score(small_run: MakeRun) -> None:
    small = small_run()
    outcome = train()(*small, [])
    network = small.components.make_network()
    network.load_state_dict(strip_prefix(read(small, "best")["state_dict"], "network."))
    with torch.no_grad():
        logits = network.eval()(small.components.preprocessing(small.components.data.val.pixels))
    accuracy = (logits.argmax(1) == small.components.data.val.labels).double().mean()
    assert outcome.metrics["val_accuracy"] == pytest.approx(float(accuracy))
    assert outcome.metrics["val_loss"] == pytest.approx(
        float(small.components.loss(logits, small.components.data.val.labels)), rel=1e-5
    )


def test_checkpoint_contents(small_run: MakeRun) -> None:
    small = small_run()
    train(1)(*small, [])
    extra = read(small)["pipeline"]
    assert extra["config"] == small.components.config
    assert extra["classes"] == list(small.components.data.classes)
    assert extra["input_shape"] == [1, 8, 8]
    assert extra["fingerprint"] == small.components.data.fingerprint()


def test_patience(small_run: MakeRun) -> None:
    small = small_run("optimizer.lr=1e-12", "batchnorm=none")  # never better than after the first epoch
    outcome = train(9, patience=2)(*small, [])
    assert outcome.passed
    assert len(outcome.metrics["history"]) == 3
    assert outcome.metrics["best_epoch"] == 2  # the last of equals


def test_progress_counts_optimizer_steps(small_run: MakeRun) -> None:
    seen = []
    small = small_run("trainer.steps_per_call=3", progress=lambda done, total, **numbers: seen.append((done, total)))
    train(2)(*small, [])
    assert seen == [(3, 8), (4, 8), (7, 8), (8, 8)]


# ------------------------------------------------------------------------------------------ the early break


@pytest.mark.parametrize("per_call", [1, 10])
def test_early_break(small_run: MakeRun, per_call: int) -> None:
    steps = []
    small = small_run(
        *DIVERGING, f"trainer.steps_per_call={per_call}", progress=lambda done, *_, **__: steps.append(done)
    )
    outcome = train(50, break_factor=3.0)(*small, [])
    assert not outcome.passed
    assert outcome.findings[0].check in ("loss_exploding", "nonfinite")
    assert outcome.findings[0].remedy in (("optimizer.lr=1",), ("optimizer.lr=10",), ("optimizer.lr=100",))
    assert len(steps) < 3
    if outcome.findings[0].check == "loss_exploding":
        measured = outcome.findings[0].measured
        assert measured["cost"] > 3 * measured["original_cost"]
        assert measured["lr"] == 1000
        assert 1 < (outcome.findings[0].step or 0) <= STEPS
    assert not (small.context.directory / "checkpoints" / "last.ckpt").exists()


def test_original_cost_is_first_loss(small_run: MakeRun) -> None:
    small = small_run("trainer.steps_per_call=1")
    losses: list[float] = []
    small = small.replace(progress=lambda done, total, **numbers: losses.append(numbers["loss"]))
    train(2)(*small, [])
    assert read(small)["pipeline"]["original_cost"] == losses[0]


OVERSHOOTING = ("batchnorm=none", "optimizer=sgd", "optimizer.lr=4", "init.output_scale=1", "data.batch_size=50")


def ratios_of(small_run: MakeRun, *options: str) -> list[float]:
    """Return loss / first loss of each step of a run that is not broken off."""
    losses: list[float] = []

    def progress(done: int, total: int, **numbers: Any) -> None:
        losses.append(numbers["loss"])

    train(6, break_factor=1e9)(*small_run(*options, "trainer.steps_per_call=1", progress=progress), [])
    return [loss / losses[0] for loss in losses]


@pytest.mark.parametrize("per_call", [1, 10])
def test_five_steps_in_a_row_above_the_limit_end_it(small_run: MakeRun, per_call: int) -> None:
    """It must not depend on `trainer.steps_per_call`."""
    ratios = ratios_of(small_run, *OVERSHOOTING)
    in_a_row = [min(ratios[end - 5 : end]) for end in range(5, len(ratios) + 1)]
    limit = max(in_a_row)
    assert 1.01 < limit < max(ratios) < 10 * limit, "the case should overshoot, and come back"
    options = (*OVERSHOOTING, f"trainer.steps_per_call={per_call}")
    whole = train(6, break_factor=limit * 1.001)(*small_run(*options), [])
    assert whole.metrics["epochs"] == 6
    assert "loss_exploding" not in [finding.check for finding in whole.findings]
    broken = train(6, break_factor=limit * 0.999)(*small_run(*options), [])
    assert not broken.passed
    assert broken.findings[0].check == "loss_exploding"
    assert broken.findings[0].step == 5 + next(i for i, ratio in enumerate(in_a_row) if ratio > limit * 0.999)


def test_the_limit_is_one_of_the_error(small_run: MakeRun) -> None:
    """A loss that grows with the square of the error may grow by the square of the limit."""
    ratios = ratios_of(small_run, *OVERSHOOTING)
    limit = max(min(ratios[end - 5 : end]) for end in range(5, len(ratios) + 1))
    small = small_run(*OVERSHOOTING)
    small.components.loss.error_power = 2
    assert train(6, break_factor=(limit * 1.001) ** 0.5)(*small, []).metrics["epochs"] == 6
    broken = train(6, break_factor=(limit * 0.999) ** 0.5)(*small, [])
    assert broken.findings[0].check == "loss_exploding"
    assert broken.signals["break_factor"] == pytest.approx(limit * 0.999)


@pytest.mark.parametrize("per_call", [1, 10])
def test_one_step_far_above_the_limit_is_enough(small_run: MakeRun, per_call: int) -> None:
    overshooting = (*OVERSHOOTING, "optimizer.lr=1.6")  # a peak of fewer than five steps
    ratios = ratios_of(small_run, *overshooting)
    options = (*overshooting, f"trainer.steps_per_call={per_call}")
    broken = train(6, break_factor=max(ratios) * 0.0999)(*small_run(*options), [])
    assert broken.findings[0].step == 1 + ratios.index(max(ratios))


def test_nonfinite_loss(small_run: MakeRun) -> None:
    def nan_network() -> nn.Module:
        linear = nn.Linear(64, 10)
        nn.init.constant_(linear.weight, float("nan"))
        return nn.Sequential(nn.Flatten(), linear)

    outcome = train(5)(*small_run(make_network=nan_network), [])
    assert not outcome.passed
    assert [finding.check for finding in outcome.findings] == ["nonfinite"]


def test_no_early_break_without_checks(small_run: MakeRun) -> None:
    small = small_run(*DIVERGING, "checks.fail_on=never")
    outcome = train(3, break_factor=3.0)(*small, [])
    assert outcome.passed
    assert len(outcome.metrics["history"]) == 3


def test_original_cost_is_resumed(small_run: MakeRun) -> None:
    small = small_run("trainer.steps_per_call=1")
    path = stopped(train(), small, 6)
    original = read(small)["pipeline"]["original_cost"]
    later, _ = resumed(train(), small_run("trainer.steps_per_call=1"), path)
    assert read(later)["pipeline"]["original_cost"] == original


# ------------------------------------------------------------------------------------------ batch norm statistics


def test_recomputed_batchnorm(small_run: MakeRun) -> None:
    options = ("schedule=constant", "optimizer.lr=1")  # the best epoch is not the last
    running, exact = (small_run(*options, f"batchnorm.recompute={value}") for value in ("false", "true"))
    train(6)(*running, [])
    train(6)(*exact, [])
    assert read(running, "best")["global_step"] < read(running)["global_step"]
    before, after = read(running, "best")["state_dict"], read(exact, "best")["state_dict"]
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    layer = "network.hidden.dense1"
    assert changed == [f"{layer}.batchnorm.running_mean", f"{layer}.batchnorm.running_var"]

    inputs = exact.components.preprocessing(exact.components.data.train.pixels).flatten(1).double()
    outputs = inputs @ after[f"{layer}.linear.weight"].double().T
    mean, var = after[f"{layer}.batchnorm.running_mean"].double(), after[f"{layer}.batchnorm.running_var"].double()
    torch.testing.assert_close(mean, outputs.mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(var, outputs.var(0), rtol=1e-4, atol=1e-6)
    assert not differences(read(running, "last"), read(exact, "last"))


# ------------------------------------------------------------------------------------------ fields


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("epochs", 1.5),
        ("epochs", "3"),
        ("break_factor", 1),
        ("break_factor", float("nan")),
        ("patience", 0),
        ("patience", True),
        ("monitor", "loss"),
    ],
)
def test_wrong_fields_are_named(field: str, value: Any) -> None:
    with pytest.raises(UserError) as caught:
        train(**{field: value})
    assert caught.value.field == field


def test_early_break_fails_without_rules(small_run: MakeRun) -> None:
    """A run that ended early has not passed, whatever the rules find."""
    small = small_run(*DIVERGING)
    silent = small.replace(checks=CheckSuite(fail_on="failure", rules={}))
    assert not train(3, break_factor=3.0)(*silent, []).passed, "an early break fails the stage"


def test_recorded_steps(small_run: MakeRun) -> None:
    signals = train(3)(*small_run("trainer.steps_per_call=5"), []).signals
    assert signals is not None
    assert signals["samples"]["step"] == [1, 10]
    assert signals["units"]["epoch"] == [0, 2]  # too few steps after the first for the second; always after the last
    assert len(signals["epochs"]["probe_loss"]) == 3
    assert len(signals["losses"]) == len(signals["accuracies"]) == 3 * STEPS


def test_log_gets_each_epoch(small_run: MakeRun) -> None:
    class RecordingLog(MultiLogger):
        lengths: ClassVar[list[int]] = []

        def log_training(self, history: Any, *_: Any) -> None:
            self.lengths.append(len(history))

    small = small_run("stages.train.epochs=3", log=RecordingLog())
    small.components.stages["train"](*small, [])
    assert RecordingLog.lengths == [1, 2, 3, 3]


def test_a_monitor_of_another_task(small_run: MakeRun) -> None:
    """It is refused with the other components, before any stage runs."""
    with pytest.raises(UserError) as error:
        small_run("stages.train.monitor=val_r2")
    assert error.value.field == "stages.train.monitor"
