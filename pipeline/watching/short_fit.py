"""A short fit of one batch on real inputs and on zeros: does what the network learns come from its input?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.signals.at_init import LossFunction, gradient_signals
from pipeline.watching.adapter import Task

STEPS, ROUNDS, RATE = 20, 6, 0.002
"""Steps of a round, most rounds, and Adam's rate, as in conf/stage/sanity.yaml."""
CLEARLY_BELOW = 0.9
"""Real inputs whose loss is below this fraction of the loss on zeros need no further rounds."""


class _Fit:
    """A fit that keeps its own weights, so that two of them can take turns in one network."""

    def __init__(self, network: nn.Module, loss: LossFunction, inputs: Tensor, labels: Tensor):
        self.network, self.loss, self.inputs, self.labels = network, loss, inputs, labels
        self.weights = {name: value.clone() for name, value in network.state_dict().items()}
        self.optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=RATE)
        self.step = 0

    def run(self, steps: int) -> tuple[float, Tensor]:
        """Make `steps` steps from where this fit ended before; return the loss and the outputs after them."""
        self.network.load_state_dict(self.weights)
        for _ in range(steps):
            torch.manual_seed(self.step)
            self.optimizer.zero_grad()
            self.loss(self.network(self.inputs), self.labels).backward()
            self.optimizer.step()
            self.step += 1
        self.weights = {name: value.clone() for name, value in self.network.state_dict().items()}
        with torch.no_grad():
            outputs = self.network(self.inputs)
            return float(self.loss(outputs, self.labels)), outputs


def fit_signals(
    network: nn.Module,
    loss: LossFunction,
    inputs: Tensor,
    labels: Tensor,
    zero_gradients: Sequence[str],
    *,
    task: Task,
) -> dict[str, Any]:
    """Return `fit_loss`, `fit_loss_zeroed`, `fit_steps` of docs/signals.md; for classification the accuracies too.

    Rounds end when real inputs are clearly ahead. `zero_gradients` names the parameters without a gradient before;
    those that have one after the fit are dropped. The weights are changed.
    """
    real, zeroed = _Fit(network, loss, inputs, labels), _Fit(network, loss, torch.zeros_like(inputs), labels)
    _, before = real.run(0)
    for _ in range(ROUNDS):
        zeroed_loss, _ = zeroed.run(STEPS)
        real_loss, outputs = real.run(STEPS)
        if real_loss < CLEARLY_BELOW * zeroed_loss:
            break
    dead = list(zero_gradients)
    if dead:  # a gradient that appears during the fit is not a dead one
        after = gradient_signals(network, loss, inputs, labels)["zero_gradients"]
        dead = [name for name in after if name in dead]
    signals = {"fit_loss": real_loss, "fit_loss_zeroed": zeroed_loss, "fit_steps": real.step}
    if task == "classification":
        signals["fit_first_accuracy"], signals["fit_accuracy"] = _accuracy(before, labels), _accuracy(outputs, labels)
    return signals | {"zero_gradients": dead}


def _accuracy(outputs: Tensor, labels: Tensor) -> float:
    return float((outputs.argmax(1) == labels).float().mean())
