"""What a schedule is going to do, found without touching it; and which plans the rules find wrong."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch.optim import Optimizer
from torch.optim import lr_scheduler as schedulers

from pipeline.signals.schedule import MAX_RATES, StandIn, schedule_signals
from tests.checks.rule_cases import rule_of

EPOCHS, STEPS = 20, 460
RULES = ("schedule_length", "rate_vanishes", "rate_falls_early")


def make_optimizer(lr: float = 0.01) -> Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(3))], lr=lr, momentum=0.9)


def warm_up_then(optimizer: Optimizer, moves: int, rest: Callable[[Optimizer], Any]) -> Any:
    warm_up = schedulers.LinearLR(optimizer, 0.1, total_iters=moves)
    return schedulers.SequentialLR(optimizer, [warm_up, rest(optimizer)], [moves])


def linear_with_warm_up(optimizer: Optimizer, warm_up: int, total: int) -> Any:
    def factor(move: int) -> float:
        return move / warm_up if move < warm_up else max(0.0, (total - move) / (total - warm_up))

    return schedulers.LambdaLR(optimizer, factor)


def chained(optimizer: Optimizer) -> Any:
    constant = schedulers.ConstantLR(optimizer, 0.1, 5)
    return schedulers.ChainedScheduler([constant, schedulers.ExponentialLR(optimizer, 0.9)])


WRONG: dict[str, tuple[Callable[..., Any], int, str]] = {
    "one cycle in steps, by epoch": (
        partial(schedulers.OneCycleLR, max_lr=0.1, total_steps=STEPS), EPOCHS, "schedule_length"
    ),
    "one cycle in epochs, by step": (
        partial(schedulers.OneCycleLR, max_lr=0.1, total_steps=EPOCHS), STEPS, "schedule_length"
    ),
    "cosine in steps, by epoch": (partial(schedulers.CosineAnnealingLR, T_max=STEPS), EPOCHS, "schedule_length"),
    "cosine in epochs, by step": (partial(schedulers.CosineAnnealingLR, T_max=EPOCHS), STEPS, "schedule_length"),
    "linear in epochs, by step": (partial(schedulers.LinearLR, start_factor=1.0, end_factor=0.1, total_iters=20), STEPS,
                                  "schedule_length"),
    "polynomial in epochs, by step": (partial(schedulers.PolynomialLR, total_iters=20), STEPS, "schedule_length"),
    "polynomial in steps, by epoch": (partial(schedulers.PolynomialLR, total_iters=STEPS), EPOCHS, "schedule_length"),
    "milestones in epochs, by step": (
        partial(schedulers.MultiStepLR, milestones=[10, 15]), STEPS, "schedule_length"
    ),
    "milestones in steps, by epoch": (
        partial(schedulers.MultiStepLR, milestones=[230, 345]), EPOCHS, "schedule_length"
    ),
    "steps of epochs, by step": (partial(schedulers.StepLR, step_size=5), STEPS, "schedule_length"),
    "warm-up and cosine in steps, by epoch": (
        partial(warm_up_then, moves=46, rest=partial(schedulers.CosineAnnealingLR, T_max=414)), EPOCHS,
        "schedule_length"
    ),
    "a function in steps, by epoch": (partial(linear_with_warm_up, warm_up=46, total=STEPS), EPOCHS, "schedule_length"),
    "a function in epochs, by step": (partial(linear_with_warm_up, warm_up=2, total=EPOCHS), STEPS, "rate_vanishes"),
    "a rate below zero": (partial(schedulers.LambdaLR, lr_lambda=lambda e: 1 - 0.1 * e), EPOCHS, "schedule_length"),
    "a cycle that is longer than the run": (
        partial(schedulers.CyclicLR, base_lr=0.001, max_lr=0.1, step_size_up=2000), STEPS, "schedule_length"
    ),
    "an exponential by step": (partial(schedulers.ExponentialLR, gamma=0.95), STEPS, "rate_vanishes"),
    "a plateau that waits for a rise": (partial(schedulers.ReduceLROnPlateau, mode="max"), EPOCHS, "rate_falls_early"),
}  # fmt: skip
SOUND: dict[str, tuple[Callable[..., Any], int]] = {
    "one cycle": (partial(schedulers.OneCycleLR, max_lr=0.1, total_steps=STEPS), STEPS),
    "one cycle, some moves left": (partial(schedulers.OneCycleLR, max_lr=0.1, total_steps=500), STEPS),
    "one cycle of one epoch": (partial(schedulers.OneCycleLR, max_lr=0.1, total_steps=23), 23),
    "cosine": (partial(schedulers.CosineAnnealingLR, T_max=EPOCHS), EPOCHS),
    "cosine of one epoch": (partial(schedulers.CosineAnnealingLR, T_max=1), 1),
    "restarts": (partial(schedulers.CosineAnnealingWarmRestarts, T_0=5, T_mult=2), EPOCHS),
    "restarts by step": (partial(schedulers.CosineAnnealingWarmRestarts, T_0=46), STEPS),
    "restarts, a short run": (partial(schedulers.CosineAnnealingWarmRestarts, T_0=10), 3),
    "warm-up": (partial(schedulers.LinearLR, start_factor=0.01, total_iters=46), STEPS),
    "linear": (partial(schedulers.LinearLR, start_factor=1.0, end_factor=0.01, total_iters=EPOCHS), EPOCHS),
    "polynomial": (partial(schedulers.PolynomialLR, total_iters=EPOCHS), EPOCHS),
    "a late step": (partial(schedulers.StepLR, step_size=15), EPOCHS),
    "a step after the run": (partial(schedulers.StepLR, step_size=30), EPOCHS),
    "milestones after the run": (partial(schedulers.MultiStepLR, milestones=[30, 60]), EPOCHS),
    "milestones by step": (partial(schedulers.MultiStepLR, milestones=[230, 400]), STEPS),
    "four steps": (partial(schedulers.StepLR, step_size=5), EPOCHS),
    "exponential by epoch": (partial(schedulers.ExponentialLR, gamma=0.95), EPOCHS),
    "a short exponential": (partial(schedulers.ExponentialLR, gamma=0.1), 3),
    "constant": (partial(schedulers.ConstantLR, factor=1.0, total_iters=0), STEPS),
    "constant, for a number of moves": (partial(schedulers.ConstantLR, factor=1.0, total_iters=100), EPOCHS),
    "warm-up and linear": (partial(linear_with_warm_up, warm_up=46, total=STEPS), STEPS),
    "warm-up and cosine": (
        partial(warm_up_then, moves=46, rest=partial(schedulers.CosineAnnealingLR, T_max=414)), STEPS
    ),
    "chained": (chained, EPOCHS),
    "cycles": (partial(schedulers.CyclicLR, base_lr=0.001, max_lr=0.1, step_size_up=46), STEPS),
    "plateau": (schedulers.ReduceLROnPlateau, EPOCHS),
    "a short run within a warm-up": (partial(schedulers.LambdaLR, lr_lambda=lambda e: min(1, (e + 1) / 5)), 3),
}  # fmt: skip


def signals_of(make: Callable[..., Any], moves: int) -> Any:
    by_epoch = moves <= EPOCHS
    other = moves * 23 if by_epoch else moves // 23
    return schedule_signals(make, make_optimizer(), moves=moves, other_moves=other, monitor="val_loss")


def checks_of(make: Callable[..., Any], moves: int) -> list[str]:
    signals = signals_of(make, moves)
    return [check for check in RULES if rule_of(check)(signals) is not None]


@pytest.mark.parametrize("name", WRONG)
def test_wrong_plans_are_found(name: str) -> None:
    make, moves, check = WRONG[name]
    assert checks_of(make, moves)[0] == check


@pytest.mark.parametrize("name", SOUND)
def test_sound_plans_are_not(name: str) -> None:
    assert checks_of(*SOUND[name]) == []


@pytest.mark.parametrize("name", [*WRONG, *SOUND])
def test_a_scheduler_stays_as_it_is(name: str) -> None:
    """A scheduler and a function that makes one give the same plan, and the optimizer is not touched."""
    make, moves = (WRONG | SOUND)[name][:2]  # type: ignore[operator]
    optimizer = make_optimizer()
    scheduler = make(optimizer)
    before = copy.deepcopy(scheduler.state_dict()), str(optimizer.state_dict()), optimizer.step
    with_object = schedule_signals(scheduler, optimizer, moves=moves)
    assert str(scheduler.state_dict()) == str(before[0])
    assert (str(optimizer.state_dict()), optimizer.step) == before[1:]
    fresh = make_optimizer()
    assert schedule_signals(make, fresh, moves=moves) == with_object
    assert fresh.param_groups[0].keys() == make_optimizer().param_groups[0].keys()
    assert fresh.param_groups[0]["lr"] == 0.01


def test_planned_rates_are_those_of_the_run() -> None:
    signals = schedule_signals(partial(schedulers.CosineAnnealingLR, T_max=8), make_optimizer(0.4), moves=8)
    expected = [0.2 * (1 + math.cos(math.pi * move / 8)) for move in range(8)]
    assert signals["planned_rates"] == pytest.approx(expected)
    assert (signals["schedule_moves"], signals["schedule_length"], signals["schedule_argument"]) == (8, 8, "T_max")
    assert signals["schedule"] == "CosineAnnealingLR"


def test_a_scheduler_that_has_moved_goes_on_from_there() -> None:
    optimizer = make_optimizer(1.0)
    scheduler = schedulers.ExponentialLR(optimizer, gamma=0.5)
    optimizer.step()
    scheduler.step()
    assert schedule_signals(scheduler, optimizer, moves=3)["planned_rates"] == [0.5, 0.25, 0.125]


def test_long_runs_are_thinned_out() -> None:
    signals = schedule_signals(partial(schedulers.StepLR, step_size=1250), make_optimizer(1.0), moves=2500)
    rates = signals["planned_rates"]
    assert len(rates) == MAX_RATES
    assert rates.count(1.0) == MAX_RATES // 2


def test_the_highest_rate_of_the_groups_counts() -> None:
    optimizer = torch.optim.SGD([{"params": [torch.zeros(1)], "lr": lr} for lr in (0.1, 0.3)])
    signals = schedule_signals(partial(schedulers.ExponentialLR, gamma=0.5), optimizer, moves=2)
    assert signals["planned_rates"] == pytest.approx([0.3, 0.15])


def test_where_a_schedule_breaks_down() -> None:
    refused = schedule_signals(partial(schedulers.OneCycleLR, max_lr=1, total_steps=5), make_optimizer(), moves=9)
    assert refused["schedule_error_move"] == 6
    assert len(refused["planned_rates"]) == 6
    assert "schedule_error" not in schedule_signals(
        partial(schedulers.OneCycleLR, max_lr=1, total_steps=5), make_optimizer(), moves=5
    )
    negative = schedule_signals(
        partial(schedulers.LambdaLR, lr_lambda=lambda e: 1 - 0.5 * e), make_optimizer(), moves=5
    )
    assert negative["schedule_error_move"] == 4
    assert len(negative["planned_rates"]) == 3


def test_a_plateau_has_no_plan() -> None:
    make = partial(schedulers.ReduceLROnPlateau, patience=3, threshold=0.01)
    signals = schedule_signals(make, make_optimizer(), moves=5, monitor="val_loss")
    assert "planned_rates" not in signals
    assert (signals["schedule_mode"], signals["schedule_monitor"]) == ("min", "val_loss")
    assert (signals["schedule_patience"], signals["schedule_threshold"]) == (3, 0.01)


def test_length_of_a_sequence_is_that_of_all_its_parts() -> None:
    make = partial(warm_up_then, moves=5, rest=partial(schedulers.CosineAnnealingLR, T_max=15))
    assert schedule_signals(make, make_optimizer(), moves=20)["schedule_length"] == 20
    endless = partial(warm_up_then, moves=5, rest=partial(schedulers.ExponentialLR, gamma=0.9))
    assert "schedule_length" not in schedule_signals(endless, make_optimizer(), moves=20)


def test_a_stand_in_moves_no_parameter() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    stand_in = StandIn(torch.optim.Adam([("weight", parameter)], lr=0.1, betas=(0.5, 0.6)))
    stand_in.step()
    assert parameter.tolist() == [1.0, 1.0]
    assert stand_in.param_groups[0]["betas"] == (0.5, 0.6)
    assert stand_in.param_groups[0]["params"][0] is not parameter
