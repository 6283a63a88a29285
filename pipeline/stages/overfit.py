"""Trains on a few examples with everything off that keeps a network from fitting them exactly."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from pipeline import validation
from pipeline.data import Images
from pipeline.data.dataset import CLASSIFICATION, REGRESSION
from pipeline.data.splits import stratified_head
from pipeline.model import without_dropout
from pipeline.stages.signals_of_training import config_signals
from pipeline.training.lightning_module import Classifier
from pipeline.training.progress import Progress
from pipeline.workflow.components import Components, RunContext, Stage
from pipeline.workflow.outcome import Outcome, all_findings

LOWER_LR_FACTORS = (0.1, 0.01, 0.001)
HIGHER_LR_FACTORS = (10.0, 100.0, 1e3, 1e5)
"""Factors of the configured rate that are tried when it fails: is it the network that cannot learn, or the rate?"""


@dataclass(frozen=True)
class Overfit(Stage):
    """Train on `examples` examples at a constant rate, all of them in each step.

    Regularization (label smoothing too), dropout and augmentation are off. Passes when the loss of a step is below
    `target_loss` (nats; of regression, in variances of the target) with every example right, within `steps` steps. If
    it does not, the same budget is given to lower rates where the loss diverged, and to higher ones where it fell too
    slowly: the first rate that reaches the target shows that the network is sound and the rate is not.
    """

    key_metric = "overfit_loss"
    logged_metrics = ("overfit_loss", "overfit_steps")

    examples: int
    steps: int
    target_loss: float

    def __post_init__(self) -> None:
        validation.integer("examples", self.examples, at_least=2)
        validation.integer("steps", self.steps, at_least=1)
        validation.number("target_loss", self.target_loss, above=0)

    def __call__(self, components: Components, context: RunContext, earlier: Sequence[Outcome]) -> Outcome:
        started = time.perf_counter()
        few = stratified_head(components.data.train, len(components.data.classes), self.examples)
        monitor, network = self._train(components, context, few, 1.0)
        accuracies = [correct / len(few) for correct in monitor.correct]
        signals = monitor.signals() | {"losses": monitor.losses}
        if components.data.task != REGRESSION:
            signals |= {"accuracies": accuracies, "classes": len(components.data.classes)}
        signals |= config_signals(components, network)
        if monitor.reached_at is None and math.isfinite(components.lr):
            if monitor.diverged():
                factors: tuple[float, ...] = (*LOWER_LR_FACTORS, *HIGHER_LR_FACTORS[:2])
            else:
                factors = (*HIGHER_LR_FACTORS, *LOWER_LR_FACTORS[:2])
            signals |= self._try_other_rates(components, context, few, factors)
        # what is not learned has a finding of this stage, whatever an earlier warning may explain
        causes = () if monitor.reached_at is None else all_findings(earlier)
        findings = components.checks.evaluate(signals, stage="overfit", earlier=causes)
        return Outcome(
            name="overfit",
            passed=not components.checks.has_failure(findings),
            seconds=time.perf_counter() - started,
            headline=monitor.headline(),
            metrics=monitor.signals() | {"lr": components.lr, "losses": monitor.losses},
            findings=tuple(findings),
            signals=signals,
        )

    def _try_other_rates(
        self, components: Components, context: RunContext, few: Images, factors: Sequence[float]
    ) -> dict[str, Any]:
        for factor in factors:
            monitor, _ = self._train(components, context, few, factor)
            if monitor.reached_at is not None:
                return {"overfit_other_rate": factor * components.lr, "overfit_other_steps": monitor.reached_at}
        return {}

    def _train(
        self, components: Components, context: RunContext, few: Images, factor: float
    ) -> tuple[OverfitMonitor, nn.Module]:
        """Train a fresh network at `factor` times the configured rate."""
        device = components.device_config
        everything, per_call = torch.arange(len(few), device=device.device), device.chunk_size
        make_optimizer = components.make_optimizer
        if factor != 1:
            make_optimizer = functools.partial(make_optimizer, lr=factor * components.lr)
        classifier = Classifier(
            components.make_network(),
            preprocessing=components.preprocessing.on(device.device),
            loss=components.loss.without_smoothing(),
            optimizer=make_optimizer,
            train=few,
            seed=components.seed,
            steps=[
                [(step, everything) for step in range(start, min(start + per_call, self.steps))]
                for start in range(0, self.steps, per_call)
            ],
            channels_last=components.channels_last,
            task=components.data.task,
            clipping=device.clipping,
            layer_decay=components.layer_decay,
        )
        monitor = OverfitMonitor(len(few), self.steps, self.target_loss, context.progress, task=components.data.task)
        with without_dropout(classifier.network):
            device.make_trainer(max_epochs=1, callbacks=[monitor]).fit(classifier)
        return monitor, classifier.network


class OverfitMonitor(pl.Callback):
    """Reads the losses of each Lightning step in one transfer, and ends the fit at the first below the target."""

    def __init__(self, examples: int, steps: int, target: float, progress: Progress, *, task: str = CLASSIFICATION):
        self.examples, self.steps, self.target, self.progress = examples, steps, target, progress
        self.task = task
        self.losses: list[float] = []
        self.correct: list[float] = []
        self.reached_at: int | None = None

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        assert isinstance(module, Classifier)
        for loss, correct in zip(module.last_losses.tolist(), module.last_correct.tolist(), strict=True):
            self.losses.append(loss)
            self.correct.append(correct)
            if self._is_fitted(loss, correct):
                self.reached_at = len(self.losses)
                break
        self.progress(len(self.losses), self.steps, loss=self.losses[-1])
        if self.reached_at is not None or math.isnan(self.losses[-1]):
            trainer.should_stop = True

    def _is_fitted(self, loss: float, score: float) -> bool:
        """Return whether the examples are learned; `score` is the sum of `score_examples`.

        Targets are never hit exactly: their squared error decides, whatever the loss, since a mean error as small as
        the target would be far less.
        """
        if self.task == REGRESSION:
            return score > (1 - self.target) * self.examples
        return loss < self.target and score > self.examples - 1e-4

    def diverged(self) -> bool:
        """Return whether the rate is too high rather than too low.

        So it is if the loss spiked above 1.5 times its start, ended above its start or above twice its minimum, or is
        not finite. The end is the mean of the last ten losses.
        """
        last = sum(self.losses[-10:]) / len(self.losses[-10:])
        spiked = max(self.losses) > 1.5 * self.losses[0]
        return spiked or not last < self.losses[0] or last > 2 * max(min(self.losses), self.target)

    def signals(self) -> dict[str, Any]:
        """Return the signals of docs/signals.md that this monitor measured."""
        nonfinite_step = next((i for i, loss in enumerate(self.losses) if not math.isfinite(loss)), None)
        wrong = 0 if self.task == REGRESSION else math.ceil(self.examples - self.correct[-1] - 1e-4)
        return {
            "overfit_reached": self.reached_at is not None,
            "overfit_steps": self.reached_at or len(self.losses),
            "overfit_first_loss": self.losses[0],
            "overfit_loss": self.losses[-1] if self.reached_at is None else self.losses[self.reached_at - 1],
            "overfit_best_loss": min(self.losses),
            **({} if self.task == REGRESSION else {"overfit_wrong": wrong}),
            "overfit_examples": self.examples,
            "overfit_target": self.target,
            "nonfinite": [] if nonfinite_step is None else ["the loss"],
            "nonfinite_step": nonfinite_step,
        }

    def headline(self) -> str:
        if self.reached_at is not None:
            return f"{self.examples} examples fitted in {self.reached_at} steps (loss {self.losses[-1]:.4f})"
        stuck = f"stuck at loss {self.losses[-1]:.4g}"
        if self.task == REGRESSION:
            return f"{stuck} on {self.examples} examples after {len(self.losses)} steps"
        wrong = self.signals()["overfit_wrong"]
        return f"{stuck}, {wrong} of {self.examples} wrong after {len(self.losses)} steps"
