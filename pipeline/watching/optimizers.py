"""The optimizer that was given to `preflight` or `watch`: an object, a function that makes one, or nothing."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer

from pipeline.watching.errors import PreflightError

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]


@dataclass(frozen=True)
class GivenOptimizer:
    """The optimizer itself, and how to make another one with its settings for other parameters.

    `make` is None where the class cannot be built again from its settings.
    """

    optimizer: Optimizer
    make: OptimizerFactory | None

    def config_signals(self) -> dict[str, Any]:
        """Return learning rate, weight decay and class: what remedies need."""
        group = self.optimizer.param_groups[0] if self.optimizer.param_groups else {}
        rate, decay = group.get("initial_lr", group.get("lr")), group.get("weight_decay", 0.0)  # as a schedule found it
        return {
            "optimizer": type(self.optimizer).__name__,
            **({"lr": float(rate)} if rate is not None else {}),
            "l2": float(decay or 0.0),
        }


def given_optimizer(optimizer: Optimizer | OptimizerFactory | None, model: nn.Module) -> GivenOptimizer | None:
    """Return what was given, made for the parameters of `model` if it is a function.

    Raises `PreflightError` for what is neither, or does not make an optimizer.
    """
    if optimizer is None:
        return None
    if isinstance(optimizer, Optimizer):
        return GivenOptimizer(optimizer, rebuild(optimizer))
    try:
        made = optimizer(list(model.parameters()))
    except (TypeError, ValueError) as error:
        raise PreflightError(
            f"the function does not make an optimizer from parameters ({error}). Give it as "
            "lambda parameters: torch.optim.SGD(parameters, lr=0.1).",
            field="optimizer",
        ) from error
    if not isinstance(made, Optimizer):
        raise PreflightError(f"expected a torch optimizer, got a {type(made).__name__}.", field="optimizer")
    return GivenOptimizer(made, optimizer)


def rebuild(optimizer: Optimizer) -> OptimizerFactory | None:
    """Return a function that makes an optimizer of the same class and settings for other parameters.

    The optimizer itself must not be copied: a scheduler may have replaced its `step`, and the copy would move the
    original. None where the class needs arguments that `defaults` do not hold.
    """
    kind = type(optimizer)
    try:
        names = inspect.signature(kind).parameters
    except (TypeError, ValueError):
        return None
    settings = {key: value for key, value in optimizer.defaults.items() if key in names}
    first = optimizer.param_groups[0] if optimizer.param_groups else {}
    settings |= {key: first[key] for key in settings if key in first}
    takes_more = [
        name
        for name, p in list(names.items())[1:]
        if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and name not in settings
    ]
    return None if takes_more else lambda parameters: kind(parameters, **settings)


def as_list(optimizer: Optimizer | Sequence[Optimizer] | None) -> list[Optimizer]:
    """Return the optimizers of a loop as a list. Raises `PreflightError` for what is no optimizer."""
    given = [] if optimizer is None else [optimizer] if isinstance(optimizer, Optimizer) else list(optimizer)
    for one in given:
        if not isinstance(one, Optimizer):
            raise PreflightError(f"expected a torch optimizer, got a {type(one).__name__}.", field="optimizer")
    return given
