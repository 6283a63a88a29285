"""`preflight`: everything that can be checked of a model, a batch, a loss and an optimizer before training."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pipeline.watching.adapter import AdaptedModel, Batch, check_labels, find_task, split_batch, unwrap
from pipeline.watching.data import data_signals_of
from pipeline.watching.errors import PreflightError
from pipeline.watching.findings import Findings
from pipeline.watching.initial_signals import initial_signals
from pipeline.watching.judge import judge
from pipeline.watching.losses import first_value, given_loss
from pipeline.watching.optimizers import OptimizerFactory, given_optimizer
from pipeline.watching.preserve import preserved

STAGE = "sanity"
"""The stage of the pipeline that measures the same."""


def preflight(
    model: nn.Module,
    batch: Any,
    loss: Callable[..., Tensor] | None = None,
    optimizer: Optimizer | OptimizerFactory | None = None,
    data: Any = None,
    *,
    fit: bool = True,
    ignore: Collection[str] = (),
    quiet: bool = False,
) -> Findings:
    """Check a model before it is trained, and return the findings, ranked.

    `batch` is a pair (inputs, labels) of at least two examples, on the device of the model: one tensor of any shape, or
    a tuple or dictionary of arguments for the model. `loss(outputs, labels)` returns one number; without it the labels
    decide: cross-entropy for whole numbers, the squared error for real ones, and for a dictionary the `loss` that the
    model itself returns. `optimizer` is an optimizer or a function of parameters that makes one. `data` is a pair
    (inputs, labels) of the training set, or a dictionary of such pairs by `train`, `val` and `test`: images
    (N, C, H, W) or rows (N, features), classes as whole numbers.

    With `fit` the model is trained on the batch for some steps on real inputs and on zeros, the slowest part. The model
    stays as it was: weights, buffers, gradients, modes, random states. A model in training mode is measured in the
    modes that its modules have. Checks in `ignore` are left out. The findings are printed unless `quiet`.

    Raises `PreflightError` where the arguments do not fit together.
    """
    _check_arguments(model, loss)
    network, parts = unwrap(model), split_batch(batch)
    _check_devices(network, parts)
    signals: dict[str, Any] = {"examples": len(parts.tensors[0])}
    with preserved(network, *([loss] if isinstance(loss, nn.Module) else [])):
        adapted = AdaptedModel(network).train()
        outputs = _first_outputs(adapted, parts)
        task = find_task(outputs, parts.labels)
        check_labels(outputs, parts.labels, task, signals["examples"])
        used_loss = given_loss(loss, adapted, task)
        first_value(used_loss, outputs, parts.labels)
        used_optimizer = given_optimizer(optimizer, network)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the passes above have warned of once
            signals |= initial_signals(adapted, parts, used_loss, used_optimizer, task=task, outputs=outputs, fit=fit)
    if data is not None:
        signals["data"] = data_signals_of(data)
    findings = judge(signals, stage=STAGE, ignore=ignore)
    if not quiet:
        findings.print()
    return findings


def _check_arguments(model: Any, loss: Any) -> None:
    if not isinstance(model, nn.Module):
        raise PreflightError(f"expected an nn.Module, got a {type(model).__name__}.", field="model")
    if isinstance(loss, type):
        raise PreflightError(f"expected a loss, got its class. Make one: {loss.__name__}().", field="loss")
    if loss is not None and not callable(loss):
        raise PreflightError(f"expected a function of outputs and labels, got a {type(loss).__name__}.", field="loss")


def _check_devices(network: nn.Module, batch: Batch) -> None:
    devices = {p.device for p in network.parameters()} | {b.device for b in network.buffers()}
    if torch.device("meta") in devices:
        raise PreflightError(
            "the model is on the device meta and has no values. Move it to the CPU or a GPU.", field="model"
        )
    labels = [batch.labels] if isinstance(batch.labels, Tensor) else []
    strangers = {one.device for one in (*batch.tensors, *labels)} - devices
    if len(devices) == 1 and strangers:
        raise PreflightError(
            f"the batch is on {strangers.pop()} and the model on {devices.pop()}. Move both to one device: "
            "x = x.to(device); model.to(device).",
            field="batch",
        )


def _first_outputs(network: AdaptedModel, batch: Batch) -> Tensor:
    """Return the outputs of the batch. Raises `PreflightError` with what the model could not take."""
    try:
        with torch.no_grad():
            return network(batch.inputs)
    except PreflightError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
        shapes = ", ".join(str(tuple(one.shape)) for one in batch.tensors)
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise PreflightError(f"the model cannot take a batch of shape {shapes}: {reason}", field="model") from error
