"""What a network predicted for each example, and the figures that summarize it. N examples, B in a batch, C classes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

BINS = 15
"""Bins of equal width (Guo et al. 2017, On Calibration of Modern Neural Networks, arXiv:1706.04599, section 2)."""


class Predictions:
    """Collects the true class, the predicted class and the confidence of each example, in order.

    Confidence is the largest softmax of the logits. It is a probability only where the loss makes it one
    (cross-entropy).
    """

    def __init__(self, n_classes: int):
        self.n_classes = n_classes
        self._batches: list[Tensor] = []

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch of `logits` (B, C) and `labels` (B,)."""
        confidence, predicted = logits.double().softmax(1).max(1)
        confidence = confidence.nan_to_num(0.0)  # of a network that is not finite
        self._batches.append(torch.stack([labels.double(), predicted.double(), confidence]).cpu())

    def _columns(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return labels, predicted classes and confidences, each (N,)."""
        labels, predicted, confidence = torch.cat(self._batches, dim=1)
        return labels.long(), predicted.long(), confidence

    def confusion(self) -> Tensor:
        """Return the confusion matrix (C, C) of counts. Rows are true classes, columns predicted ones."""
        labels, predicted, _ = self._columns()
        counts = torch.bincount(labels * self.n_classes + predicted, minlength=self.n_classes**2)
        return counts.view(self.n_classes, self.n_classes)

    def most_confused(self, limit: int) -> Tensor:
        """Return at most `limit` classes, in order: those of the most frequent confusions, then the first others."""
        labels, predicted, _ = self._columns()
        wrong = labels != predicted
        pairs, counts = torch.unique(labels[wrong] * self.n_classes + predicted[wrong], return_counts=True)
        pairs = pairs[counts.argsort(descending=True, stable=True)]
        confused = torch.stack([pairs // self.n_classes, pairs % self.n_classes], dim=1).flatten().tolist()
        chosen = list(dict.fromkeys([*confused, *range(self.n_classes)]))[:limit]
        return torch.tensor(sorted(chosen))

    def calibration(self) -> dict[str, Any]:
        """Return `count`, mean `confidence` and `accuracy` of each bin of confidence, and the calibration error `ece`.

        ece = sum over bins b of count_b / N |accuracy_b - confidence_b|. An empty bin has None for its means.
        """
        labels, predicted, confidence = self._columns()
        bins = (confidence * BINS).long().clamp(max=BINS - 1)
        count = torch.bincount(bins, minlength=BINS).double()
        mean_confidence = torch.zeros(BINS).double().index_add_(0, bins, confidence) / count
        accuracy = torch.zeros(BINS).double().index_add_(0, bins, (labels == predicted).double()) / count
        gap = (mean_confidence - accuracy).abs()[count > 0] @ count[count > 0] / count.sum()
        counts = count.tolist()
        return {
            "ece": float(gap),
            "count": count.long().tolist(),
            "confidence": [mean if n else None for mean, n in zip(mean_confidence.tolist(), counts, strict=True)],
            "accuracy": [mean if n else None for mean, n in zip(accuracy.tolist(), counts, strict=True)],
        }

    def mistakes(self, limit: int) -> list[dict[str, Any]]:
        """Return at most `limit` wrong predictions, the most confident first.

        Each has the example's `index` in the split, its `label`, the class that was `given`, and the `confidence`.
        """
        labels, predicted, confidence = self._columns()
        wrong = torch.nonzero(labels != predicted).flatten()
        order = wrong[confidence[wrong].argsort(descending=True, stable=True)[:limit]]
        return [
            {"index": i, "label": int(labels[i]), "given": int(predicted[i]), "confidence": float(confidence[i])}
            for i in order.tolist()
        ]
