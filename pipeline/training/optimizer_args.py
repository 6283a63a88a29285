"""The range of every field of torch's optimizers, so that a wrong one is refused before training."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer

from pipeline import validation
from pipeline.errors import UserError


def validate_optimizer_args(fields: Mapping[str, Any]) -> None:
    """Raise `UserError` naming the first of `fields` that is out of range for SGD, Adagrad, RMSprop, Adam or AdamW.

    lr is in (0, 1000]. momentum, dampening, alpha and both betas are in [0, 1). weight_decay, eps, lr_decay and
    initial_accumulator_value are finite and at least 0. nesterov, centered, amsgrad and fused are true or false, and
    nesterov needs momentum and no dampening. Other fields pass, since a user's own optimizer may have any.
    """
    if "lr" in fields:
        hint = "Most networks train between 1e-5 and 1; try 1e-3 with adam, 1e-2 with momentum."
        validation.number("lr", fields["lr"], above=0, at_most=1e3, hint=hint)
    for name in ("momentum", "dampening", "alpha"):
        if name in fields:
            validation.number(name, fields[name], at_least=0, below=1)
    for name in ("weight_decay", "eps", "lr_decay", "initial_accumulator_value"):
        if name in fields:
            validation.number(name, fields[name], at_least=0)
    for name in ("nesterov", "centered", "amsgrad", "fused"):
        if fields.get(name) is not None:  # None: torch decides
            validation.boolean(name, fields[name])
    if "betas" in fields:
        _validate_betas(fields["betas"])
    if fields.get("nesterov") and not (fields.get("momentum", 0) > 0 and fields.get("dampening", 0) == 0):
        raise UserError("it needs momentum above 0 and dampening 0. Try momentum=0.9.", field="nesterov")


def without_fused_complex(factory: functools.partial[Optimizer]) -> functools.partial[Optimizer]:
    """Return the factory, with torch's plain update in place of the fused one for groups with complex parameters."""

    @functools.wraps(factory.func)
    def build(*args: Any, **kwargs: Any) -> Optimizer:
        optimizer = factory.func(*args, **kwargs)
        for group in optimizer.param_groups:
            if group.get("fused") and any(parameter.is_complex() for parameter in group["params"]):
                group["fused"] = False
        return optimizer

    return functools.partial(build, *factory.args, **factory.keywords)


def _validate_betas(betas: Any) -> None:
    if isinstance(betas, str) or not hasattr(betas, "__len__") or len(betas) != 2:
        raise UserError(f"{betas!r} is not a pair of numbers such as [0.9, 0.999].", field="betas")
    for beta in betas:
        validation.number("betas", beta, at_least=0, below=1)
