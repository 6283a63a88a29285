"""The shape of a loss curve: the one name that the rules about curves give it, and the steps that show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from pipeline.checks.rule import Rule
from pipeline.checks.training_curves import Training
from pipeline.signals.schema import Signals

ShapeName = Literal[
    "good", "still falling", "finished early", "late start", "slow", "oscillating", "plateau", "flat", "cut short",
    "exploding", "not finite",
]  # fmt: skip
"""The whole vocabulary: `loss_shape` in outcome.json. `flat` never left chance, `cut short` has no whole epoch."""

HEALTHY_SHAPES: tuple[ShapeName, ...] = ("good", "still falling")
"""Shapes of a training that learns; the others show a fault."""

BROKEN_SHAPE_OF_CHECK: Mapping[str, ShapeName] = {"nonfinite": "not finite", "loss_exploding": "exploding"}
"""Checks that stop a training -> shape of its curve."""

SHAPE_OF_CHECK: Mapping[str, ShapeName] = {
    "late_start": "late start",
    "rate_too_low": "slow",
    "oscillating_loss": "oscillating",
    "loss_plateau": "plateau",
    "rate_too_high": "plateau",
    "undertrained": "still falling",
    "overtrained": "finished early",
}
"""Checks of a finished training -> shape of its curve; the first that fires names it."""


@dataclass(frozen=True)
class CurveShape:
    """A shape's name, and the steps to look at."""

    name: ShapeName
    steps: tuple[int, ...] = ()


def classify_curve(signals: Mapping[str, Any], rules: Mapping[str, Rule]) -> CurveShape | None:
    """Return the shape of the loss curve according to `rules`, those that are in use; None where there is no curve."""
    measured = cast(Signals, signals)
    if measured.get("nonfinite"):
        return CurveShape("not finite", (int(measured.get("nonfinite_step") or 0),))
    if measured.get("exploded"):
        return CurveShape("exploding", (int(measured["exploded_step"]),))
    training = Training.from_signals(measured)
    if training is None:
        return None
    if not training.column("loss"):
        return CurveShape("cut short", (training.steps,))
    for check, name in SHAPE_OF_CHECK.items():
        if check in rules and (finding := rules[check](measured)) is not None:
            if check == "loss_plateau" and not training.beats_chance():
                break
            return CurveShape(name, (finding.step,) if finding.step is not None else _evidence(name, training))
    if training.beats_chance():
        return CurveShape("good", _evidence("good", training))
    return CurveShape("flat", (1, training.steps))


def _evidence(name: ShapeName, training: Training) -> tuple[int, ...]:
    """Return the steps that show the shape.

    For a plateau they are a quarter of the progress and the end; for a slow or oscillating curve start, middle and
    end; for one that is still falling the end; otherwise where nine tenths of the drop are done.
    """
    if name == "plateau":
        return _step_at(training, 0.25), training.steps
    if name in ("slow", "oscillating"):
        return 1, _step_at(training, 0.5), training.steps
    if name == "still falling":
        return (training.steps,)
    first, last = training.smoothed_loss(0.0), training.smoothed_loss(1.0)
    stretches = (i / 20 for i in range(1, 21))
    done = next((p for p in stretches if first - training.smoothed_loss(p) >= 0.9 * (first - last)), 1.0)
    return (_step_at(training, done),)


def _step_at(training: Training, progress: float) -> int:
    return (training.entry_at(progress) + 1) * training.steps_per_entry
