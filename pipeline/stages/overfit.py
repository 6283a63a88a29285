"""A very small portion of the training data, learned by heart, with everything off that keeps from it."""

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
from pipeline.data.splits import stratified_head
from pipeline.model import without_dropout
from pipeline.stages.signals_of_training import config_signals
from pipeline.training.lightning_module import Classifier
from pipeline.workflow.components import Components, Outcome, Progress, all_findings

LOWER_LR_FACTORS = (0.1, 0.01, 0.001)
HIGHER_LR_FACTORS = (10.0, 100.0, 1e3, 1e5)
"""Factors of the configured rate that are tried when it fails: is it the network that cannot learn, or the rate?"""


@dataclass(frozen=True)
class Overfit:
    """Regularization (label smoothing too), dropout and augmentation off, constant rate, the whole subset in each step.

    Passes when the loss of a step is below `target_loss` (nats) with every example right, within `steps` steps. If not,
    the same budget is given to lower rates where the loss rose, and to higher ones where it fell too slowly: the first
    rate that reaches the target tells that the network is sound and the rate is not.
    """

    examples: int
    steps: int
    target_loss: float

    def __post_init__(self) -> None:
        validation.integer("examples", self.examples, at_least=2)
        validation.integer("steps", self.steps, at_least=1)
        validation.number("target_loss", self.target_loss, above=0)

    def __call__(self, parts: Components, earlier: Sequence[Outcome]) -> Outcome:
        started = time.perf_counter()
        few = stratified_head(parts.data.train, len(parts.data.classes), self.examples)
        watch, network = self._attempt(parts, few, 1.0)
        signals = watch.signals() | {"losses": watch.losses, "accuracies": [n / len(few) for n in watch.right]}
        signals["classes"] = len(parts.data.classes)
        signals |= config_signals(parts, network)
        if watch.reached is None and math.isfinite(parts.lr):
            likely, unlikely = (
                (LOWER_LR_FACTORS, HIGHER_LR_FACTORS) if watch.diverged() else (HIGHER_LR_FACTORS, LOWER_LR_FACTORS)
            )
            signals |= self._other_rates(parts, few, (*likely, *unlikely[:2]))
        findings = parts.checks.evaluate(signals, stage="overfit", earlier=all_findings(earlier))
        return Outcome(
            name="overfit",
            passed=not parts.checks.has_failure(findings),
            seconds=time.perf_counter() - started,
            headline=watch.headline(),
            metrics=watch.signals() | {"lr": parts.lr, "losses": watch.losses},
            findings=tuple(findings),
            signals=signals,
        )

    def _other_rates(self, parts: Components, few: Images, factors: Sequence[float]) -> dict[str, Any]:
        for factor in factors:
            watch, _ = self._attempt(parts, few, factor)
            if watch.reached is not None:
                return {"overfit_other_rate": factor * parts.lr, "overfit_other_steps": watch.reached}
        return {}

    def _attempt(self, parts: Components, few: Images, factor: float) -> tuple[_OverfitMonitor, nn.Module]:
        everything = torch.arange(len(few))
        calls = range(0, self.steps, parts.device_config.steps_per_call)
        optimizer = (
            parts.make_optimizer if factor == 1 else functools.partial(parts.make_optimizer, lr=factor * parts.lr)
        )
        classifier = Classifier(
            parts.make_network(),
            preprocessing=parts.preprocessing.on(parts.device_config.device),
            loss=parts.loss.without_smoothing(),
            optimizer=optimizer,
            train=few,
            seed=parts.seed,
            steps=[
                [(i, everything) for i in range(c, min(c + parts.device_config.steps_per_call, self.steps))]
                for c in calls
            ],
            channels_last=parts.channels_last,
        )
        watch = _OverfitMonitor(len(few), self.steps, self.target_loss, parts.progress)
        with without_dropout(classifier.network):
            parts.device_config.trainer(max_epochs=1, callbacks=[watch]).fit(classifier)
        return watch, classifier.network


class _OverfitMonitor(pl.Callback):
    """Looks at the losses of each Lightning step in one transfer, and ends the fit at the first that is good enough."""

    def __init__(self, examples: int, steps: int, target: float, progress: Progress):
        self.examples, self.steps, self.target, self.progress = examples, steps, target, progress
        self.losses: list[float] = []
        self.right: list[int] = []
        self.reached: int | None = None

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        assert isinstance(module, Classifier)
        for loss, right in zip(module.last_losses.tolist(), module.last_correct.tolist(), strict=True):
            self.losses.append(loss)
            self.right.append(right)
            if loss < self.target and right == self.examples:
                self.reached = len(self.losses)
                break
        self.progress(len(self.losses), self.steps, loss=self.losses[-1])
        if self.reached is not None or self.losses[-1] != self.losses[-1]:
            trainer.should_stop = True

    def diverged(self) -> bool:
        """Far above where it began on the way, or above it or above twice its best at the end, or not finite: the rate
        is too high rather than too low."""
        last = sum(self.losses[-10:]) / len(self.losses[-10:])
        spiked = max(self.losses) > 1.5 * self.losses[0]
        return spiked or not last < self.losses[0] or last > 2 * max(min(self.losses), self.target)

    def signals(self) -> dict[str, Any]:
        broken = next((i for i, loss in enumerate(self.losses) if loss != loss or abs(loss) == float("inf")), None)
        return {
            "overfit_reached": self.reached is not None,
            "overfit_steps": self.reached or len(self.losses),
            "overfit_first_loss": self.losses[0],
            "overfit_loss": self.losses[-1] if self.reached is None else self.losses[self.reached - 1],
            "overfit_best_loss": min(self.losses),
            "overfit_wrong": self.examples - self.right[-1],
            "overfit_examples": self.examples,
            "overfit_target": self.target,
            "nonfinite": [] if broken is None else ["the loss"],
            "nonfinite_step": broken,
        }

    def headline(self) -> str:
        if self.reached is not None:
            return f"{self.examples} examples learned by heart in {self.reached} steps (loss {self.losses[-1]:.4f})"
        wrong = self.examples - self.right[-1]
        return f"stuck at loss {self.losses[-1]:.4g}, {wrong} of {self.examples} wrong after {len(self.losses)} steps"
