"""How the learning rate changes during a run."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from pipeline.errors import UserError
from pipeline.signals.schedule import schedule_signals
from pipeline.signals.schema import ScheduleSignals
from pipeline.validation import number, one_of

LIMITS_OF_RATES = ("max_lr", "base_lr", "min_lr", "eta_min", "swa_lr")
"""Arguments of torch's schedulers that are learning rates."""


@dataclass(frozen=True)
class Schedule:
    """One of torch's schedulers, and when it updates the rate.

    `interval` is "step" (after every optimizer step) or "epoch". `length_argument` is the name of the scheduler's
    argument that receives the run's length in intervals, such as `T_max` of the cosine; None where it has none. A
    plateau scheduler always updates at the end of an epoch, by the validation loss.
    """

    interval: str
    length_argument: str | None
    scheduler: Callable[..., LRScheduler]

    def __post_init__(self) -> None:
        one_of("interval", self.interval, ("step", "epoch"))

    def build(self, optimizer: Optimizer, *, epochs: int, steps_per_epoch: int) -> LRScheduler:
        """Return the scheduler of `optimizer` for a run of this length.

        Raises `UserError` on `scheduler` where torch refuses its arguments.
        """
        intervals = epochs * steps_per_epoch if self.interval == "step" else epochs
        arguments: dict[str, Any] = {self.length_argument: intervals} if self.length_argument else {}
        try:
            return self.scheduler(optimizer, **arguments)
        except (TypeError, ValueError) as error:  # torch's own messages name the argument
            raise UserError(str(error), field="scheduler") from error

    def scaled(self, factor: float) -> Schedule:
        """Return the schedule for an optimizer whose rate is `factor` times this one's: limits of rates follow it."""
        arguments = getattr(self.scheduler, "keywords", {})
        limits = {name: _multiply(arguments[name], factor) for name in LIMITS_OF_RATES if name in arguments}
        return replace(self, scheduler=functools.partial(self.scheduler, **limits))

    def validate_with(self, make_optimizer: Callable[..., Optimizer]) -> None:
        """Compute a few rates with an optimizer of one number.

        Raises `UserError` on `scheduler` where torch cannot use its arguments, or a rate is negative or not finite.
        """
        optimizer = make_optimizer([nn.Parameter(torch.zeros(1))])
        scheduler = self.build(optimizer, epochs=3, steps_per_epoch=1)
        validation_loss: list[Any] = [1.0] if isinstance(scheduler, ReduceLROnPlateau) else []
        try:
            for _ in range(2):
                optimizer.step()
                scheduler.step(*validation_loss)
                number("scheduler", optimizer.param_groups[0]["lr"], at_least=0)
        except (TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
            raise UserError(f"torch cannot use these arguments: {error}", field="scheduler") from error

    def update_event(self, scheduler: LRScheduler) -> str:
        """Return what the scheduler waits for: "step", "epoch" or "validation"."""
        return "validation" if isinstance(scheduler, ReduceLROnPlateau) else self.interval

    def plan(
        self, make_optimizer: Callable[..., Optimizer], *, epochs: int, steps_per_epoch: int, monitor: str
    ) -> ScheduleSignals:
        """Return what the schedule is going to do in a run of this length; a plateau scheduler waits for `monitor`."""
        optimizer = make_optimizer([nn.Parameter(torch.zeros(1))])
        scheduler = self.build(optimizer, epochs=epochs, steps_per_epoch=steps_per_epoch)
        by_step = self.update_event(scheduler) == "step"
        steps = epochs * steps_per_epoch
        moves, other_moves = (steps, epochs) if by_step else (epochs, steps)
        return schedule_signals(scheduler, optimizer, moves=moves, other_moves=other_moves, monitor=monitor)


def _multiply(value: Any, factor: float) -> Any:
    """Return a number, or each number of a list, times `factor`."""
    return [one * factor for one in value] if isinstance(value, (list, tuple)) else value * factor


class WarmupCosineLR(LambdaLR):
    """lr(t) = lr (t + 1) / (w + 1) while t < w, then lr (1 + cos(pi (t - w) / (T - w))) / 2, for T steps in all.

    The `warmup` is a fraction: w = round(warmup T). Raises `UserError` naming the field.
    """

    def __init__(self, optimizer: Optimizer, *, total_steps: int, warmup: float):
        number("warmup", warmup, at_least=0, below=1)
        self.total_steps, self.warmup_steps = total_steps, round(warmup * total_steps)
        super().__init__(optimizer, self._factor)

    def _factor(self, step: int) -> float:
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        done = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
        return (1 + math.cos(math.pi * min(done, 1.0))) / 2

    def state_dict(self) -> dict[str, Any]:
        """Return the state without the function, which a new scheduler brings along."""
        return {key: value for key, value in super().state_dict().items() if key != "lr_lambdas"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a `state_dict()`."""
        super().load_state_dict(state_dict | {"lr_lambdas": [None] * len(self.lr_lambdas)})


def change_length(checkpoint: dict[str, Any], optimizer: Optimizer, scheduler: LRScheduler) -> None:
    """Let a Lightning `checkpoint` go on with the schedule of another length, from the step at which it stands.

    `optimizer` and `scheduler` are new ones for that length. Their rates replace those of the checkpoint.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, since no optimizer steps between two moves
        for _ in range(checkpoint["lr_schedulers"][0]["last_epoch"]):
            scheduler.step()
    checkpoint["lr_schedulers"] = [scheduler.state_dict()]
    for saved, group in zip(checkpoint["optimizer_states"][0]["param_groups"], optimizer.param_groups, strict=True):
        saved |= {key: value for key, value in group.items() if key != "params"}
