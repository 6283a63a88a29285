"""Which outputs a loss asks for where labels are quantities: targets, or zeros and ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.signals.schema import SanitySignals

AT_REST = 1e-3
"""Gradient at the labels, relative to that at other outputs, below which the loss has its minimum there."""

LossFunction = Callable[[Tensor, Tensor], Tensor]


def target_signals(loss: LossFunction, outputs: Tensor, labels: Tensor) -> SanitySignals:
    """Return `labels_are_best_outputs` and `label_range` of docs/signals.md.

    `outputs` have as many values as the labels. No output outside of the range of the labels is tried, which would end
    the process of a GPU where a loss of probabilities asserts their range. Raises what the loss raises.
    """
    targets = labels.detach().reshape(outputs.shape).to(outputs.dtype)
    gradients = [_gradient_size(loss, one, labels) for one in (targets, targets.roll(1, 0))]
    # the gradient says nothing at the kink of a quantile loss, and is NaN at the minimum of a root
    is_zero = abs(float(loss(targets, labels))) <= AT_REST**2
    return {
        "labels_are_best_outputs": is_zero or gradients[0] <= AT_REST * gradients[1],
        "label_range": [float(labels.min()), float(labels.max())],
    }


def _gradient_size(loss: LossFunction, outputs: Tensor, labels: Tensor) -> float:
    outputs = outputs.clone().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(loss(outputs, labels), outputs)
    return float(gradient.abs().max())
