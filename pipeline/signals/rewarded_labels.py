"""Which label a loss rewards: that of the same example, or of another class or example."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.signals.schema import SanitySignals
from pipeline.signals.synthetic_outputs import ROUNDING, SyntheticOutputs

RANDOM_CALLS = 32
"""Calls of a loss that draws random numbers, to know what it rewards on average: mixup rewards the own label."""
CLEAR_SHARE = 0.9
"""Share of examples whose own label a sound loss rewards, at least."""


def rewarded_labels(synthetic: SyntheticOutputs) -> SanitySignals:
    """Find which label the outputs are rewarded for: their `own`, or that of another class or example."""
    labels, axis = synthetic.labels, synthetic.class_axis
    if axis is None:
        is_quantity = labels.numel() == synthetic.raw.numel() and not synthetic.is_probability
        return _rewarded_quantities(synthetic) if is_quantity and not synthetic.is_random else {}
    equal = torch.zeros_like(synthetic.raw)
    gradients = [synthetic.gradient(equal, seed=seed) for seed in range(RANDOM_CALLS if synthetic.is_random else 1)]
    found: SanitySignals = {}
    for gradient in (sum(g for g in gradients if g is not None), gradients[0]):  # on average, then with one draw
        if isinstance(gradient, Tensor) and found.get("rewarded_labels") != "own":
            rows = gradient.movedim(axis, -1).reshape(-1, gradient.shape[axis])
            found = _rewarded_classes(rows, labels.flatten(), shifts=labels.ndim == 1)
    return found


def _rewarded_classes(gradient: Tensor, labels: Tensor, *, shifts: bool) -> SanitySignals:
    """Compare the class that the descent raises first, from equal outputs, with the labels (places,).

    `gradient` is (places, classes). Without `shifts` the answers are `own`, `every class` and `other`: a language model
    may well answer the next place.
    """
    classes, lowest = gradient.shape[1], gradient.sort(1).values
    tolerance = ROUNDING * gradient.abs().max()
    if bool((tolerance > 0) & (lowest[:, -1] - lowest[:, 0] <= tolerance).all()):
        return {"rewarded_labels": "every class"}
    clear = lowest[:, 1] - lowest[:, 0] > tolerance
    if int(clear.sum()) < 4:
        return {}
    raised = gradient.argmin(1)
    candidates = {
        "own": labels,
        "next class": (labels + 1) % classes,
        "previous class": (labels - 1) % classes,
        "next example": labels.roll(-1, 0),
        "previous example": labels.roll(1, 0),
    }
    shares = {name: float((raised == answer)[clear].float().mean()) for name, answer in candidates.items()}
    if shares["own"] >= CLEAR_SHARE:
        return {"rewarded_labels": "own"}
    if not shifts:
        return {"rewarded_labels": "other"}
    own = gradient.gather(1, labels.unsqueeze(1)).squeeze(1)
    missed = clear & (raised != labels)
    if bool((own < gradient.mean(1))[missed].any()):  # a mixture of labels, such as mixup's, rewards the own one too
        return {"rewarded_labels": "other"}
    best = max(shares, key=lambda name: shares[name])
    if shares[best] == 1:
        return {"rewarded_labels": best}
    is_permuted = bool(clear.all()) and torch.equal(raised.sort().values, labels.sort().values)
    return {"rewarded_labels": "another example" if is_permuted else "other"}


def _rewarded_quantities(synthetic: SyntheticOutputs) -> SanitySignals:
    """Find the shift along the examples with which outputs that equal the labels have the lowest loss."""
    found = set()
    labels, n = synthetic.labels, synthetic.examples
    for seed in range(3):
        labels = labels[torch.randperm(n, generator=torch.Generator().manual_seed(seed)).to(labels.device)]
        answers = labels.reshape(synthetic.raw.shape).to(synthetic.raw)
        values = torch.tensor([synthetic.value(answers.roll(shift, 0), labels) for shift in range(n)]).double()
        lowest, best = values.sort().values, int(values.argmin())
        if not lowest[1] - lowest[0] > ROUNDING * lowest.abs().max():
            return {}
        found.add(best)
    names = {0: "own", 1: "previous example", n - 1: "next example"}
    return {"rewarded_labels": names.get(found.pop(), "another example")} if len(found) == 1 else {}
