"""A loss function on synthetic outputs: what is known of a loss does not depend on any network."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.signals.restoring import restored, seeded

EXAMPLES = 13
"""Examples of a synthetic batch. A prime that is no usual number of classes, so that axes are told apart by size."""
MAX_VALUES = 2**23
"""Values of a synthetic batch, beyond which the loss is not looked at."""
ROUNDING = 1e-5
"""Share of the loss up to which a difference may be rounding, in losses that compute in 32 bits."""
FAILURES = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError, ArithmeticError,
            NotImplementedError, AssertionError)  # fmt: skip
"""What a loss may raise that is called with numbers it was not made for."""

LossFunction = Callable[[Any, Any], Tensor]


class SyntheticOutputs:
    """A loss with the labels of a few examples, and random outputs `raw` of the shape that the network's have.

    `raw` is standard normal, in float64 where the loss takes it, and has the scale of the labels where these are
    quantities. Where the loss is not finite then, it gets probabilities made from `raw`. `class_axis` is the axis of
    the classes, for labels that are classes. Random numbers that the loss draws are the same at each call.
    """

    def __init__(self, loss: LossFunction, outputs: Tensor, labels: Tensor):
        """Choose examples and the form of the outputs. Raises `ValueError` where the loss takes no synthetic ones."""
        self._loss, self.device = loss, outputs.device
        self.examples = min(EXAMPLES, len(outputs), max(2, MAX_VALUES // max(1, outputs[0].numel())))
        if self.examples * outputs[0].numel() > MAX_VALUES or self.examples < 4 or not outputs.is_floating_point():
            raise ValueError("too few examples, too many values, or outputs that are not real numbers")
        self._generator = torch.Generator().manual_seed(0)
        chosen = self._spread_over_labels(labels)
        self.class_axis = find_class_axis(outputs, labels)
        self.labels = labels[chosen].detach()
        self._shape = (self.examples, *outputs.shape[1:])
        self.raw, self.is_probability = torch.empty(0), False
        self.is_random = False
        """Whether the loss draws random numbers that matter."""
        for dtype in (torch.float64, torch.float32):
            for is_probability in (False, True):
                if self._try_form(dtype, is_probability):
                    return
        raise ValueError("the loss is not finite on synthetic outputs")

    def _spread_over_labels(self, labels: Tensor) -> Tensor:
        """Return the indices of examples that share as few labels as possible, in random order."""
        order = labels.detach().reshape(len(labels), -1)[:, 0].cpu().argsort(stable=True)
        picked = order[torch.linspace(0, len(labels) - 1, self.examples).round().long()]
        return picked[torch.randperm(self.examples, generator=self._generator)].to(labels.device)

    def _try_form(self, dtype: torch.dtype, is_probability: bool) -> bool:
        """Choose outputs of one type and form, and return whether the loss gives the same finite number twice."""
        self.is_probability = is_probability
        if self.labels.is_floating_point():
            self.labels = self.labels.to(dtype)
        self.raw = self.random(dtype)
        try:
            first, second = self.value(self.raw), self.value(self.raw)
            self.is_random = self.value(self.raw, seed=1) != first
        except FAILURES:
            return False
        return first == second and abs(first) < float("inf")

    def random(self, dtype: torch.dtype | None = None) -> Tensor:
        """Return other raw outputs: normal numbers with the mean and the spread of labels that are quantities."""
        raw = torch.randn(self._shape, generator=self._generator, dtype=torch.float64)
        if self.class_axis is None and not self.is_probability:
            values = self.labels.double().cpu()
            spread = float(values.std(correction=0))
            raw = float(values.mean()) + (spread or 1.0) * raw
        return raw.to(self.device, dtype or self.raw.dtype)

    def value(self, raw: Tensor, labels: Tensor | None = None, *, seed: int = 0) -> float:
        """Return the loss of raw outputs; of the chosen labels if none are given."""
        with torch.no_grad(), self._undisturbed(seed):
            return float(self._loss(self.form(raw), self.labels[: len(raw)] if labels is None else labels))

    def gradient(self, raw: Tensor, *, seed: int = 0) -> Tensor | None:
        """Return the gradient of the loss with respect to `raw`, or None where there is none."""
        raw = raw.detach().clone().requires_grad_()
        with torch.enable_grad(), self._undisturbed(seed):
            value = self._loss(self.form(raw), self.labels)
            if not value.requires_grad:
                return None
            gradient = torch.autograd.grad(value, raw, allow_unused=True)[0]
        return None if gradient is None or not bool(gradient.isfinite().all()) else gradient

    def form(self, raw: Tensor) -> Tensor:
        """Return the outputs that `raw` stands for: itself, or probabilities."""
        if not self.is_probability:
            return raw
        axis = 1 if self.class_axis is None else self.class_axis
        return raw.softmax(axis) if raw.ndim > axis and raw.shape[axis] > 1 else raw.sigmoid()

    @contextmanager
    def _undisturbed(self, seed: int) -> Iterator[None]:
        """Restore random states, and the buffers of a loss that is a module; hide what the loss warns of."""
        keeping = restored(self._loss) if isinstance(self._loss, nn.Module) else nullcontext()
        with seeded(seed, self.device), keeping, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield


def find_class_axis(outputs: Tensor, labels: Tensor) -> int | None:
    """Return the axis of the classes in `outputs`, or None where the labels are not classes.

    Classes are whole numbers, one for each place of the other axes; torch has the classes on axis 1.
    """
    if labels.is_floating_point() or labels.is_complex() or outputs.ndim < 2 or labels.ndim != outputs.ndim - 1:
        return None
    axes: Sequence[int] = [1, outputs.ndim - 1]
    shapes = [(*outputs.shape[:axis], *outputs.shape[axis + 1 :]) for axis in axes]
    fits = [axis for axis, shape in zip(axes, shapes, strict=True) if shape == tuple(labels.shape)]
    if not fits or outputs.shape[fits[0]] < 2 or int(labels.max()) >= outputs.shape[fits[0]]:
        return None
    return fits[0]
