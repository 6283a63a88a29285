"""A short fit of one batch on real inputs and on zeros: does what the network learns come from its input?

The optimizer is Adam, whose steps hardly depend on the scale of the gradient: the fit tests what the network can use,
not whether the chosen learning rate suits it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.signals.at_init import LossFunction, gradient_signals

CLEARLY_BELOW = 0.9
"""Real inputs whose loss is below this fraction of the loss on zeros need no further rounds."""


class ShortFit:
    """A fit of one batch that keeps its own weights, so that two of them can take turns in one network.

    `seed(step)` seeds the random numbers of a step.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: LossFunction,
        inputs: Tensor,
        labels: Tensor,
        *,
        lr: float,
        seed: Callable[[int], int],
    ):
        self.network, self.loss, self.inputs, self.labels, self.seed = network, loss, inputs, labels, seed
        self.weights = {name: value.clone() for name, value in network.state_dict().items()}
        self.optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=lr)
        self.step = 0

    def run(self, steps: int) -> tuple[float, Tensor]:
        """Make `steps` steps from where this fit ended before; return the loss and the outputs after them."""
        self.network.load_state_dict(self.weights)
        for _ in range(steps):
            torch.manual_seed(self.seed(self.step))
            self.optimizer.zero_grad()
            self.loss(self.network(self.inputs), self.labels).backward()
            self.optimizer.step()
            self.step += 1
        self.weights = {name: value.clone() for name, value in self.network.state_dict().items()}
        torch.manual_seed(self.seed(self.step))
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
    steps: int,
    rounds: int,
    lr: float,
    seed: Callable[[int], int],
    has_classes: bool = True,
    on_round: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Return `fit_loss`, `fit_loss_zeroed`, `fit_steps` of docs/signals.md, and with classes the accuracies.

    There are at most `rounds` rounds of `steps` steps; they end when real inputs are clearly ahead of zeros.
    `zero_gradients` names the parameters without a gradient before; those that have one after the fit are dropped. The
    weights are changed. `on_round(done)` is called after each round.
    """
    real = ShortFit(network, loss, inputs, labels, lr=lr, seed=seed)
    zeroed = ShortFit(network, loss, torch.zeros_like(inputs), labels, lr=lr, seed=seed)
    _, outputs_before = real.run(0)
    for done in range(1, rounds + 1):
        zeroed_loss, _ = zeroed.run(steps)
        real_loss, outputs = real.run(steps)
        on_round(done)
        if real_loss < CLEARLY_BELOW * zeroed_loss:
            break
    signals: dict[str, Any] = {"fit_loss": real_loss, "fit_loss_zeroed": zeroed_loss, "fit_steps": real.step}
    if has_classes:
        signals["fit_first_accuracy"] = _accuracy(outputs_before, labels)
        signals["fit_accuracy"] = _accuracy(outputs, labels)
    dead = list(zero_gradients)
    if dead:  # a gradient that appears during the fit is not a dead one
        after_fit = gradient_signals(network, loss, inputs, labels)["zero_gradients"]
        dead = [name for name in after_fit if name in dead]
    return signals | {"zero_gradients": dead}


def _accuracy(outputs: Tensor, labels: Tensor) -> float:
    return float((outputs.argmax(1) == labels).float().mean())
