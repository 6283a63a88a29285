"""Watches the loss of every step: ends a training that diverges, reports progress, and asks the checks each epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytorch_lightning as pl

from pipeline.checks import Finding
from pipeline.signals.explosion import Explosion
from pipeline.training.lightning_module import Classifier
from pipeline.training.progress import Progress


class TrainingDiverged(Exception):
    """Raised by a callback to end a training that cannot recover."""


class DivergenceGuard(pl.Callback):
    """Ends the training when the loss has exploded (see `Explosion`), or is not finite.

    With `break_factor` None the training goes on whatever the loss is. `on_epoch_checks(classifier)` returns findings
    at the end of each epoch; warnings and failures that are new go to `on_finding`. After the training `signals` says
    where it diverged, and `has_diverged` whether it did.
    """

    def __init__(
        self,
        *,
        total_steps: int,
        break_factor: float | None,
        on_epoch_checks: Callable[[Classifier], Sequence[Finding]],
        on_finding: Callable[[Finding], None],
        progress: Progress,
    ):
        self.total_steps, self.break_factor = total_steps, break_factor
        self.on_epoch_checks, self.on_finding, self.progress = on_epoch_checks, on_finding, progress
        self.signals: dict[str, Any] = {}
        self.has_diverged = False
        self.reported: set[str] = set()
        self.explosion = Explosion(math.inf if break_factor is None else break_factor)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(module, Classifier)
        losses = module.last_losses.tolist()
        module.record_steps(losses, [len(index) for _, index in batch])
        first_step = trainer.global_step - len(losses) + 1
        for step, (loss, (_, index)) in enumerate(zip(losses, batch, strict=True), start=first_step):
            self._check_loss(loss, len(index), step)
        module.checkpoint_extra |= {"original_cost": self.explosion.original_cost, "explosion": self.explosion.state()}
        row = module.history[-1] if module.history else {}
        accuracy = {name: row[name] for name in ("val_accuracy", "val_r2") if name in row}
        mean = sum(losses) / len(losses)
        self.progress(
            trainer.global_step, self.total_steps, unit="steps", epoch=module.epoch + 1, loss=mean, **accuracy
        )

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        """Release the captured step, since a training that an exception ends has no `on_train_end`."""
        assert isinstance(module, Classifier)
        module.release_graph()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, Classifier)
        for finding in self.on_epoch_checks(module):
            if finding.severity != "info" and finding.check not in self.reported:
                self.reported.add(finding.check)
                self.on_finding(finding)

    def on_load_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, state: dict[str, Any]) -> None:
        assert isinstance(module, Classifier)
        saved = state["pipeline"]
        self.explosion.load({"original_cost": saved["original_cost"]} | saved.get("explosion", {}))

    def _check_loss(self, loss: float, examples: int, step: int) -> None:
        """End the training at the first loss that is not finite, or by which the loss has exploded."""
        if not math.isfinite(loss):
            self._end_training({"nonfinite": ["the loss"], "nonfinite_step": step})
        elif (cost := self.explosion.add(loss, examples)) is not None:
            evidence = {"exploded_cost": cost, "exploded_step": step, "original_cost": self.explosion.original_cost}
            self._end_training({"exploded": True, "break_factor": self.break_factor} | evidence)

    def _end_training(self, signals: dict[str, Any]) -> None:
        if self.break_factor is None:
            return
        self.has_diverged, self.signals = True, signals
        raise TrainingDiverged


def rows_to_columns(rows: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    """Turn rows that have the same keys into one list per key."""
    return {key: [row[key] for row in rows] for key in rows[0]} if rows else {}
