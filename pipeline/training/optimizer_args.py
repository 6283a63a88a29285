"""The range of every field of torch's optimizers, so that a wrong one is refused before training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline import validation as check
from pipeline.errors import UserError


def validate_optimizer_args(fields: Mapping[str, Any]) -> None:
    """Raise `UserError` naming the first of `fields` that is out of range for SGD, Adagrad, RMSprop, Adam or AdamW.

    lr in (0, 1000]; momentum, dampening, alpha and both betas in [0, 1); weight_decay, eps, lr_decay and
    initial_accumulator_value finite and at least 0; nesterov, centered, amsgrad and fused true or false, nesterov only
    with momentum and without dampening. Fields not named here pass: a user's own optimizer may have any.
    """
    if "lr" in fields:
        hint = "Most networks train between 1e-5 and 1; try 1e-3 with adam, 1e-2 with momentum."
        check.number("lr", fields["lr"], above=0, at_most=1e3, hint=hint)
    for name in ("momentum", "dampening", "alpha"):
        if name in fields:
            check.number(name, fields[name], at_least=0, below=1)
    for name in ("weight_decay", "eps", "lr_decay", "initial_accumulator_value"):
        if name in fields:
            check.number(name, fields[name], at_least=0)
    for name in ("nesterov", "centered", "amsgrad", "fused"):
        if fields.get(name) is not None:  # None: as torch decides
            check.boolean(name, fields[name])
    if "betas" in fields:
        _betas(fields["betas"])
    if fields.get("nesterov") and not (fields.get("momentum", 0) > 0 and fields.get("dampening", 0) == 0):
        raise UserError("it needs momentum above 0 and dampening 0. Try momentum=0.9.", field="nesterov")


def _betas(betas: Any) -> None:
    if isinstance(betas, str) or not hasattr(betas, "__len__") or len(betas) != 2:
        raise UserError(f"{betas!r} is not a pair of numbers such as [0.9, 0.999].", field="betas")
    for beta in betas:
        check.number("betas", beta, at_least=0, below=1)
