"""Reading numbers by layer: the first look at a network, in the sanity stage or at the first step of a training."""

from __future__ import annotations

import math
from typing import Any

from pipeline.checks.finding import Signals
from pipeline.checks.training_curves import Training, medians, to_floats

AT_CHANCE = 0.97
"""Share of the chance loss above which nothing was learned yet: a few hundredths come from noise and class shares."""

ROUNDING = 1e-6
"""A spread over examples that comes from the order of sums."""


def activation_layers(signals: Signals) -> list[dict[str, Any]]:
    """One dictionary per activation layer, in the order of the forward pass: name, kind, unit_std and so on; from the
    sanity stage, or from the first sampled step of a training. Softmaxes (attention) are no hidden activations unless
    every layer is one."""
    columns = signals.get("activations")
    if columns is None:
        sampled = (signals.get("samples") or {}).get("activations") or {}
        if not sampled.get("name") or not sampled.get("unit_std"):
            return []
        columns = {key: value if key in ("name", "kind") else value[0] for key, value in sampled.items() if value}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    attention = [row for row in rows if row["kind"] == "softmax"]
    return rows if len(attention) == len(rows) else [row for row in rows if row["kind"] != "softmax"]


def to_float(value: Any) -> float:
    """A float; null and what is missing become NaN."""
    return to_floats([value])[0]


def relative_gradients(signals: Signals) -> list[tuple[str, float]]:
    """(name, root mean square of the gradient / that of the weights) of each hidden weight layer, first to last."""
    columns = signals.get("gradients")
    if not columns or len(columns["name"]) < 3:
        return []
    rows = zip(columns["name"], to_floats(columns["rms"]), to_floats(columns["weight_rms"]), strict=True)
    return [(name, rms / weight) for name, rms, weight in rows if weight > 0][:-1]


def fraction_at_chance(signals: Signals) -> float:
    """The share of a training that passed before its loss left chance; 0 where it left at once or is not known."""
    chance, training = to_float(signals.get("chance_loss")), Training.from_signals(signals)
    if training is None or not chance > 0:
        return 0.0
    pieces = medians(training.losses, 20)
    flat = next((i for i, loss in enumerate(pieces) if math.isfinite(loss) and loss < AT_CHANCE * chance), len(pieces))
    return flat / len(pieces)
