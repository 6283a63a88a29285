"""The range of each field, and torch's update rules against their formulas on a small quadratic."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.training.optimizer_args import validate_optimizer_args, without_fused_complex

CURVATURE = torch.tensor([1.0, 3.0, 0.2], dtype=torch.float64)
START = torch.tensor([2.0, -1.0, 5.0], dtype=torch.float64)
LR, DECAY = 0.1, 0.05


def gradient(w: Tensor) -> Tensor:
    """Return the gradient of the loss sum CURVATURE w^2 / 2."""
    return CURVATURE * w


def sgd() -> Iterator[Tensor]:
    w = START
    while True:
        w = w - LR * (gradient(w) + DECAY * w)
        yield w


def momentum() -> Iterator[Tensor]:
    w, v = START, torch.zeros(3)
    while True:
        v = 0.9 * v + gradient(w)
        w = w - LR * v
        yield w


def nesterov() -> Iterator[Tensor]:
    """Take the gradient at w - lr 0.9 v, where the momentum leads; that point is torch's weight."""
    w, v = START, torch.zeros(3)  # v is zero, so the first point is w itself
    while True:
        ahead = w - LR * 0.9 * v
        v = 0.9 * v + gradient(ahead)
        w = w - LR * v
        yield w - LR * 0.9 * v


def adagrad() -> Iterator[Tensor]:
    w, total = START, torch.zeros(3)
    while True:
        g = gradient(w)
        total = total + g**2
        w = w - LR * g / (total.sqrt() + 1e-10)
        yield w


def rmsprop() -> Iterator[Tensor]:
    w, average = START, torch.zeros(3)
    while True:
        g = gradient(w)
        average = 0.99 * average + 0.01 * g**2
        w = w - LR * g / (average.sqrt() + 1e-8)
        yield w


def adam(*, coupled: float = 0.0, decoupled: float = 0.0) -> Iterator[Tensor]:
    w, m, v, t = START, torch.zeros(3), torch.zeros(3), 0
    while True:
        t += 1
        g = gradient(w) + coupled * w
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g**2
        step = (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
        w = w - LR * step - LR * decoupled * w
        yield w


RULES: dict[str, tuple[Callable[[], Iterator[Tensor]], type[torch.optim.Optimizer], dict[str, Any]]] = {
    "sgd": (sgd, torch.optim.SGD, {"weight_decay": DECAY}),
    "momentum": (momentum, torch.optim.SGD, {"momentum": 0.9}),
    "nesterov": (nesterov, torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "adagrad": (adagrad, torch.optim.Adagrad, {}),
    "rmsprop": (rmsprop, torch.optim.RMSprop, {}),
    "adam": (adam, torch.optim.Adam, {}),
    "adam_l2": (lambda: adam(coupled=DECAY), torch.optim.Adam, {"weight_decay": DECAY}),
    "adamw": (lambda: adam(decoupled=DECAY), torch.optim.AdamW, {"weight_decay": DECAY}),
}


@pytest.mark.parametrize("name", RULES)
def test_update_rule_follows_formula(name: str) -> None:
    rule, build, options = RULES[name]
    w = START.clone().requires_grad_()
    optimizer = build([w], lr=LR, **options)  # type: ignore[call-arg]
    for _, expected in zip(range(20), rule(), strict=False):
        w.grad = gradient(w.detach())
        optimizer.step()
        torch.testing.assert_close(w.detach(), expected)


@pytest.mark.parametrize("name", RULES)
def test_fields_of_every_rule(name: str) -> None:
    _, build, options = RULES[name]
    validate_optimizer_args({"lr": LR, **options})
    defaults = build([torch.zeros(1, requires_grad=True)], lr=LR).defaults  # type: ignore[call-arg]
    validate_optimizer_args(defaults)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("lr", [0, -1e-3, 1e30, math.inf, math.nan, "fast", None, True]),
        ("momentum", [-0.1, 1, math.nan, "0.9"]),
        ("dampening", [-0.1, 1]),
        ("alpha", [-0.1, 1]),
        ("weight_decay", [-1e-4, math.inf, None]),
        ("eps", [-1e-8, math.nan]),
        ("lr_decay", [-1]),
        ("initial_accumulator_value", [-1]),
        ("betas", [(0.9, 1), (-0.1, 0.9), 0.9, (0.9,), "ab", None, (0.9, math.nan)]),
        ("nesterov", ["yes", 1]),
        ("centered", [1]),
        ("amsgrad", ["no"]),
        ("fused", ["yes", 1]),
    ],
)
def test_values_out_of_range(field: str, values: list[object]) -> None:
    for value in values:
        with pytest.raises(UserError) as error:
            validate_optimizer_args({field: value})
        assert error.value.field == field


def test_edges_and_unknown_fields() -> None:
    validate_optimizer_args(
        {"lr": 1e3, "momentum": 0, "weight_decay": 0, "eps": 0, "betas": [0, 0.999], "alpha": 0.99, "unknown": "x"}
    )
    validate_optimizer_args({})


def test_nesterov_needs_momentum() -> None:
    for others in ({}, {"momentum": 0.0}, {"momentum": 0.9, "dampening": 0.5}):
        with pytest.raises(UserError) as error:
            validate_optimizer_args({"nesterov": True, **others})
        assert error.value.field == "nesterov"
    validate_optimizer_args({"nesterov": True, "momentum": 0.9})
    validate_optimizer_args({"nesterov": False})


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
def test_complex_parameters_are_not_fused(optimizer: Any) -> None:
    real, other = (torch.nn.Parameter(torch.ones(2, dtype=dtype)) for dtype in (torch.float32, torch.cfloat))
    build = without_fused_complex(functools.partial(optimizer, lr=0.1, fused=True))
    assert build.func.__name__ == optimizer.__name__
    made = build([{"params": [real]}, {"params": [other]}])
    assert [group["fused"] for group in made.param_groups] == [True, False]
    real.grad, other.grad = torch.ones(2), torch.ones(2, dtype=torch.cfloat)
    made.step()
    assert not torch.equal(other, torch.ones(2, dtype=torch.cfloat))
