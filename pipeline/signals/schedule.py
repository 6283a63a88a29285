"""The learning rates that a schedule is going to give, found by moving a copy of it."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau, SequentialLR

from pipeline.signals.schema import ScheduleSignals

MAX_RATES = 1000
"""Most entries of `planned_rates`."""
LENGTH_ARGUMENTS = ("total_steps", "T_max", "total_iters", "milestones", "step_size", "T_0")
"""Attributes of torch's schedulers that say after how many moves something happens, the most decisive first."""


class StandIn(Optimizer):
    """Has the groups of another optimizer with all their options, one number in each, and never changes it."""

    def __init__(self, optimizer: Optimizer):
        groups = [
            {key: copy.deepcopy(value) for key, value in group.items() if key not in ("params", "param_names")}
            | {"params": [nn.Parameter(torch.zeros(()))]}
            for group in optimizer.param_groups
        ]
        super().__init__(groups, dict(optimizer.defaults))

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Do nothing."""


def schedule_signals(
    scheduler: LRScheduler | Callable[[Optimizer], LRScheduler],
    optimizer: Optimizer,
    *,
    moves: int,
    other_moves: int | None = None,
    monitor: str | None = None,
) -> ScheduleSignals:
    """Return what a schedule is going to do in a run that moves it `moves` times.

    `scheduler` is a scheduler of `optimizer`, or a function that makes one. Both stay as they are: a copy is moved,
    with a `StandIn` for the optimizer. `other_moves` says how often the run would move it at the other occasion (after
    each epoch where it moves after each step, and the other way round), `monitor` what a plateau scheduler is given,
    such as `val_loss`. A plateau scheduler has no planned rates.
    """
    stand_in = StandIn(optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns where no optimizer steps between two moves
        if isinstance(scheduler, LRScheduler):
            moved = copy.deepcopy(scheduler, {id(scheduler.optimizer): stand_in})
        else:
            moved = scheduler(stand_in)
        signals: ScheduleSignals = {"schedule": type(moved).__name__, "schedule_moves": moves}
        if other_moves is not None:
            signals["schedule_other_moves"] = other_moves
        if isinstance(moved, ReduceLROnPlateau):
            return signals | _plateau_signals(moved, monitor)
        return signals | _length_signals(moved) | _planned_rates(moved, stand_in, moves)


def _plateau_signals(scheduler: ReduceLROnPlateau, monitor: str | None) -> ScheduleSignals:
    signals: ScheduleSignals = {
        "schedule_mode": scheduler.mode,
        "schedule_patience": scheduler.patience,
        "schedule_threshold": float(scheduler.threshold),
    }
    return signals | ({} if monitor is None else {"schedule_monitor": monitor})


def _length_signals(scheduler: LRScheduler) -> ScheduleSignals:
    """Return the number of moves that the scheduler was built for, and the argument that says so; {} where unknown."""
    if isinstance(scheduler, SequentialLR):
        last = _length_signals(scheduler._schedulers[-1])
        return last | {"schedule_length": scheduler._milestones[-1] + last["schedule_length"]} if last else {}
    if getattr(scheduler, "factor", None) == 1:  # a constant
        return {}
    for argument in LENGTH_ARGUMENTS:
        value = getattr(scheduler, argument, None)
        length = max(value, default=0) if argument == "milestones" and value is not None else value
        if isinstance(length, int) and length > 0:
            return {"schedule_argument": argument, "schedule_length": length}
    return {}


def _planned_rates(scheduler: LRScheduler, optimizer: Optimizer, moves: int) -> ScheduleSignals:
    """Return the highest rate of the groups between the moves, thinned out, and where the schedule breaks down."""
    rates: list[float] = []
    error: ScheduleSignals = {}
    for move in range(1, moves + 1):
        rate = max(float(group["lr"]) for group in optimizer.param_groups)
        if not 0 <= rate < math.inf:
            error = {"schedule_error": f"the learning rate is {rate:.3g}", "schedule_error_move": move}
            break
        rates.append(rate)
        try:
            scheduler.step()
        except (ValueError, ArithmeticError) as refusal:
            error = {"schedule_error": str(refusal), "schedule_error_move": move}
            break
    count = min(len(rates), MAX_RATES)
    return {"planned_rates": [rates[i * len(rates) // count] for i in range(count)]} | error
