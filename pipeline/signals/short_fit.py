"""A short fit of one batch on real inputs and on zeros: does what the network learns come from its input?

The optimizer is Adam, whose steps hardly depend on the scale of the gradient: the fit tests what the network can use,
not whether the chosen learning rate suits it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pipeline.signals.at_init import LossFunction, gradient_signals
from pipeline.signals.restoring import restored

CLEARLY_BELOW = 0.9
"""Real inputs whose loss is below this fraction of the loss on zeros need no further rounds."""
COSTLY = 4e9
"""Operations of one step (about a tenth of a second on one core) above which rounds are shorter and fewer."""
BUDGET = 5e11
"""Operations of one fit of a costly network, after its least number of steps."""
SHORTER, LEAST_ROUNDS = 4, 3
"""Rounds of a costly network have this fraction of the steps; it gets at least the steps of so many whole rounds."""
OPTIMIZER_OPERATIONS = 20
"""Operations of Adam for each parameter, of which the access to memory takes the most."""


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
        fused: bool = False,
    ):
        self.network, self.loss, self.inputs, self.labels, self.seed = network, loss, inputs, labels, seed
        self.weights = {name: value.clone() for name, value in network.state_dict().items()}
        parameters = [p for p in network.parameters() if p.requires_grad]
        fused = fused and all(p.is_floating_point() for p in parameters)
        self.optimizer = torch.optim.Adam(parameters, lr=lr, fused=fused or None)
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

    There are at most `rounds` rounds of `steps` steps; they end when real inputs are clearly ahead of zeros. Networks
    of many operations get shorter rounds, which end sooner, and fewer of them: `bounded_rounds`.
    `zero_gradients` names the parameters without a gradient before; those that have one after the fit are dropped. The
    weights are changed. `on_round(done)` is called after each round.
    """
    operations = step_operations(network, inputs)
    steps, rounds = bounded_rounds(steps, rounds, operations)
    fused = operations > COSTLY
    real = ShortFit(network, loss, inputs, labels, lr=lr, seed=seed, fused=fused)
    zeroed = ShortFit(network, loss, torch.zeros_like(inputs), labels, lr=lr, seed=seed, fused=fused)
    _, outputs_before = real.run(0)
    for done in range(1, rounds + 1):
        zeroed_loss, _ = zeroed.run(steps)
        real_loss, outputs = real.run(steps)
        on_round(done)
        if real_loss < CLEARLY_BELOW * zeroed_loss:
            break
    signals: dict[str, Any] = {"fit_loss": real_loss, "fit_loss_zeroed": zeroed_loss, "fit_steps": real.step}
    signals |= {"fit_operations": operations, "fit_most_steps": steps * rounds}
    if has_classes:
        signals["fit_first_accuracy"] = _accuracy(outputs_before, labels)
        signals["fit_accuracy"] = _accuracy(outputs, labels)
    dead = list(zero_gradients)
    if dead:  # a gradient that appears during the fit is not a dead one
        after_fit = gradient_signals(network, loss, inputs, labels)["zero_gradients"]
        dead = [name for name in after_fit if name in dead]
    return signals | {"zero_gradients": dead}


def step_operations(network: nn.Module, inputs: Tensor) -> float:
    """Return about how many floating point operations a step on `inputs` takes: a count, the same on any machine.

    The forward pass is counted on two examples in evaluation mode; forward and backward pass take three times as many.
    """
    few, trained = inputs[:2], sum(p.numel() for p in network.parameters() if p.requires_grad)
    try:
        with restored(network), torch.no_grad(), FlopCounterMode(display=False) as counter:
            network.eval()
            network(few.clone())
        forward = counter.get_total_flops() / len(few)
    except Exception:  # noqa: BLE001 - a network that is never evaluated may fail in any way; it is only counted here
        forward = 2.0 * trained
    return 3.0 * forward * len(inputs) + OPTIMIZER_OPERATIONS * trained


def bounded_rounds(steps: int, rounds: int, operations: float) -> tuple[int, int]:
    """Return the steps of a round and the most rounds, for a network whose step takes so many `operations`."""
    if operations <= COSTLY:
        return steps, rounds
    least, most = LEAST_ROUNDS * steps, steps * rounds
    total = min(most, max(least, int(BUDGET / operations)))
    shorter = max(1, steps // SHORTER)
    return shorter, -(-total // shorter)


def _accuracy(outputs: Tensor, labels: Tensor) -> float:
    return float((outputs.argmax(1) == labels).float().mean())
