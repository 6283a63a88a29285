"""Measurements of a loss function alone, before any training: what it compares with what.

A loss is any callable (outputs, labels) -> scalar tensor; the first axis of both is that of the examples.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pipeline.signals.broadcasts import broadcasts
from pipeline.signals.loss_on_cpu import loss_on_cpu
from pipeline.signals.rewarded_labels import rewarded_labels
from pipeline.signals.schema import SanitySignals
from pipeline.signals.synthetic_outputs import FAILURES, ROUNDING, LossFunction, SyntheticOutputs


def pairing_signals(loss: LossFunction, outputs: Tensor, labels: Tensor) -> SanitySignals:
    """Measure on synthetic outputs what `loss` compares; `outputs` and `labels` give shapes, types and valid labels.

    Returns, of docs/signals.md, `pairing_ratio`, `loss_mixing`, `compared_axes`, `class_axis`, `rewarded_labels`,
    `loss_broadcasts`, `synthetic_loss` and `single_loss`: those that the loss lets be measured. Random states, and the
    buffers of a loss that is a module, are restored.
    """
    if not isinstance(outputs, Tensor) or not isinstance(labels, Tensor) or not outputs.ndim or not labels.ndim:
        return {}
    if len(outputs) != len(labels) or labels.is_complex():
        return {}
    own_loss = loss_on_cpu(loss, outputs, labels)
    if own_loss is None:
        return {}
    try:
        synthetic = SyntheticOutputs(own_loss, outputs.cpu(), labels.cpu())
    except FAILURES:
        return {}
    signals: SanitySignals = {"synthetic_loss": synthetic.value(synthetic.raw)}
    if synthetic.class_axis is not None and _depends_on_names(synthetic):
        signals["class_axis"] = synthetic.class_axis
    for measure in (_pairing, _single, _mixing, _comparisons, rewarded_labels, broadcasts):
        try:
            signals |= measure(synthetic)
        except FAILURES:  # this cannot be measured of this loss
            continue
    return signals


def _depends_on_names(synthetic: SyntheticOutputs) -> bool:
    """Return whether the loss changes when classes swap names; a loss on distances (a triplet's) does not know them."""
    labels, classes = synthetic.labels, synthetic.raw.shape[synthetic.class_axis or 0]
    base, renamed = synthetic.value(synthetic.raw), torch.where(labels >= 0, (labels + 1) % classes, labels)
    return _change(synthetic, base, renamed) > ROUNDING * abs(base)


def _pairing(synthetic: SyntheticOutputs) -> SanitySignals:
    """Compare the change by permuted labels with the change by other labels, where labels and outputs matter at all."""
    labels, n = synthetic.labels, synthetic.examples
    base = synthetic.value(synthetic.raw)
    others = [_change(synthetic, base, labels[i : i + 1].expand_as(labels).contiguous()) for i in range(min(n, 5))]
    moved = abs(synthetic.value(synthetic.random()) - base)
    scale = max(abs(base), moved)
    if not max(others) > ROUNDING * scale or not moved > ROUNDING * scale:
        return {}
    permuted = [_change(synthetic, base, labels.roll(shift, 0)) for shift in range(1, n)]
    return {"pairing_ratio": max(permuted) / max(others)}


def _change(synthetic: SyntheticOutputs, base: float, labels: Tensor) -> float:
    return abs(synthetic.value(synthetic.raw, labels) - base)


def _single(synthetic: SyntheticOutputs) -> SanitySignals:
    """Return the mean loss of the examples, given one at a time."""
    rows = zip(synthetic.raw.split(1), synthetic.labels.split(1), strict=True)
    losses = [synthetic.value(raw, label) for raw, label in rows]
    mean = sum(losses) / len(losses)
    return {"single_loss": mean} if math.isfinite(mean) else {}


def _mixing(synthetic: SyntheticOutputs) -> SanitySignals:
    """Measure how far the direction of an example's gradient turns when the outputs of other examples change.

    A loss that is any function of the losses of single examples (a mean, a root of it, the largest few) scales the
    gradient of an example and does not turn it.
    """
    first = synthetic.gradient(synthetic.raw)
    if first is None or synthetic.raw[0].numel() < 2:
        return {}
    turned = 0.0
    for start in range(3):
        keep = torch.arange(synthetic.examples, device=synthetic.device) % 3 == start
        others = synthetic.random()
        others[keep] = synthetic.raw[keep]
        second = synthetic.gradient(others)
        if second is not None:
            turned = max(turned, _largest_sine(first[keep].flatten(1).double(), second[keep].flatten(1).double()))
    return {"loss_mixing": turned}


def _largest_sine(first: Tensor, second: Tensor) -> float:
    """Return the largest sine of the angles between rows; rows that vanish on one side have no direction."""
    norms = first.norm(dim=1), second.norm(dim=1)
    has_direction = (norms[0] > ROUNDING * norms[0].max()) & (norms[1] > ROUNDING * norms[1].max())
    if not bool(has_direction.any()):
        return 0.0
    a, b = (rows[has_direction] / rows[has_direction].norm(dim=1, keepdim=True) for rows in (first, second))
    return float((b - (a * b).sum(1, keepdim=True) * a).norm(dim=1).max())


def _comparisons(synthetic: SyntheticOutputs) -> SanitySignals:
    """List the axes along which only differences (or ratios) of outputs count."""
    axes = [axis for axis, size in enumerate(synthetic.raw.shape) if size > 1 and _compares(synthetic, axis)]
    return {"compared_axes": axes}


def _compares(synthetic: SyntheticOutputs, axis: int) -> bool:
    """Return whether a change that is common to the whole axis leaves the loss as it is, and that of half of it not.

    Such changes are to add a number or to multiply by one, the same everywhere or another at each place of the other
    axes.
    """
    raw = synthetic.raw
    base = synthetic.value(raw)
    scale = max(abs(base), abs(synthetic.value(synthetic.random()) - base))
    half = (torch.arange(raw.shape[axis], device=raw.device) % 2 == 0).to(raw)
    half = half.reshape([-1 if i == axis else 1 for i in range(raw.ndim)])
    by_place = synthetic.random().narrow(axis, 0, 1)
    for change in (by_place, torch.full_like(by_place, 0.7)):
        for whole, part in ((raw + change, raw + half * change), (raw * change.exp(), raw * (half * change).exp())):
            if abs(synthetic.value(whole) - base) <= ROUNDING * scale < 0.1 * abs(synthetic.value(part) - base):
                return True
    return False
