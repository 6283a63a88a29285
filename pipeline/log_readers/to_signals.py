"""From the series of a log to the signals of the stage `train` (docs/signals.md), and to what could not be used."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from pipeline.log_readers.columns import Meaning, map_columns
from pipeline.log_readers.divergence import divergence_signals
from pipeline.log_readers.epochs import epoch_table
from pipeline.log_readers.log import Log, Point, Series
from pipeline.signals.long_curves import steps_per_entry

SIGNAL_OF = {
    "loss.step": "losses",
    "loss.epoch": "epochs.loss",
    "accuracy.step": "accuracies",
    "accuracy.epoch": "epochs.accuracy",
    "grad_norm": "samples.gradient_norm",
}
"""Where a role ends up; all others are columns of `epochs`."""
MIN_POINTS = 3
"""Points of a loss below which nothing can be said about a training."""


@dataclass(frozen=True)
class LogFacts:
    """What the user says about a training whose log does not; None where it is unknown."""

    classes: int | None = None
    steps_per_epoch: int | None = None
    train_examples: int | None = None
    val_examples: int | None = None


@dataclass(frozen=True)
class Reading:
    """A log in the words of the checks."""

    path: Path
    kind: str
    signals: dict[str, Any]
    """Signals of the stage `train`."""
    columns: Mapping[str, str]
    """Column of the log -> signal that it became."""
    passed_over: Mapping[str, str] = field(default_factory=dict)
    """Column -> why it was not used."""
    notes: Sequence[str] = ()
    has_epochs: bool = True
    """Whether the rows of `epochs` are epochs or validations, and not stretches of the steps."""

    @property
    def points(self) -> int:
        """Losses that were logged, of the training or of the validation examples, whichever are more."""
        epochs = self.signals.get("epochs", {})
        return max(len(self.signals.get("losses", ())), len(epochs.get("loss", ())), len(epochs.get("val_loss", ())))


def to_signals(log: Log, typed: Mapping[str, str], facts: LogFacts) -> Reading:
    """Return the signals of a log. `typed` maps roles to columns, as it did for the reader."""
    meanings = map_columns(log.series, {role: name for role, name in typed.items() if name in log.series})
    chosen, columns, unused = _choose(log, meanings)
    notes = [*log.notes, *_percent_to_share(chosen)]
    signals: dict[str, Any] = {}
    steps_known = _knows_steps(chosen)
    level = "step" if "loss.step" in chosen else "epoch"
    if f"loss.{level}" in chosen and (steps_known or facts.steps_per_epoch):
        signals |= _curve("losses", chosen[f"loss.{level}"].points)
        if f"accuracy.{level}" in chosen:
            signals |= _like(signals, _curve("accuracies", chosen[f"accuracy.{level}"].points))
        if not steps_known:
            signals["steps_per_entry"] *= facts.steps_per_epoch
    epochs, epoch_notes = epoch_table(chosen, steps_per_epoch=None if steps_known else facts.steps_per_epoch)
    signals |= _facts(log, facts, epochs) | ({"epochs": epochs} if epochs else {})
    signals |= _samples(chosen) | divergence_signals(chosen)
    columns = {name: SIGNAL_OF.get(role, f"epochs.{role}") for name, role in columns.items()}
    return Reading(
        log.path, log.kind, signals, columns, {**log.passed_over, **unused}, [*notes, *epoch_notes], not epoch_notes
    )


def _choose(log: Log, meanings: Mapping[str, Meaning]) -> tuple[dict[str, Series], dict[str, str], dict[str, str]]:
    """Return one series for each role, which columns they came from, and why the others were not used.

    The training's loss and accuracy may be there twice: for steps and for epochs. Where the name does not say which, as
    many numbers as validations are those of epochs.
    """
    validations = max((len(log.series[n].points) for n, m in meanings.items() if m.role.startswith("val_")), default=0)
    chosen: dict[str, Series] = {}
    columns: dict[str, str] = {}
    unused: dict[str, str] = {}
    for name, (role, level) in meanings.items():
        if name not in log.series:
            continue
        series = log.series[name]
        if role in ("loss", "accuracy"):
            level = level or ("epoch" if _is_by_epoch(series, validations) else "step")
            role = f"{role}.{level}"
        if role in chosen:
            unused[name] = f"{next(n for n, r in columns.items() if r == role)} is read instead"
            continue
        chosen[role], columns[name] = series, role
    return chosen, columns, unused


def _is_by_epoch(series: Series, validations: int) -> bool:
    """Return whether a series has one number for each epoch: as many as validations, or as its epochs count."""
    epochs = [point.epoch for point in series.points]
    counts_epochs = all(e is not None and e == int(e) for e in epochs) and len(set(epochs)) == len(epochs)
    return counts_epochs or (validations > 1 and len(series.points) <= 1.2 * validations + 1)


def _knows_steps(chosen: Mapping[str, Series]) -> bool:
    """Return whether the log's positions are steps: it has losses of steps, or epochs of more than one step."""
    if "loss.step" in chosen:
        return any(point.step is not None for point in chosen["loss.step"].points)
    series = next((chosen[role] for role in ("loss.epoch", "val_loss", "val_accuracy") if role in chosen), Series())
    steps = [point.step for point in series.points if point.step is not None]
    return len(steps) > 1 and median(b - a for a, b in pairwise(steps)) > 1


def _curve(name: str, points: Sequence[Point]) -> dict[str, Any]:
    """Return a curve of bounded length, and how many steps each of them stands for."""
    stride = steps_per_entry(len(points))
    groups = [points[i : i + stride] for i in range(0, len(points), stride)]
    steps = [point.step for point in points if point.step is not None]
    spacing = (steps[-1] - steps[0]) / (len(steps) - 1) if len(steps) > 1 else 1.0
    values = [sum(point.value for point in group) / len(group) for group in groups]
    return {name: values, "steps_per_entry": max(1, round(spacing * stride))}


def _like(signals: Mapping[str, Any], accuracies: dict[str, Any]) -> dict[str, Any]:
    """Return the accuracies if they were logged with the losses; rules read both entry by entry."""
    return {"accuracies": accuracies["accuracies"]} if len(accuracies["accuracies"]) == len(signals["losses"]) else {}


def _facts(log: Log, facts: LogFacts, epochs: Mapping[str, Any]) -> dict[str, Any]:
    known = {
        "classes": facts.classes,
        "chance_accuracy": 1 / facts.classes if facts.classes else None,
        "chance_loss": math.log(facts.classes) if facts.classes else None,
        "train_examples": facts.train_examples or log.train_examples,
        "val_examples": facts.val_examples or log.val_examples,
        "steps_per_epoch": facts.steps_per_epoch,
        "epochs_planned": log.epochs_planned or len(epochs.get("epoch", ())) or None,
    }
    return {key: value for key, value in known.items() if value is not None}


def _samples(chosen: Mapping[str, Series]) -> dict[str, Any]:
    """Return learning rate and gradient norm where they were logged: `lr`, and the table `samples`."""
    rates, norms = chosen.get("lr", Series()).points, chosen.get("grad_norm", Series()).points
    positions = [point.position for point in (norms or rates)]
    if not positions or any(position is None for position in positions):
        return {"lr": max(point.value for point in rates)} if rates else {}
    known = [point for point in rates if point.position is not None]
    places = [float(point.position or 0.0) for point in known]
    rate_at = [known[max(bisect_right(places, p or 0.0) - 1, 0)].value if known else None for p in positions]
    stride = -(-len(positions) // 1000)
    table: dict[str, Any] = {"step": positions[::stride], "lr": rate_at[::stride]}
    if norms:
        table["gradient_norm"] = [point.value for point in norms[::stride]]
    return {"samples": table} | ({"lr": max(point.value for point in rates)} if rates else {})


def _values(series: Series) -> list[float]:
    return [point.value for point in series.points]


def _percent_to_share(chosen: Mapping[str, Series]) -> list[str]:
    """Turn accuracies that were logged in percent into shares; return a note of it."""
    notes = []
    for role, series in chosen.items():
        highest = max((point.value for point in series.points if math.isfinite(point.value)), default=0.0)
        if "accuracy" in role and 1.5 < highest <= 100:
            series.points = [point._replace(value=point.value / 100) for point in series.points]
            notes.append(f"{role.partition('.')[0]} was logged in percent")
    return notes
