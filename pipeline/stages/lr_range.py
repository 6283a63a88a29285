"""A learning-rate range test: raises the rate by equal factors until the loss explodes, and proposes a rate."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch

from pipeline import validation
from pipeline.data.shuffle import permutation, split_batches
from pipeline.errors import UserError
from pipeline.stages.option_signals import option_signals
from pipeline.training.lightning_module import Classifier
from pipeline.training.progress import Progress
from pipeline.workflow.components import Components, RunContext, Stage
from pipeline.workflow.outcome import Outcome, all_findings


@dataclass(frozen=True)
class LrRange(Stage):
    """rate(k) = low * (high / low)^(k / (steps - 1)), one optimizer step each (Smith 2017, arXiv:1506.01186).

    Stops when the smoothed loss exceeds `stop_factor` times the best one. Proposes a tenth of the rate at which the
    smoothed loss was lowest: there the loss still falls steeply, with room before it explodes. Trains a fresh copy of
    the network, so the weights that other stages start from stay as they are.
    """

    key_metric = "best_loss"
    logged_metrics = ("proposed_lr", "best_loss")

    low: float
    high: float
    steps: int
    stop_factor: float
    smoothing: float

    def __post_init__(self) -> None:
        validation.number("low", self.low, above=0)
        validation.number("high", self.high, above=0)
        if self.high <= self.low:
            raise UserError(f"{self.high!r} is not above stages.lr_range.low={self.low!r}.", field="high")
        validation.integer("steps", self.steps, at_least=10)
        validation.number("stop_factor", self.stop_factor, above=1)
        validation.number("smoothing", self.smoothing, at_least=0, below=1)

    def rates(self) -> list[float]:
        """Return the rate of each step."""
        return [self.low * (self.high / self.low) ** (k / (self.steps - 1)) for k in range(self.steps)]

    def __call__(self, components: Components, context: RunContext, earlier: Sequence[Outcome]) -> Outcome:
        started = time.perf_counter()
        classifier = Classifier(
            components.make_network(),
            preprocessing=components.preprocessing.on(components.device_config.device),
            loss=components.loss,
            optimizer=components.make_optimizer,
            train=components.data.train,
            seed=components.seed,
            steps=[[pair] for pair in self._step_indices(components)],
            l2=components.l2,
            accumulate=components.device_config.accumulate,
            channels_last=components.channels_last,
            task=components.data.task,
            clipping=components.device_config.clipping,
            layer_decay=components.layer_decay,
        )
        sweep = _LrSweepCallback(self, context.progress)
        components.device_config.make_trainer(max_epochs=1, callbacks=[sweep]).fit(classifier)
        metrics = sweep.result() | {"configured_lr": components.lr}
        signals: dict[str, Any] = {
            **option_signals(components.config, classifier.network, outputs=len(components.data.classes)),
            "first_loss": metrics["first_loss"],
            "best_loss": metrics["best_loss"],
            "proposed_lr": metrics["proposed_lr"],
            "highest_lr": self.high,
        }
        findings = components.checks.evaluate(signals, stage="lr_range", earlier=all_findings(earlier))
        proposed = metrics["proposed_lr"]
        return Outcome(
            name="lr_range",
            passed=not components.checks.has_failure(findings),
            seconds=time.perf_counter() - started,
            headline=(
                f"proposed rate {proposed:.2g} (configured {components.lr:.2g}): optimizer.lr={proposed:.2g}"
                if proposed is not None
                else "no rate makes the loss go down"
            ),
            metrics=metrics,
            findings=tuple(findings),
            signals=signals,
        )

    def _step_indices(self, components: Components) -> list[tuple[int, torch.Tensor]]:
        """Return `steps` pairs (step, example indices), from as many epochs as that takes."""
        pieces: list[torch.Tensor] = []
        epoch = 0
        while len(pieces) < self.steps:
            pieces += split_batches(
                permutation(components.seed, epoch, len(components.data.train)), components.step_size
            )
            epoch += 1
        return list(enumerate(pieces[: self.steps]))


class _LrSweepCallback(pl.Callback):
    """Sets the rate of each step, and smooths its loss."""

    def __init__(self, stage: LrRange, progress: Progress):
        self.stage, self.progress = stage, progress
        self.rates = stage.rates()
        self.losses: list[float] = []
        self.smooth: list[float] = []
        self._average = 0.0

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self.rates[len(self.losses)]

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        assert isinstance(module, Classifier)
        loss = float(module.last_losses[-1])
        self.losses.append(loss)
        beta = self.stage.smoothing
        self._average = beta * self._average + (1 - beta) * loss
        self.smooth.append(self._average / (1 - beta ** len(self.losses)))
        self.progress(len(self.losses), len(self.rates), loss=loss, lr=self.rates[len(self.losses) - 1])
        if not math.isfinite(loss) or self.smooth[-1] > self.stage.stop_factor * min(self.smooth):
            trainer.should_stop = True

    def result(self) -> dict[str, Any]:
        """Return the curve and `proposed_lr`, which is None if the loss never fell below 0.98 of its start."""
        finite = [(s, r) for s, r in zip(self.smooth, self.rates, strict=False) if math.isfinite(s)]
        best, at = min(finite, default=(math.nan, math.nan))
        fell = bool(finite) and best < 0.98 * finite[0][0]
        return {
            "proposed_lr": at / 10 if fell else None,
            "best_loss": best,
            "first_loss": self.losses[0],
            "stopped_at_lr": self.rates[len(self.losses) - 1],
            "rates": self.rates[: len(self.losses)],
            "losses": self.losses,
            "smoothed": self.smooth,
        }
