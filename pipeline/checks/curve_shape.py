"""The name of a loss curve, as the lecture notes draw it: what the rules about curves say, in one word, and the steps
at which one sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

from pipeline.checks.finding import Rule, Signals
from pipeline.checks.training_curves import Training

SHAPE_OF_CHECK = {
    "late_start": "late start",
    "rate_too_low": "slow",
    "oscillating_loss": "oscillating",
    "loss_plateau": "plateau",
    "rate_too_high": "plateau",
    "undertrained": "still falling",
    "overtrained": "finished early",
}
"""Rule -> what it calls the curve; the first that holds gives the name."""


@dataclass(frozen=True)
class CurveShape:
    """`name`: exploding, not finite, one of `NAMES`, flat (never better than chance), cut short, or good.
    `steps`: where to look."""

    name: str
    steps: tuple[int, ...] = ()


def classify_curve(signals: Signals, rules: Mapping[str, Rule]) -> CurveShape | None:
    """The loss curve's shape by those of `rules` that are in use; None where there is no curve."""
    if signals.get("nonfinite"):
        return CurveShape("not finite", (int(signals.get("nonfinite_step", 0)),))
    if signals.get("exploded"):
        return CurveShape("exploding", (int(signals["exploded_step"]),))
    training = Training.from_signals(signals)
    if training is None:
        return None
    if not training.column("loss"):
        return CurveShape("cut short", (training.steps,))
    for check, name in SHAPE_OF_CHECK.items():
        if check in rules and (finding := rules[check](signals)) is not None:
            if check == "loss_plateau" and not training.beats_chance():
                return CurveShape("flat", (1, training.steps))
            return CurveShape(name, (finding.step,) if finding.step is not None else _where(name, training))
    return (
        CurveShape("good", _where("good", training))
        if training.beats_chance()
        else CurveShape("flat", (1, training.steps))
    )


def _where(name: str, training: Training) -> tuple[int, ...]:
    """Plateau: after a quarter of the way and at the end. Slow, oscillating: start, middle, end. Finished early, good:
    where nine tenths of the fall are behind. Still falling: the end."""
    steps = training.steps
    if name == "plateau":
        return _way(training, 0.25), steps
    if name in ("slow", "oscillating"):
        return 1, _way(training, 0.5), steps
    if name == "still falling":
        return (steps,)
    first, last = training.smoothed_loss(0.0), training.smoothed_loss(1.0)
    parts = (part / 20 for part in range(1, 21))
    done = next((part for part in parts if first - training.smoothed_loss(part) >= 0.9 * (first - last)), 1.0)
    return (_way(training, done),)


def _way(training: Training, part: float) -> int:
    """The step after `part` of the way, which is the sum of the rates (`Training.smoothed`)."""
    way = list(accumulate(training.rates()))
    place = next((i for i, done in enumerate(way) if done >= part * way[-1]), len(way) - 1)
    return (place + 1) * training.per_entry
