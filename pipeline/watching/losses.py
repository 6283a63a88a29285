"""The loss of `preflight`: what was given, or what the labels ask for."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.signals.schema import SanitySignals
from pipeline.signals.synthetic_outputs import FAILURES, find_class_axis
from pipeline.signals.target_loss import target_signals
from pipeline.watching.adapter import AdaptedModel, Task, describe
from pipeline.watching.errors import PreflightError

LossFunction = Callable[[Tensor, Any], Tensor]


@dataclass(frozen=True)
class GivenLoss:
    """A function (outputs, labels) -> one number. `is_of_model`: the model computes it itself as it runs."""

    function: LossFunction
    name: str
    is_of_model: bool = False
    module: nn.Module | None = None
    """The loss itself where it is a module, which may have parameters of its own."""

    def on_cpu(self) -> GivenLoss:
        """Return the loss for tensors of the CPU; a module is copied."""
        if self.module is None:
            return self
        module = copy.deepcopy(self.module).cpu()
        return GivenLoss(_checked(module), self.name, module=module)

    def __call__(self, outputs: Tensor, labels: Any) -> Tensor:
        return self.function(outputs, labels)


def given_loss(loss: Any, model: AdaptedModel, task: Task) -> GivenLoss:
    """Return the loss to measure. Raises `PreflightError` if there is none."""
    if loss is not None:
        name = getattr(loss, "__name__", None) or type(loss).__name__
        return GivenLoss(_checked(loss), name, module=loss if isinstance(loss, nn.Module) else None)
    if model.last_loss is not None:
        return GivenLoss(lambda outputs, labels: _own_loss(model), "the model's own loss", is_of_model=True)
    if task == "classification":
        return GivenLoss(F.cross_entropy, "cross_entropy")
    if task == "regression":
        return GivenLoss(lambda outputs, labels: F.mse_loss(outputs, labels.reshape(outputs.shape)), "mse_loss")
    raise PreflightError("give the loss: a function of outputs and labels that returns one number.", field="loss")


def _own_loss(model: AdaptedModel) -> Tensor:
    assert model.last_loss is not None
    return model.last_loss


def _checked(loss: Callable[..., Any]) -> LossFunction:
    def function(outputs: Tensor, labels: Any) -> Tensor:
        value = loss(outputs, labels)
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise PreflightError(
                f"a loss is one number, the mean over the batch; it returned {describe(value)}.", field="loss"
            )
        return value.reshape(())

    return function


def first_value(loss: GivenLoss, outputs: Tensor, labels: Any) -> Tensor:
    """Return the loss of the batch. Raises `PreflightError` with what the loss could not take."""
    try:
        return loss(outputs, labels)
    except PreflightError:
        raise
    except (TypeError, ValueError, IndexError, RuntimeError) as error:
        received = f"outputs: {describe(outputs)}; labels: {describe(labels)}"
        raise PreflightError(
            f"loss(outputs, labels) cannot be computed ({_first_line(error)}). It received {received}."
            f"{_likely_fix(outputs, labels)}",
            field="loss",
        ) from error


def _likely_fix(outputs: Tensor, labels: Any) -> str:
    """Return what to change in labels that look like classes in another form, else nothing."""
    if not isinstance(labels, Tensor):
        return " Labels are a tensor: torch.as_tensor(labels)."
    if outputs.ndim == 2 and outputs.shape[1] > 1 and labels.numel() == len(outputs) and labels.ndim in (1, 2):
        return " Classes are whole numbers (N,): labels.reshape(-1).long()."
    return ""


def best_outputs(loss: GivenLoss, outputs: Tensor, labels: Any, task: Task) -> SanitySignals:
    """Return signals that say which outputs of a network the loss asks for; empty where it does not take the labels.

    No output outside of the range of the labels is tried, which would end the process of a GPU where a loss of
    probabilities asserts their range.
    """
    if loss.is_of_model or not isinstance(labels, Tensor):
        return {}
    try:
        if task == "dense classification" and (axis := find_class_axis(outputs, labels)) is not None:
            perfect = F.one_hot(labels.clamp(min=0).long(), outputs.shape[axis]).movedim(-1, axis).to(outputs.dtype)
            value = float(loss(perfect, labels))
            return {"perfect_probability_loss": value} if math.isfinite(value) else {}
        if task == "regression":
            return target_signals(loss, outputs, labels)
    except FAILURES:
        pass
    return {}


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
