"""Losses, accuracies and epochs of a watched loop, read from the device only now and then."""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.signals.explosion import BREAK_FACTOR, MIN_EXAMPLES, Explosion

LABELLED_STEPS = 20
"""First steps whose labels are counted, so that the loss of a guess is known; later ones at measured steps only."""
CROSS_ENTROPY_TOLERANCE = 1e-3
"""Relative difference up to which a loss is taken for the mean cross-entropy."""


class Curves:
    """Collects what a training shows from outside. A step's loss stays on its device until `read` is called."""

    def __init__(self, classes: int | None):
        self.classes = classes
        self.losses: list[float] = []
        self.accuracies: list[float] = []
        self.rows: list[dict[str, float | None]] = []
        self.examples = 0
        self.label_counts: Tensor | None = None
        self.is_cross_entropy: bool | None = None
        self.explosion = Explosion(BREAK_FACTOR)
        self.exploded: dict[str, Any] | None = None
        """The loss by which the training has exploded, and its step."""
        self._losses: list[Tensor] = []
        self._sizes: list[int] = []
        self._hits: list[Tensor] = []
        self._epoch_began = 0
        self._epoch_examples: list[int] = []
        self._started = time.perf_counter()

    @property
    def steps(self) -> int:
        return len(self.losses) + len(self._losses)

    def add(self, losses: list[Tensor], hits: Tensor | None, examples: int) -> None:
        """Add a step: the losses of its passes, and the share of right answers (one number each, on the device)."""
        loss = losses[0] if len(losses) == 1 else torch.stack(losses).mean()
        self._losses.append(loss)
        self._sizes.append(examples)
        if hits is not None:
            self._hits.append(hits)
        self.examples += examples

    def read(self) -> list[float]:
        """Transfer what is still on the device, and return the new losses."""
        if not self._losses:
            return []
        new = torch.stack([loss.float() for loss in self._losses]).tolist()
        for step, (loss, size) in enumerate(zip(new, self._sizes, strict=True), start=len(self.losses) + 1):
            self._watch_explosion(step, loss, size)
        self.losses += new
        if self._hits:
            self.accuracies += torch.stack(self._hits).tolist()
        self._losses, self._hits, self._sizes = [], [], []
        return new

    def _watch_explosion(self, step: int, loss: float, examples: int) -> None:
        """Note the first step by which the loss has exploded; forget it once the loss is back at where it began."""
        if not math.isfinite(loss):
            return
        cost = self.explosion.add(loss, examples or MIN_EXAMPLES)
        if cost is not None and self.exploded is None:
            self.exploded = {"exploded_cost": cost, "exploded_step": step}
        elif self.exploded is not None and self.explosion.steps_above == 0:
            self.exploded = None

    def count_labels(self, loss: Tensor, outputs: Tensor, labels: Tensor) -> None:
        """Count the classes of a batch, and see whether the loss is the mean cross-entropy."""
        if self.classes is None or outputs.ndim != 2 or labels.shape != outputs.shape[:1]:
            return
        counts = torch.bincount(labels.clamp(0, self.classes - 1), minlength=self.classes).cpu()
        self.label_counts = counts if self.label_counts is None else self.label_counts + counts
        if self.is_cross_entropy is None:
            expected = float(F.cross_entropy(outputs.float(), labels))
            self.is_cross_entropy = math.isclose(float(loss), expected, rel_tol=CROSS_ENTROPY_TOLERANCE)

    def end_epoch(self, *, lr: float | None, metrics: dict[str, float]) -> dict[str, float | None]:
        """Add a row of the table of epochs, and return it."""
        self.read()
        row: dict[str, float | None] = {"epoch": float(len(self.rows)), "step": float(len(self.losses)), "lr": lr}
        row["loss"] = _mean(self.losses[self._epoch_began :])
        row["accuracy"] = _mean(self.accuracies[self._epoch_began :]) if self.accuracies else None
        row |= {key: float(value) for key, value in metrics.items()}
        row["seconds"] = time.perf_counter() - self._started
        self.rows.append(row)
        self._epoch_examples.append(self.examples - sum(self._epoch_examples))
        self._epoch_began = len(self.losses)
        return row

    def state_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        self.read()
        return {
            "losses": list(self.losses),
            "accuracies": list(self.accuracies),
            "rows": [dict(row) for row in self.rows],
            "examples": self.examples,
            "epoch_began": self._epoch_began,
            "epoch_examples": list(self._epoch_examples),
            "label_counts": None if self.label_counts is None else self.label_counts.tolist(),
            "is_cross_entropy": self.is_cross_entropy,
            "explosion": self.explosion.state(),
            "exploded": self.exploded,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict()`."""
        self.losses, self.accuracies = list(state["losses"]), list(state["accuracies"])
        self.rows, self.examples = [dict(row) for row in state["rows"]], state["examples"]
        self._epoch_began, self._epoch_examples = state["epoch_began"], list(state["epoch_examples"])
        counts = state["label_counts"]
        self.label_counts = None if counts is None else torch.tensor(counts)
        self.is_cross_entropy = state["is_cross_entropy"]
        self.explosion.load(state["explosion"])
        self.exploded = state["exploded"]

    def signals(self) -> dict[str, Any]:
        """Return the signals of `train` in docs/signals.md that the curves hold."""
        keys = list(dict.fromkeys(key for row in self.rows for key in row))
        columns = {key: [row.get(key) for row in self.rows] for key in keys}
        columns = {key: values for key, values in columns.items() if any(value is not None for value in values)}
        return {
            "losses": list(self.losses),
            "accuracies": list(self.accuracies),
            "epochs": columns,
            "train_examples": max(self._epoch_examples, default=self.examples),
            "steps_per_epoch": max(1, round(len(self.losses) / max(1, len(self.rows)))),
            **self._chance(),
            **self._nonfinite(),
            **self._explosion(),
        }

    def _explosion(self) -> dict[str, Any]:
        if self.exploded is None:
            return {}
        return {
            "exploded": True,
            "break_factor": BREAK_FACTOR,
            "original_cost": self.explosion.original_cost,
            **self.exploded,
        }

    def _chance(self) -> dict[str, Any]:
        if self.label_counts is None or not int(self.label_counts.sum()):
            return {}
        shares = self.label_counts.double() / self.label_counts.sum()
        entropy = float(-torch.xlogy(shares, shares).sum())
        return {"chance_accuracy": float(shares.max()), **({"chance_loss": entropy} if self.is_cross_entropy else {})}

    def _nonfinite(self) -> dict[str, Any]:
        first = next((i for i, loss in enumerate(self.losses, start=1) if not math.isfinite(loss)), None)
        return {"nonfinite": [] if first is None else ["the loss"], "nonfinite_step": first}


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
