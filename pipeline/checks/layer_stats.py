"""Statistics of single layers that several rules share, from the stage `sanity` or the first steps of a training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, cast

from pipeline.checks.training_curves import Training, medians, to_float, to_floats
from pipeline.signals.schema import Signals

NEAR_CHANCE = 0.97
"""Share of the chance loss above which nothing was learned yet: a few hundredths come from noise and class shares."""
ROUNDING = 1e-6
"""Standard deviation over examples that comes from the order of sums alone."""

ACTIVATION_KEYS = ("activations", "samples")
"""Signals that `activation_layers` reads."""


Columns = Mapping[str, Sequence[Any]]


class Layer(TypedDict, total=False):
    """One activation layer; see `sanity.activations` in docs/signals.md."""

    name: str
    kind: str
    units: int
    unit_std: float | None
    dead: float | None
    saturated: float | None


def initial_layers(signals: Signals) -> list[Layer]:
    """Return the activation layers before training, in the order of the forward pass; empty for other stages.

    Softmaxes (attention) are no hidden activations and are left out, unless every layer is one.
    """
    return _layers(cast(Columns, signals.get("activations") or {}))


def activation_layers(signals: Signals) -> list[Layer]:
    """Return the layers as `initial_layers` does; in a training those of the first sampled step."""
    if signals.get("activations") is not None:
        return initial_layers(signals)
    sampled = (signals.get("samples") or {}).get("activations") or {}
    if not sampled.get("name") or not sampled.get("unit_std"):
        return []
    rows = cast(Columns, sampled).items()
    return _layers({key: value if key in ("name", "kind") else value[0] for key, value in rows if value})


def _layers(columns: Columns) -> list[Layer]:
    layers = [cast(Layer, dict(zip(columns, values, strict=True))) for values in zip(*columns.values(), strict=True)]
    hidden = [layer for layer in layers if layer["kind"] != "softmax"]
    return hidden or layers


def relative_gradients(signals: Signals) -> list[tuple[str, float]]:
    """Return (name, gradient rms / weight rms) of each hidden weight layer, first to last."""
    columns = signals.get("gradients")
    if not columns or len(columns["name"]) < 3:
        return []
    rows = zip(columns["name"], to_floats(columns["rms"]), to_floats(columns["weight_rms"]), strict=True)
    return [(name, rms / weight) for name, rms, weight in rows if weight > 0][:-1]


def fraction_at_chance(signals: Signals) -> float:
    """Return the share of a training that passed before its loss left chance; 0 where that is not known."""
    chance, training = to_float(signals.get("chance_loss")), Training.from_signals(signals)
    if training is None or not chance > 0:
        return 0.0
    levels = medians(training.losses, 20)
    left_chance = (i for i, loss in enumerate(levels) if math.isfinite(loss) and loss < NEAR_CHANCE * chance)
    return next(left_chance, len(levels)) / len(levels)
