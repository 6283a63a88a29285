"""Watching the cost of every step: the early break, how far the run is, and what the checks say meanwhile."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import pytorch_lightning as pl

from pipeline.checks import Finding
from pipeline.training.lightning_module import Classifier
from pipeline.workflow.components import Components

JUDGED_EXAMPLES = 16
"""The cost is the mean over at least so many examples: with a batch of one, a single wrong answer is no explosion."""


class TrainingDiverged(Exception):
    """Ends the fit from within a callback when going on is pointless."""


class DivergenceGuard(pl.Callback):
    """Breaks off when the cost exceeds `break_factor` times the original cost, or is not finite.

    `judge(classifier)` is asked at the end of each epoch; findings that are new are told at once.
    """

    def __init__(
        self, parts: Components, *, total_steps: int, break_factor: float, on_epoch_checks: Callable[..., list[Finding]]
    ):
        self.parts, self.total, self.factor, self.on_epoch_checks = parts, total_steps, break_factor, on_epoch_checks
        self.signals: dict[str, Any] = {}
        self.broken = False
        self.reported: set[str] = set()
        self._window: deque[tuple[float, int]] = deque()

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(module, Classifier)
        losses = module.last_losses.tolist()
        module.record_steps(losses, [len(index) for _, index in batch])
        original = module.checkpoint_extra.setdefault("original_cost", losses[0])
        first = trainer.global_step - len(losses) + 1
        for step, (loss, (_, index)) in enumerate(zip(losses, batch, strict=True), start=first):
            self._look(loss, len(index), step, original)
        row = module.history[-1] if module.history else {}
        shown = {"val_accuracy": row["val_accuracy"]} if row else {}
        mean = sum(losses) / len(losses)
        self.parts.progress(trainer.global_step, self.total, unit="steps", epoch=module.epoch + 1, loss=mean, **shown)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        for finding in self.on_epoch_checks(module) if not self.parts.is_trial else ():
            if finding.severity != "info" and finding.check not in self.reported:
                self.reported.add(finding.check)
                self.parts.on_finding(finding)

    def on_load_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, state: dict[str, Any]) -> None:
        assert isinstance(module, Classifier)
        module.checkpoint_extra["original_cost"] = state["pipeline"]["original_cost"]

    def _look(self, loss: float, examples: int, step: int, original: float) -> None:
        """Break off at the first cost that is not finite or too high; tiny batches are judged by several steps."""
        if not math.isfinite(loss):
            self._break({"nonfinite": ["the loss"], "nonfinite_step": step})
        self._window.append((loss, examples))
        while sum(n for _, n in self._window) - self._window[0][1] >= JUDGED_EXAMPLES:
            self._window.popleft()
        cost = sum(loss * n for loss, n in self._window) / sum(n for _, n in self._window)
        # for a positive cost: cost > break_factor * original; a user's own loss may be negative
        if original != 0 and cost > original + (self.factor - 1) * abs(original):
            about = {"exploded_cost": cost, "exploded_step": step, "original_cost": original}
            self._break({"exploded": True, "break_factor": self.factor} | about)

    def _break(self, signals: dict[str, Any]) -> None:
        if self.parts.checks.fail_on == "never":
            return
        self.broken, self.signals = True, signals
        raise TrainingDiverged


def rows_to_columns(rows: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    """Rows with the same keys as one list per key."""
    return {key: [row[key] for row in rows] for key in rows[0]} if rows else {}
