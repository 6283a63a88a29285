"""What the activations of a forward pass look like: per layer, over a batch, and per unit, over several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.signals.operations import ACTIVATIONS, BOUNDS, RECTIFIERS, Watch, numbered, tensors

NEAR = 0.02
"""Saturated: within this share of the function's range from one of its bounds. tanh' is 0.08 there, sigmoid' 0.02."""

VALUES = 2**16
"""Of one layer that are looked at in a sampled step: enough for a percent, cheap beside the step."""

NUMBERS = ("mean", "std", "unit_std", "zero", "saturated", "positive")


@dataclass
class Layer:
    """One activation of the network; `dead` (units,) is true for units that were 0 for every example so far."""

    name: str
    kind: str
    units: int
    numbers: Tensor
    """Of the latest pass, in the order of `NUMBERS`; NaN where a number has no meaning."""
    dead: Tensor | None


class Activations(Watch):
    """Summarizes the output of every activation as it is computed. `limit`: most values looked at per layer; None: all.

    Of a layer with outputs a (N, units, ...), over the values looked at:
    `mean`, `std` = root of mean (a - mean)^2; `unit_std` = root of the mean over units of the variance of that unit
    over examples and positions: the part of `std` that depends on the input; `zero`, `positive`: shares of values that
    are 0, above 0; `saturated`: share of values near a bound.
    """

    def __init__(self, *, limit: int | None = VALUES):
        super().__init__()
        self.limit = limit
        self.layers: dict[str, Layer] = {}
        self._unique: Callable[[str], str] = numbered()

    def next_batch(self) -> None:
        """Before each further pass of the same network, so that its layers get the same names."""
        self._unique = numbered()

    def seen(self, operation: str, args: Sequence[Any], output: Any) -> None:
        kind = ACTIVATIONS.get(operation) or ACTIVATIONS.get(operation.removesuffix("_"))
        if kind is None or not isinstance(output, Tensor) or output.ndim < 2 or not output.is_floating_point():
            return
        if kind == "relu" and operation.startswith(("clamp", "threshold")) and any(a not in (0, 0.0) for a in args[1:]):
            return
        if kind == "maxout" and next(tensors(args)).ndim != output.ndim + 1:
            return
        name = self._unique(self.module or operation)
        values = output if self.limit is None else output[: max(8, self.limit // max(1, output[0].numel()))]
        numbers, per_unit = _summary(values.float(), kind)
        dead = None
        if kind in RECTIFIERS:
            dead = per_unit == 0
            before = self.layers.get(name)
            if before is not None and before.dead is not None:
                dead = dead & before.dead
        self.layers[name] = Layer(name, kind, len(per_unit), numbers, dead)

    def columns(self) -> dict[str, list[Any]]:
        """Lists with one entry per layer: `name`, `kind`, `units`, each of `NUMBERS`, and `dead`; None: no meaning."""
        layers = list(self.layers.values())
        if not layers:
            return {key: [] for key in ("name", "kind", "units", *NUMBERS, "dead")}
        rows = torch.stack([layer.numbers for layer in layers]).tolist()
        columns: dict[str, list[Any]] = {
            "name": [layer.name for layer in layers],
            "kind": [layer.kind for layer in layers],
            "units": [layer.units for layer in layers],
        }
        for i, key in enumerate(NUMBERS):
            columns[key] = [
                None if key == "saturated" and layer.kind not in BOUNDS else row[i]
                for layer, row in zip(layers, rows, strict=True)
            ]
        columns["dead"] = [None if layer.dead is None else float(layer.dead.float().mean()) for layer in layers]
        return columns


def _summary(values: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """Numbers (6,); largest magnitude of each unit (units,). Units: channels, or the last axis of (N, T, D)."""
    rows = values.movedim(-1 if values.ndim == 3 else 1, 0).flatten(1)
    count = rows.shape[1]
    unit_means = rows.mean(1, keepdim=True)
    centred = rows - unit_means
    within = centred.square().mean()
    mean = unit_means.mean()
    between = (unit_means - mean).square().mean()
    zero = (rows == 0).sum() / rows.numel()
    positive = (rows > 0).sum() / rows.numel()
    saturated = mean.new_tensor(float("nan"))
    if kind in BOUNDS:
        low, high = BOUNDS[kind]
        near = NEAR * (high - low)
        saturated = ((rows < low + near) | (rows > high - near)).sum() / rows.numel()
    assert count
    return torch.stack([mean, (within + between).sqrt(), within.sqrt(), zero, saturated, positive]), rows.abs().amax(1)
