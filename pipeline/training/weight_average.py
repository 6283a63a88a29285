"""An exponential moving average (EMA) of a network's weights, which is evaluated and kept in their place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class WeightAverage:
    """w_avg <- d w_avg + (1 - d) w after each step, with d = min(`decay`, (1 + t) / (10 + t)) after t steps.

    Without the second term, the initial weights would weigh decay^t: after 500 steps 0.6 of the average with a decay of
    0.999 (the warm-up of TensorFlow's ExponentialMovingAverage). Running statistics are averaged as weights are, and
    what is no floating-point number, such as a count of batches, is copied.
    """

    def __init__(self, network: nn.Module, decay: float):
        self.decay, self.steps, self._network = decay, 0, network
        state = network.state_dict(keep_vars=True)
        self._names, self._trained = list(state), [tensor.detach() for tensor in state.values()]
        self._average = [tensor.clone() for tensor in self._trained]
        self._floating = [i for i, t in enumerate(self._trained) if t.is_floating_point() or t.is_complex()]
        self._others = [i for i in range(len(self._trained)) if i not in self._floating]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step."""
        weight = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        torch._foreach_lerp_([self._average[i] for i in self._floating], self._trained_floating(), weight)
        for i in self._others:
            self._average[i].copy_(self._trained[i])

    def _trained_floating(self) -> list[Tensor]:
        return [self._trained[i] for i in self._floating]

    @property
    def tensors(self) -> list[Tensor]:
        """The averaged weights and running statistics, in the order of the network's state dict."""
        return self._average

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Let the network have the averaged weights inside the context. Its tensors stay where they are in memory."""
        tensors = [tensor.detach() for tensor in self._network.state_dict(keep_vars=True).values()]
        trained = [tensor.clone() for tensor in tensors]
        _copy(self._average, tensors)
        try:
            yield
        finally:
            _copy(trained, tensors)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averages by the names of the network's state dict."""
        return {name: tensor.cpu() for name, tensor in zip(self._names, self._average, strict=True)}

    def load(self, state: dict[str, Any], steps: int) -> None:
        """Continue from the averages of a `state_dict()`, after `steps` steps."""
        self.steps = steps
        _copy([state[name] for name in self._names], self._average)


@torch.no_grad()
def _copy(sources: list[Tensor], targets: list[Tensor]) -> None:
    for source, target in zip(sources, targets, strict=True):
        target.copy_(source)
