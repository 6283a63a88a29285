"""Measurements of a network before training: its first output and loss, its first gradients, and a short fit.

A loss is any callable (logits (N, C), labels (N,)) -> scalar tensor, the mean over the batch, in nats.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pipeline.signals.activations import Activations
from pipeline.signals.loss_on_cpu import loss_on_cpu
from pipeline.signals.schema import SanitySignals
from pipeline.signals.weights import Weights, gradient_columns

CONFIDENT_LOGIT = 1000.0
MAX_WRONG_CLASSES = 20
"""Wrong classes for which the loss is computed: all of few, some of many."""

PARTS_OF_BATCH = 3
"""Random parts of a batch that are asked whether a gradient only cancels over the whole."""

LossFunction = Callable[[Tensor, Tensor], Tensor]


def first_loss(
    network: nn.Module, loss: LossFunction, inputs: Tensor, labels: Tensor, *, has_classes: bool = True
) -> dict[str, Any]:
    """Measure the loss of `inputs` (N, C, H, W) and `labels` (N,) before any step, in nats, and the logits.

    `first_loss` is the loss, `logit_mean` the mean of the logits, `logit_std` their standard deviation about the mean
    over classes of each example (about zero where labels are no classes), `input_std` that of all input values.
    `output_log_probabilities` tells whether the exponentials of every output row sum to one. `activations` are columns
    of statistics by layer. `nonfinite` names the loss if it is not finite.

    With classes, more numbers characterize the loss. `doubled_loss_ratio` is that of the batch given twice over that of
    the batch: 1 for a mean, 2 for a sum; `tripled_loss_ratio` that of three times. `perfect_probability_loss` is the
    loss of outputs that are 1 for the right class and 0 for the others: 0 for a loss that takes probabilities.
    `wrong_probability_loss` is the mean loss of outputs that are 1 for one wrong class: higher, if the loss rewards
    right outputs. `certain_loss` is the loss of perfect outputs times `CONFIDENT_LOGIT`: far below zero when nothing
    bounds the loss.
    """
    with torch.no_grad():
        tracer = Activations(limit=None)
        with tracer.trace(network):
            logits = network(inputs).detach()
        value = loss(logits, labels)
        centre = logits.mean(1, keepdim=True) if has_classes else torch.zeros_like(logits[:, :1])
        logit_std = (logits - centre).square().mean().sqrt()
    first = float(value)
    return {
        "first_loss": first,
        "logit_mean": float(logits.mean()),
        "logit_std": float(logit_std),
        **(_loss_alone(loss, logits, labels, first) | _output_form(logits) if has_classes else {}),
        "input_std": float(inputs.float().std(correction=0)),
        "nonfinite": [] if math.isfinite(first) else ["the first loss"],
        "activations": tracer.columns(),
    }


def _output_form(logits: Tensor) -> dict[str, Any]:
    """Return whether the outputs are log-probabilities."""
    return {"output_log_probabilities": bool((logits.float().logsumexp(1).abs() < 1e-3).all())}


@torch.no_grad()
def _loss_alone(loss: LossFunction, logits: Tensor, labels: Tensor, first: float) -> dict[str, Any]:
    """Return what `first_loss` says of the loss function; {} where a loss on a GPU needs the GPU."""
    own_loss = loss_on_cpu(loss, logits, labels)
    if own_loss is None:
        return {}
    logits, labels = logits.cpu(), labels.cpu()
    doubled, tripled = (own_loss(logits.repeat(copies, 1), labels.repeat(copies)) for copies in (2, 3))
    n_classes = logits.shape[1]
    one_hot = nn.functional.one_hot(labels, n_classes).to(logits)
    shifts = range(1, min(n_classes, MAX_WRONG_CLASSES + 1))
    wrong = [float(own_loss(one_hot.roll(k, 1), labels)) for k in shifts]
    return {
        "doubled_loss_ratio": float(doubled) / first if first else 1.0,
        "tripled_loss_ratio": float(tripled) / first if first else 1.0,
        "perfect_probability_loss": float(own_loss(one_hot, labels)),
        "certain_loss": float(own_loss(CONFIDENT_LOGIT * one_hot, labels)),
        "wrong_probability_loss": sum(wrong) / len(wrong),
    }


def parameter_signals(network: nn.Module) -> SanitySignals:
    """Return the names of frozen parameters, lists of names that share one parameter, and the number of parameters.

    The table of an embedding that is the output layer's weight too is tied on purpose.
    """
    names: dict[int, list[str]] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    tied = {id(m.weight) for m in network.modules() if isinstance(m, (nn.Embedding, nn.EmbeddingBag))}
    return {
        "frozen_parameters": [name for name, p in network.named_parameters() if not p.requires_grad],
        "shared_parameters": [aliases for key, aliases in names.items() if len(aliases) > 1 and key not in tied],
        "parameters": len(names),
    }


def gradient_signals(network: nn.Module, loss: LossFunction, inputs: Tensor, labels: Tensor) -> dict[str, Any]:
    """Measure the gradients of one backward pass, and remove them again.

    `zero_gradients` names the parameters without gradient, in this pass and for parts of the batch: a gradient that
    cancels over the examples is none that is missing. `output_requires_grad` and `loss_requires_grad` are False where
    a trainable network, or the loss, cuts the path to all parameters. `symmetric_layers` names the weights whose units
    are all alike, `nonfinite` (absent if empty) the gradients that are not finite. `trainable_parameters` and
    `weight_layers` count the parameters and weights that were examined; `gradients` are columns by weight.
    """
    network.zero_grad()
    with _without_examples(network) as idle:
        outputs = network(inputs)
    value = loss(outputs, labels)
    if value.requires_grad:  # an output that is detached reaches no parameter
        value.backward()
    named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    weights = [(name, p) for name, p in named if p.ndim >= 2 and len(p) > 1]
    silent = {name: p for name, p in named if (p.grad is None or not bool(p.grad.any())) and id(p) not in idle}
    reached = _reached_by_parts(network, loss, inputs, labels, silent) if value.requires_grad else set()
    result: dict[str, Any] = {
        "zero_gradients": [name for name in silent if name not in reached],
        "output_requires_grad": bool(outputs.requires_grad),
        "loss_requires_grad": bool(value.requires_grad),
        "trainable_parameters": len(named),
        "symmetric_layers": [
            name for name, p in weights if _has_equal_rows(p.detach()) and (p.grad is None or _has_equal_rows(p.grad))
        ],
        "weight_layers": len(weights),
        "gradients": gradient_columns(network),
    }
    nonfinite = [f"gradient of {name}" for name, p in named if p.grad is not None and not bool(p.grad.isfinite().all())]
    network.zero_grad()
    return result | ({"nonfinite": nonfinite} if nonfinite else {})


@contextmanager
def _without_examples(network: nn.Module) -> Iterator[set[int]]:
    """Collect the ids of the parameters of modules that get no example, as an expert that no example has chosen."""
    idle: set[int] = set()

    def look(module: nn.Module, arguments: Any) -> None:
        if any(isinstance(one, Tensor) and one.ndim and not len(one) for one in arguments):
            idle.update(id(p) for p in module.parameters())

    modules = [module for module in network.modules() if not isinstance(module, torch.jit.ScriptModule)]
    hooks = [module.register_forward_pre_hook(look) for module in modules]  # TorchScript takes none
    try:
        yield idle
    finally:
        for hook in hooks:
            hook.remove()


def _reached_by_parts(
    network: nn.Module, loss: LossFunction, inputs: Any, labels: Any, parameters: dict[str, nn.Parameter]
) -> set[str]:
    """Return the names of `parameters` that get a gradient from the loss of some part of the batch.

    The whole batch passes through the network, so that batch norm sees what it saw. The parts are drawn at random, of
    an odd number of examples: two classes cannot be equally frequent there.
    """
    n = len(labels) if isinstance(labels, Tensor) and labels.ndim else 0
    reached: set[str] = set()
    generator = torch.Generator().manual_seed(0)
    for _ in range(PARTS_OF_BATCH if parameters and n >= 3 else 0):
        outputs = network(inputs)
        part = torch.randperm(n, generator=generator)[: max(1, n // 3 - (n // 3 + 1) % 2)]
        if not outputs.ndim or len(outputs) != n:
            break
        value = loss(outputs[part.to(outputs.device)], labels[part.to(labels.device)])
        if not value.requires_grad:
            break
        gradients = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
        reached |= {
            name for name, grad in zip(parameters, gradients, strict=True) if grad is not None and bool(grad.any())
        }
    return reached


def update_direction(
    network: nn.Module, loss: LossFunction, inputs: Tensor, labels: Tensor, optimizer: Callable[..., Optimizer]
) -> SanitySignals:
    """Return `update_direction`: the cosine between the gradient and the first update of `optimizer` without decay.

    It is -1 for gradient descent, and negative for every method that descends; absent where it is not defined. The
    weights of `network` are changed.
    """
    weights = Weights.from_network(network)
    network.zero_grad()
    value = loss(network(inputs), labels)
    if not value.requires_grad or not weights.names:
        return {}
    value.backward()
    gradients, before = weights.gradients(), [value.clone() for value in weights.values()]
    try:
        optimizer(list(weights.tensors)).step()
    except (TypeError, AssertionError):  # it needs a closure
        return {}
    updates = torch._foreach_sub(weights.values(), before)
    dot = torch.stack([product.sum() for product in torch._foreach_mul(gradients, updates)]).sum()
    gradient_norm, update_norm = (torch.stack(torch._foreach_norm(tensors)).norm() for tensors in (gradients, updates))
    scale = float(gradient_norm * update_norm)
    return {"update_direction": float(dot) / scale} if scale > 0 and math.isfinite(scale) else {}


def _has_equal_rows(rows: Tensor) -> bool:
    """Return whether all rows are equal but for rounding: sums in another order differ in the last digits."""
    return bool(((rows - rows[0]).abs() <= 1e-5 * rows[0].abs().max()).all())
