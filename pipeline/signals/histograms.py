"""How the values of each activation are spread, layer after layer: the figure in which collapse and saturation show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.signals.activations import BOUNDED, MAX_VALUES, activation_kind
from pipeline.signals.aten_ops import OperationTracer, unique_namer

BINS = 40
WIDEST = 4.0
"""Standard deviations on either side of the mean that the bins cover; what is beyond is left out."""


class Histograms(OperationTracer):
    """The latest pass in `BINS` bins of equal width per layer, over the function's range or `WIDEST` deviations."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, list[Any]] = {key: [] for key in ("name", "kind", "low", "high", "zero", "counts")}
        self._unique = unique_namer()

    def on_operation(self, operation: str, args: Sequence[Any], output: Any) -> None:
        kind = activation_kind(operation, args, output)
        if kind is None:
            return
        name = self._unique(self.module or operation)
        values = output.detach()[: max(8, MAX_VALUES // max(1, output[0].numel()))].float().flatten()
        values = values[values.isfinite()]
        zero = values == 0
        share = float(zero.float().mean()) if len(values) else 0.0
        low, high = BOUNDED.get(kind) or _range(values)
        counts = torch.histc(values[~zero].cpu(), BINS, low, high)
        row = (name, kind, low, high, share, counts.int().tolist())
        for key, value in zip(self.rows, row, strict=True):
            self.rows[key].append(value)


def histograms(network: nn.Module, inputs: Tensor) -> dict[str, list[Any]]:
    """`histograms` of docs/signals.md: one pass of `inputs` (N, C, H, W) in the mode the network is in."""
    watch = Histograms()
    with torch.no_grad(), watch.trace(network):
        network(inputs)
    return watch.rows


def _range(values: Tensor) -> tuple[float, float]:
    if not len(values):
        return 0.0, 1.0
    mean, std = float(values.mean()), float(values.std(correction=0))
    low, high = max(float(values.min()), mean - WIDEST * std), min(float(values.max()), mean + WIDEST * std)
    return (low, high) if low < high else (low - 0.5, low + 0.5)
