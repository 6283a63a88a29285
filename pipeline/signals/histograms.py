"""Histograms of the activations, layer after layer: the figure that shows collapse and saturation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.signals.activations import MAX_VALUES
from pipeline.signals.aten_ops import BOUNDED, OperationTracer, activation_kind, unique_namer

BINS = 40
MAX_DEVIATIONS = 4.0
"""Standard deviations on either side of the mean that the bins cover; values beyond are left out."""


class Histograms(OperationTracer):
    """Counts the activations of one pass in `BINS` bins of equal width per layer.

    The bins cover the range of the function, or `MAX_DEVIATIONS` about the mean. Zeros are counted apart.
    """

    def __init__(self) -> None:
        super().__init__()
        self.columns: dict[str, list[Any]] = {key: [] for key in ("name", "kind", "low", "high", "zero", "counts")}
        self._unique = unique_namer()

    def on_operation(self, operation: str, args: Sequence[Any], output: Any) -> None:
        """Add the histogram of `output` if the operation is an activation."""
        kind = activation_kind(operation, args, output)
        if kind is None:
            return
        name = self._unique(self.module or operation)
        values = output.detach()[: max(8, MAX_VALUES // max(1, output[0].numel()))].float().flatten()
        values = values[values.isfinite()]
        is_zero = values == 0
        zero_share = float(is_zero.float().mean()) if len(values) else 0.0
        low, high = BOUNDED.get(kind) or _range(values)
        counts = torch.histc(values[~is_zero].cpu(), BINS, low, high)
        row = (name, kind, low, high, zero_share, counts.int().tolist())
        for column, value in zip(self.columns.values(), row, strict=True):
            column.append(value)


def histograms(network: nn.Module, inputs: Tensor) -> dict[str, list[Any]]:
    """Return the signal `histograms` (docs/signals.md) of one pass of `inputs` (N, C, H, W).

    The mode of `network` is not changed.
    """
    tracer = Histograms()
    with torch.no_grad(), tracer.trace(network):
        network(inputs)
    return tracer.columns


def _range(values: Tensor) -> tuple[float, float]:
    """Return the bounds of the bins for `values` (n,)."""
    if not len(values):
        return 0.0, 1.0
    mean, margin = float(values.mean()), MAX_DEVIATIONS * float(values.std(correction=0))
    low, high = max(float(values.min()), mean - margin), min(float(values.max()), mean + margin)
    return (low, high) if low < high else (low - 0.5, low + 0.5)
