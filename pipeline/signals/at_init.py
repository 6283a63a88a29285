"""A network before training: its first output and loss, its first gradients, and a short fit.

A loss is any callable (logits (N, C), labels (N,)) -> scalar tensor, the mean over the batch, in nats.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pipeline.signals.activations import Activations
from pipeline.signals.weights import Weights, gradient_columns

CONFIDENT_LOGIT = 1000.0
OTHER_CLASSES = 20
"""Wrong classes that are asked about: every one of few, some of many."""

LossFunction = Callable[[Tensor, Tensor], Tensor]


def first_loss(network: nn.Module, loss: LossFunction, inputs: Tensor, labels: Tensor) -> dict[str, Any]:
    """Loss (nats), mean and standard deviation of the logits about their mean over classes, before any step.

    Also what kind of loss it is: `doubled_loss_ratio`, the loss of the batch given twice over that of the batch (1 for
    a mean, 2 for a sum), and `perfect_probability_loss`, that of outputs which are 1 for the right class and 0 for the
    others (0 for a loss that takes probabilities), `wrong_probability_loss`, the mean over outputs that are so for each
    other class (higher, where right answers pay), and `certain_loss`, the first at a thousand times the certainty (far
    below zero where nothing bounds the loss).
    """
    with torch.no_grad():
        watch = Activations(limit=None)
        with watch.trace(network):
            logits = network(inputs).detach()
        value = loss(logits, labels)
        twice = loss(logits.repeat(2, 1), labels.repeat(2))
        classes = logits.shape[1]
        right = nn.functional.one_hot(labels, classes).to(logits)
        perfect, certain = loss(right, labels), loss(CONFIDENT_LOGIT * right, labels)
        shifts = range(1, min(classes, OTHER_CLASSES + 1))
        wrong = [float(loss(right.roll(k, 1), labels)) for k in shifts]
        spread = (logits - logits.mean(1, keepdim=True)).square().mean().sqrt()
    numbers: dict[str, Any] = {
        "first_loss": float(value),
        "logit_mean": float(logits.mean()),
        "logit_std": float(spread),
    }
    numbers["doubled_loss_ratio"] = float(twice) / float(value) if float(value) else 1.0
    numbers |= {"perfect_probability_loss": float(perfect), "certain_loss": float(certain)}
    numbers["output_log_probabilities"] = bool((logits.float().logsumexp(1).abs() < 1e-3).all())
    numbers["wrong_probability_loss"] = sum(wrong) / len(wrong)
    numbers["input_std"] = float(inputs.float().std(correction=0))
    nonfinite = [] if math.isfinite(numbers["first_loss"]) else ["the first loss"]
    return numbers | {"nonfinite": nonfinite, "activations": watch.columns()}


def parameter_signals(network: nn.Module) -> dict[str, Any]:
    """Names of parameters that are frozen, and lists of names that mean one and the same parameter."""
    names: dict[int, list[str]] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return {
        "frozen_parameters": [name for name, p in network.named_parameters() if not p.requires_grad],
        "shared_parameters": [same for same in names.values() if len(same) > 1],
        "parameters": len(names),
    }


def gradient_signals(network: nn.Module, loss: LossFunction, inputs: Tensor, labels: Tensor) -> dict[str, Any]:
    """Which parameters get no gradient, which a non-finite one, and in which layers all units are alike."""
    network.zero_grad()
    value = loss(network(inputs), labels)
    if value.requires_grad:  # an output that is detached reaches no parameter
        value.backward()
    named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    zero = [name for name, p in named if p.grad is None or not bool(p.grad.any())]
    bad = [f"gradient of {name}" for name, p in named if p.grad is not None and not bool(p.grad.isfinite().all())]
    weights = [(name, p) for name, p in named if p.ndim >= 2 and len(p) > 1]
    alike = [name for name, p in weights if _rows_alike(p.detach()) and (p.grad is None or _rows_alike(p.grad))]
    result: dict[str, Any] = {
        "zero_gradients": zero,
        "trainable_parameters": len(named),
        "symmetric_layers": alike,
        "weight_layers": len(weights),
        "gradients": gradient_columns(network),
    }
    network.zero_grad()
    return result | ({"nonfinite": bad} if bad else {})


def update_direction(
    network: nn.Module, loss: LossFunction, inputs: Tensor, labels: Tensor, optimizer: Callable[..., Optimizer]
) -> dict[str, Any]:
    """`update_direction`: cosine between the gradient and the optimizer's first update without decay. It is -1 for
    gradient descent, negative for every method that descends. Changes the network."""
    weights = Weights.from_network(network)
    network.zero_grad()
    value = loss(network(inputs), labels)
    if not value.requires_grad or not weights.names:
        return {}
    value.backward()
    steepest, before = weights.gradients(), [value.clone() for value in weights.values()]
    optimizer(list(weights.tensors)).step()
    updates = torch._foreach_sub(weights.values(), before)
    dot = torch.stack([product.sum() for product in torch._foreach_mul(steepest, updates)]).sum()
    sizes = [torch.stack(torch._foreach_norm(some)).norm() for some in (steepest, updates)]
    scale = float(sizes[0] * sizes[1])
    return {"update_direction": float(dot) / scale} if scale > 0 and math.isfinite(scale) else {}


def batch_leak(network: nn.Module, per_example: LossFunction, inputs: Tensor, labels: Tensor) -> dict[str, Any]:
    """How many other examples the loss of the first one depends on, in evaluation mode: batchnorm mixes by intent."""
    was_training = network.training
    network.eval()
    inputs = inputs.detach().clone().requires_grad_()
    try:
        value = per_example(network(inputs), labels)[0]
        if value.requires_grad:
            value.backward()
    finally:
        network.train(was_training)
        network.zero_grad()
    gradient = torch.zeros_like(inputs) if inputs.grad is None else inputs.grad
    others = gradient[1:].flatten(1).abs().amax(1)
    return {
        "leaking_examples": int((others > 0).sum()),
        "leak_examples": len(others),
        "leak_gradient": float(others.max()),
    }


def short_fit(
    network: nn.Module, loss: LossFunction, inputs: Tensor, labels: Tensor, *, steps: int, lr: float,
    seed: Callable[[int], int],
) -> Iterator[tuple[float, float]]:  # fmt: skip
    """(loss, share right): before the first step, then after each further `steps` of Adam on one batch. Adam, since its
    steps hardly depend on the gradient's scale: the question is what the network can use, not whether the chosen rate
    suits it. `seed(step)` seeds what a step draws."""
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=lr)
    for step in itertools.count():
        torch.manual_seed(seed(step))
        optimizer.zero_grad()
        logits = network(inputs)
        value = loss(logits, labels)
        if step % steps == 0:
            yield float(value.detach()), float((logits.detach().argmax(1) == labels).float().mean())
        value.backward()
        optimizer.step()


def _rows_alike(rows: Tensor) -> bool:
    """Equal but for rounding: sums in another order differ in the last digits."""
    return bool(((rows - rows[0]).abs() <= 1e-5 * rows[0].abs().max()).all())
