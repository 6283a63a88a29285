"""How often an epoch visits each training example."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.data.dataset import Images
from pipeline.data.splits import strata
from pipeline.validation import one_of

ALL, BALANCED = "all", "balanced"


def check_sampling(sampling: str) -> str:
    """Return `sampling`; raise `UserError` unless it is all or balanced."""
    return one_of("sampling", sampling, (ALL, BALANCED))


def sampling_weights(images: Images, n_classes: int, sampling: str) -> Tensor | None:
    """Return the weight (N,) float64 of each example, or None where an epoch visits each of them once.

    They are the weights of the examples, if they have any. With `balanced`, the weights of each stratum (see
    `pipeline.data.splits.strata`: a class, the rarest label, a tenth of the targets) sum to the same.
    """
    weights = None if images.weights is None else images.weights.double()
    if sampling == ALL:
        return weights
    stratum = strata(images.labels, n_classes)
    weights = torch.ones(len(images)).double() if weights is None else weights
    totals = torch.zeros(int(stratum.max()) + 1).double().index_add_(0, stratum, weights)
    return weights / totals[stratum].clamp(min=1e-300)
