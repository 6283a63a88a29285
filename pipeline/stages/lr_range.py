"""A learning-rate range test: raise the rate in equal factors, watch the loss, stop when it leaves the ground."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch

from pipeline import validation
from pipeline.checks import Finding
from pipeline.data.shuffle import permutation, split_batches
from pipeline.errors import UserError
from pipeline.training.lightning_module import Classifier
from pipeline.workflow.components import Components, Outcome


@dataclass(frozen=True)
class LrRange:
    """rate(k) = low * (high / low)^(k / (steps - 1)), one optimizer step each (Smith 2017, arXiv:1506.01186).

    Stops when the smoothed loss exceeds `stop_factor` times the best one. Proposes a tenth of the rate at which the
    smoothed loss was lowest: there the loss still falls steeply, with room before it explodes. Trains a fresh copy of
    the network, so the weights that other stages start from are the ones they were.
    """

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
        return [self.low * (self.high / self.low) ** (k / (self.steps - 1)) for k in range(self.steps)]

    def __call__(self, parts: Components, earlier: Sequence[Outcome]) -> Outcome:
        started = time.perf_counter()
        classifier = Classifier(
            parts.make_network(),
            preprocessing=parts.preprocessing.on(parts.device_config.device),
            loss=parts.loss,
            optimizer=parts.make_optimizer,
            train=parts.data.train,
            seed=parts.seed,
            steps=[[pair] for pair in self._minibatches(parts)],
            l2=parts.l2,
            accumulate=parts.device_config.accumulate,
            channels_last=parts.channels_last,
        )
        sweep = _LrSweepCallback(self, parts)
        parts.device_config.trainer(max_epochs=1, callbacks=[sweep]).fit(classifier)
        metrics = sweep.result() | {"configured_lr": parts.lr}
        findings = _findings(metrics)
        proposed = metrics["proposed_lr"]
        return Outcome(
            name="lr_range",
            passed=not parts.checks.has_failure(findings),
            seconds=time.perf_counter() - started,
            headline=(
                f"proposed rate {proposed:.2g} (configured {parts.lr:.2g}): optimizer.lr={proposed:.2g}"
                if proposed is not None
                else "no rate makes the loss go down"
            ),
            metrics=metrics,
            findings=tuple(findings),
        )

    def _minibatches(self, parts: Components) -> list[tuple[int, torch.Tensor]]:
        pieces: list[torch.Tensor] = []
        epoch = 0
        while len(pieces) < self.steps:
            pieces += split_batches(permutation(parts.seed, epoch, len(parts.data.train)), parts.step_size)
            epoch += 1
        return list(enumerate(pieces[: self.steps]))


class _LrSweepCallback(pl.Callback):
    def __init__(self, stage: LrRange, parts: Components):
        self.stage, self.parts = stage, parts
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
        self.parts.progress(len(self.losses), len(self.rates), loss=loss, lr=self.rates[len(self.losses) - 1])
        if not math.isfinite(loss) or self.smooth[-1] > self.stage.stop_factor * min(self.smooth):
            trainer.should_stop = True

    def result(self) -> dict[str, Any]:
        """The curve, and the proposal: None when the loss never fell visibly below where it began."""
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


def _findings(metrics: dict[str, Any]) -> list[Finding]:
    if metrics["proposed_lr"] is not None:
        return []
    return [
        Finding(
            check="rate_too_low",
            severity="failure",
            measured={"first_loss": metrics["first_loss"], "best_loss": metrics["best_loss"]},
            expected="a loss that falls by 2 % or more somewhere in the range",
            message="At no rate in the range did the loss go down.",
            why="No gradient reaches the weights, or the range misses every useful rate.",
            remedy=("stages.lr_range.high=100", "init=he"),
            source="Smith 2017, Cyclical Learning Rates",
            stage="lr_range",
        )
    ]
