"""What outputs mean for each task: which are right, and by what name their mean is known.

N examples, C classes or labels, T targets; tasks are those of `pipeline.data.dataset.TASKS`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.data.dataset import CLASSIFICATION, MULTILABEL, REGRESSION

SCORES = {CLASSIFICATION: "accuracy", MULTILABEL: "accuracy", REGRESSION: "r2"}
"""The mean of `score_examples`, as histories and signals call it."""


def score_examples(task: str, outputs: Tensor, labels: Tensor) -> Tensor:
    """Return (N,): whether the predicted class is right, or the share of labels that are right.

    Of regression it is 1 - mean squared error, on targets of variance 1: its mean over the training split is R2.
    """
    if task == MULTILABEL:
        return ((outputs > 0) == (labels > 0.5)).float().mean(1)
    if task == REGRESSION:
        return 1 - (outputs.float() - labels).square().mean(1)
    return outputs.argmax(1) == labels


def to_probabilities(task: str, outputs: Tensor) -> Tensor:
    """Return the probability of each class (they sum to 1) or of each label; of regression, `outputs` themselves."""
    if task == REGRESSION:
        return outputs
    return outputs.sigmoid() if task == MULTILABEL else outputs.softmax(1)


def from_probabilities(task: str, probabilities: Tensor) -> Tensor:
    """Return outputs that `to_probabilities` turns into these; certain answers become nearly certain ones."""
    if task == REGRESSION:
        return probabilities
    if task == MULTILABEL:
        return probabilities.logit(eps=1e-7)
    return probabilities.clamp_min(1e-12).log()


def chance_score(task: str, labels: Tensor, n_classes: int) -> float:
    """Return the best mean score of a constant answer; `labels` are those of the training split."""
    if task == REGRESSION:
        return 0.0
    if task == MULTILABEL:
        frequencies = labels.double().mean(0)
        return float(torch.maximum(frequencies, 1 - frequencies).mean())
    return float(torch.bincount(labels, minlength=n_classes).max() / len(labels))
