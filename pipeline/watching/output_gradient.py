"""Whether the gradient that a loss sends into the outputs raises the right answers or lowers them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


class OutputGradient:
    """Compares, in one step, the gradient of outputs (N, C) with that of the cross-entropy of the same labels (N,)."""

    def __init__(self) -> None:
        self._output: Tensor | None = None
        self._gradient: Tensor | None = None

    def watch(self, output: Tensor) -> None:
        """Keep the gradient that is going to arrive at `output`, the model's own."""
        if output.ndim == 2 and output.shape[1] > 1 and output.requires_grad:
            self._output, self._gradient = output, None
            output.register_hook(self._keep)

    def _keep(self, gradient: Tensor) -> None:
        self._gradient = gradient.detach()

    def forget(self) -> None:
        """Let go of the outputs."""
        self._output = self._gradient = None

    def signals(self, outputs: Any, labels: Any) -> dict[str, float]:
        """Return `loss_direction`; {} where `outputs` are not what was watched, or `labels` are no classes."""
        watched, gradient = self._output, self._gradient
        if watched is None or gradient is None or outputs is not watched or not isinstance(labels, Tensor):
            return {}
        is_whole = not labels.is_floating_point() and not labels.is_complex() and labels.dtype != torch.bool
        if not is_whole or labels.shape != watched.shape[:1]:
            return {}
        values, labels = watched.detach().float(), labels.long()
        if bool((labels < 0).any()) or bool((labels >= values.shape[1]).any()):
            return {}
        expected = values.softmax(1) - F.one_hot(labels, values.shape[1])
        cosine = float(F.cosine_similarity(gradient.float().flatten(), expected.flatten(), dim=0))
        return {"loss_direction": cosine} if -1.01 <= cosine <= 1.01 else {}
