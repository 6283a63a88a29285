"""What a trained network answered, example by example, and what that comes to."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

BINS = 15
"""Of equal width, as in Guo et al. 2017, On Calibration of Modern Neural Networks (arXiv:1706.04599), section 2."""


class Predictions:
    """Collects, of each example in order: the true class, the class given, and the confidence in it.

    Confidence is the largest softmax of the logits: a probability only where the loss makes it one (cross-entropy).
    """

    def __init__(self, classes: int):
        self.classes = classes
        self._parts: list[Tensor] = []

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """(B, C), (B,)."""
        confidence, given = logits.double().softmax(1).max(1)
        confidence = confidence.nan_to_num(0.0)  # of a network that is not finite
        self._parts.append(torch.stack([labels.double(), given.double(), confidence]).cpu())

    def _columns(self) -> tuple[Tensor, Tensor, Tensor]:
        labels, given, confidence = torch.cat(self._parts, dim=1)
        return labels.long(), given.long(), confidence

    def confusion(self) -> Tensor:
        """(C, C) counts; rows: the true class."""
        labels, given, _ = self._columns()
        counts = torch.bincount(labels * self.classes + given, minlength=self.classes**2)
        return counts.view(self.classes, self.classes)

    def calibration(self) -> dict[str, Any]:
        """Per bin of confidence `count`, mean `confidence` and `accuracy` (null where empty), and their distance over
        all examples: expected calibration error `ece` = sum_b count_b / n |accuracy_b - confidence_b|."""
        labels, given, confidence = self._columns()
        bins = (confidence * BINS).long().clamp(max=BINS - 1)
        count = torch.bincount(bins, minlength=BINS).double()
        sure = torch.zeros(BINS).double().index_add_(0, bins, confidence) / count
        right = torch.zeros(BINS).double().index_add_(0, bins, (labels == given).double()) / count
        gap = (sure - right).abs()[count > 0] @ count[count > 0] / count.sum()
        return {
            "ece": float(gap),
            "count": count.long().tolist(),
            "confidence": [value if n else None for value, n in zip(sure.tolist(), count.tolist(), strict=True)],
            "accuracy": [value if n else None for value, n in zip(right.tolist(), count.tolist(), strict=True)],
        }

    def mistakes(self, most: int) -> list[dict[str, Any]]:
        """The wrong answers of highest confidence: `index` in the split, `label`, `given`, `confidence`."""
        labels, given, confidence = self._columns()
        wrong = torch.nonzero(labels != given).flatten()
        order = wrong[confidence[wrong].argsort(descending=True, stable=True)[:most]]
        return [
            {"index": i, "label": int(labels[i]), "given": int(given[i]), "confidence": float(confidence[i])}
            for i in order.tolist()
        ]
