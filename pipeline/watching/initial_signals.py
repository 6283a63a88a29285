"""The signals of `sanity` for anybody's model, as far as its task lets them be measured."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pipeline.model.batchnorm import count_batchnorm
from pipeline.model.regularization import without_dropout
from pipeline.signals.activations import Activations
from pipeline.signals.at_init import (
    first_loss,
    gradient_signals,
    parameter_signals,
    update_direction,
)
from pipeline.signals.batch_leak import batch_leak
from pipeline.signals.evaluation_mode import evaluation_signals
from pipeline.signals.frozen import frozen_signals
from pipeline.signals.layer_graph import layer_graph_signals
from pipeline.signals.loss_function import pairing_signals
from pipeline.signals.optimizer import clearing_signals, optimizer_signals
from pipeline.signals.short_fit import fit_signals
from pipeline.signals.token_leak import token_leak
from pipeline.signals.trained_parameters import trained_parameter_signals
from pipeline.watching.adapter import AdaptedModel, Batch, Task
from pipeline.watching.losses import GivenLoss, best_outputs
from pipeline.watching.optimizers import GivenOptimizer

FITTED_TASKS = ("classification", "regression")
"""Tasks whose examples a network memorizes: positions of one image share too much for a short fit to tell anything."""
FIT_STEPS, FIT_ROUNDS, FIT_RATE = 20, 6, 0.002
"""Steps of a round, most rounds, and Adam's rate of the short fits, as in conf/stage/sanity.yaml."""
FEW_EXAMPLES = 32
"""Examples of the measurements that take many passes, as in conf/stage/sanity.yaml."""


def initial_signals(
    network: AdaptedModel,
    batch: Batch,
    loss: GivenLoss,
    optimizer: GivenOptimizer | None,
    *,
    task: Task,
    outputs: Tensor,
    fit: bool,
) -> dict[str, Any]:
    """Return the signals of docs/signals.md, `sanity`, that this task has; the network may be changed.

    Dropout is off, except where it is what is measured.
    """
    inputs, labels = batch.inputs, batch.labels
    signals: dict[str, Any] = {"loss": loss.name, "nonfinite": []}
    signals |= optimizer.config_signals() if optimizer else {}
    signals["batch_size"] = len(batch.tensors[0])
    signals["batchnorm_layers"] = count_batchnorm(network)
    signals |= parameter_signals(network)
    signals |= evaluation_signals(network, inputs)  # with its dropout
    with without_dropout(network):
        if batch.is_plain:
            signals |= layer_graph_signals(network, inputs)
        signals |= _loss_signals(network, batch, loss, task, outputs)
        signals |= _wiring_signals(network, batch, loss, optimizer)
        gradients = gradient_signals(network, loss, inputs, labels)
        signals["nonfinite"] = [*signals["nonfinite"], *gradients.pop("nonfinite", [])]
        signals |= gradients
        if optimizer and optimizer.make and not loss.is_of_model:
            signals |= update_direction(network, loss, inputs, labels, optimizer.make)
        learns = len(signals["zero_gradients"]) < signals["trainable_parameters"]
        if (
            fit
            and learns
            and batch.is_plain
            and task in FITTED_TASKS
            and not loss.is_of_model
            and not signals["nonfinite"]
        ):
            few = slice(0, FEW_EXAMPLES)
            signals |= fit_signals(
                network,
                loss,
                inputs[few],
                labels[few],
                signals["zero_gradients"],
                steps=FIT_STEPS,
                rounds=FIT_ROUNDS,
                lr=FIT_RATE,
                seed=lambda step: step,
                has_classes=task == "classification",
            )
    return signals


def _wiring_signals(
    network: AdaptedModel, batch: Batch, loss: GivenLoss, optimizer: GivenOptimizer | None
) -> dict[str, Any]:
    """Measure whether what the network computes with is what the optimizer trains, and what is frozen."""
    made, original = optimizer.optimizer if optimizer else None, loss.module or loss
    signals: dict[str, Any] = dict(trained_parameter_signals(network, original, batch.inputs, batch.labels, made))
    signals |= frozen_signals(network, batch.inputs)
    if made is not None:
        signals |= optimizer_signals(network, made, loss.module)
        signals |= clearing_signals(network, made)
    return signals


def _loss_signals(network: AdaptedModel, batch: Batch, loss: GivenLoss, task: Task, outputs: Tensor) -> dict[str, Any]:
    """Measure the first loss and the loss function; where outputs are not (N, C), the loss and activations alone."""
    inputs, labels = batch.inputs, batch.labels
    if task == "classification" and batch.is_plain and not loss.is_of_model:
        few = slice(0, FEW_EXAMPLES)
        return {
            "output_shape": list(outputs.shape),
            "classes": outputs.shape[1],
            **pairing_signals(loss, outputs, labels),
            **first_loss(network, loss, inputs, labels),
            "expected_first_loss": guess_loss(loss, outputs, labels),
            **batch_leak(network, inputs[few]),
        }
    pairing = {} if loss.is_of_model else pairing_signals(loss, outputs, labels)
    tracer = Activations(limit=None)
    with torch.no_grad(), tracer.trace(network):
        value = float(loss(network(inputs), labels))
    return {
        **pairing,
        **best_outputs(loss, outputs, labels, task),
        **_leak_of_tokens(network, batch, outputs),
        "first_loss": value,
        "nonfinite": [] if math.isfinite(value) else ["the first loss"],
        "activations": tracer.columns(),
        **({"input_std": float(inputs.float().std(correction=0))} if batch.is_plain else {}),
    }


def _leak_of_tokens(network: AdaptedModel, batch: Batch, outputs: Tensor) -> dict[str, Any]:
    tokens = [one for one in batch.tensors if not one.is_floating_point() and one.ndim >= 2]
    if not tokens or outputs.ndim < 2 or any(len(one) != len(outputs) for one in tokens):
        return {}
    return dict(token_leak(network, batch.inputs, tokens))


def guess_loss(loss: GivenLoss, outputs: Tensor, labels: Tensor) -> float | None:
    """Return the loss of outputs that are all zero: of a network that does not know yet; None if it is not finite."""
    value = float(loss(torch.zeros_like(outputs), labels))
    return value if math.isfinite(value) else None
