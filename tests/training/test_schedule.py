"""torch's learning rate schedules, compared with their formulas, and resumed from a saved state."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from pipeline.errors import UserError
from pipeline.training.schedule import WarmupCosineLR

LR, STEPS = 0.4, 20


def one_cycle(t: int) -> float:
    """Cosine from lr/25 up to lr over the first 30 % of the steps, then down to lr/25/10^4 (Smith & Topin 2018)."""
    peak = 0.3 * STEPS - 1
    low, lowest = LR / 25, LR / 25 / 1e4
    if t <= peak:
        return low + (LR - low) * (1 - math.cos(math.pi * t / peak)) / 2
    return lowest + (LR - lowest) * (1 + math.cos(math.pi * (t - peak) / (STEPS - 1 - peak))) / 2


def warmup_cosine(t: int) -> float:
    """A straight line over the first 15 % of the steps, then half a cosine to zero."""
    warmup = 3
    if t < warmup:
        return LR * (t + 1) / (warmup + 1)
    return LR * (1 + math.cos(math.pi * (t - warmup) / (STEPS - warmup))) / 2


SCHEDULES: dict[str, tuple[Callable[..., Any], Callable[[int], float]]] = {
    "constant": (partial(lr_scheduler.ConstantLR, factor=1, total_iters=0), lambda t: LR),
    "step": (partial(lr_scheduler.StepLR, step_size=6, gamma=0.1), lambda t: LR * 0.1 ** (t // 6)),
    "exponential": (partial(lr_scheduler.ExponentialLR, gamma=0.9), lambda t: LR * 0.9**t),
    "cosine": (
        partial(lr_scheduler.CosineAnnealingLR, T_max=STEPS),
        lambda t: LR * (1 + math.cos(math.pi * t / STEPS)) / 2,
    ),
    "warmup_cosine": (partial(WarmupCosineLR, total_steps=STEPS, warmup=0.15), warmup_cosine),
    "one_cycle": (partial(lr_scheduler.OneCycleLR, max_lr=LR, total_steps=STEPS), one_cycle),
}


def started(build: Callable[..., Any]) -> tuple[torch.optim.Optimizer, Any]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=LR, momentum=0.9)
    return optimizer, build(optimizer)


def rates(optimizer: torch.optim.Optimizer, advance: Callable[[], None], count: int) -> list[float]:
    """The rate of each of `count` steps, advancing after each."""
    seen = []
    for _ in range(count):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        advance()
    return seen


@pytest.mark.parametrize("name", SCHEDULES)
def test_rate_follows_formula(name: str) -> None:
    build, formula = SCHEDULES[name]
    optimizer, schedule = started(build)
    seen = rates(optimizer, schedule.step, STEPS - 1)
    assert seen == pytest.approx([formula(t) for t in range(STEPS - 1)], rel=1e-6)


def roundtrip(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_is_resumed(name: str) -> None:
    build, _ = SCHEDULES[name]
    optimizer, schedule = started(build)
    rates(optimizer, schedule.step, 7)
    states = roundtrip({"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()})
    resumed, resumed_schedule = started(build)
    resumed.load_state_dict(states["optimizer"])
    resumed_schedule.load_state_dict(states["schedule"])
    expected = rates(optimizer, schedule.step, 12)
    assert rates(resumed, resumed_schedule.step, 12) == expected


PLATEAU = partial(lr_scheduler.ReduceLROnPlateau, factor=0.1, patience=2)
LOSSES = [1.0, 0.8, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.5, 0.6, 0.6, 0.6, 0.6]


def test_plateau() -> None:
    optimizer, schedule = started(PLATEAU)
    losses = iter(LOSSES)
    seen = rates(optimizer, lambda: schedule.step(next(losses)), len(LOSSES))
    # the third epoch no better than the best so far is one more than the patience; then the count starts again
    assert seen == pytest.approx([LR] * 5 + [LR / 10] * 3 + [LR / 100] * 4 + [LR / 1000])


def test_plateau_is_resumed() -> None:
    optimizer, schedule = started(PLATEAU)
    losses = iter(LOSSES)
    rates(optimizer, lambda: schedule.step(next(losses)), 4)
    state = roundtrip({"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()})
    resumed, resumed_schedule = started(PLATEAU)
    resumed.load_state_dict(state["optimizer"])
    resumed_schedule.load_state_dict(state["schedule"])
    rest = iter(LOSSES[4:])
    expected = rates(optimizer, lambda: schedule.step(next(losses)), 9)
    assert rates(resumed, lambda: resumed_schedule.step(next(rest)), 9) == expected


def test_warmup_follows_every_group() -> None:
    parameters = [torch.zeros(1, requires_grad=True) for _ in range(2)]
    optimizer = torch.optim.SGD([{"params": [p], "lr": lr} for p, lr in zip(parameters, (0.1, 0.4), strict=True)])
    scheduler = WarmupCosineLR(optimizer, total_steps=STEPS, warmup=0.15)
    for step in range(STEPS):
        low, high = (group["lr"] for group in optimizer.param_groups)
        assert high == pytest.approx(warmup_cosine(step))
        assert low == pytest.approx(high / 4)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("warmup", [-0.1, 1, "a", None])
def test_wrong_warmup(warmup: Any) -> None:
    with pytest.raises(UserError) as error:
        started(partial(WarmupCosineLR, total_steps=STEPS, warmup=warmup))
    assert error.value.field == "warmup"
