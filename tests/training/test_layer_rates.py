"""Rates by layer: each step moves a layer by its share, whatever the schedule does and wherever the rates are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim import lr_scheduler as schedulers

from pipeline.training.device_rates import DeviceRates
from pipeline.training.layer_rates import apply_rate_factors
from tests.small_run import MakeRun, make_small_run

FACTORS = (1.0, 0.5, 0.25)
SCHEDULES: dict[str, Callable[[Optimizer], Any]] = {
    "one_cycle": lambda o: schedulers.OneCycleLR(o, max_lr=1.0, total_steps=8, cycle_momentum=False),
    "cosine": lambda o: schedulers.CosineAnnealingLR(o, T_max=6, eta_min=0.05),
    "cyclic": lambda o: schedulers.CyclicLR(o, base_lr=0.1, max_lr=0.4, step_size_up=2, cycle_momentum=False),
    "step": lambda o: schedulers.StepLR(o, step_size=2),
    "lambda": lambda o: schedulers.LambdaLR(o, lambda step: 1 / (1 + step)),
    "plateau": lambda o: schedulers.ReduceLROnPlateau(o, patience=0, min_lr=0.02),
}


def make(kind: Callable[..., Optimizer], factors: tuple[float, ...] = FACTORS) -> tuple[list[nn.Parameter], Optimizer]:
    parameters = [nn.Parameter(torch.zeros(1)) for _ in factors]
    groups = [{"params": [p], "rate_factor": f} for p, f in zip(parameters, factors, strict=True)]
    return parameters, apply_rate_factors(kind(groups, lr=0.1))


@pytest.mark.parametrize("name", SCHEDULES)
def test_any_schedule_keeps_the_shares(name: str) -> None:
    parameters, optimizer = make(SGD)
    schedule = SCHEDULES[name](optimizer)
    for _ in range(5):
        before = [float(p.detach()) for p in parameters]
        rates = [group["lr"] for group in optimizer.param_groups]
        for p in parameters:
            p.grad = torch.ones(1)
        optimizer.step()
        assert [group["lr"] for group in optimizer.param_groups] == rates == [rates[0]] * 3
        moved = [start - float(p.detach()) for start, p in zip(before, parameters, strict=True)]
        assert moved == pytest.approx([rates[0] * factor for factor in FACTORS], rel=1e-4)
        schedule.step(*([1.0] if name == "plateau" else []))


def test_rates_on_the_device() -> None:
    """A captured update reads its rate from a tensor."""
    results = []
    for on_device in (False, True):
        parameters, optimizer = make(AdamW)
        rates = DeviceRates(optimizer, torch.device("cpu"))
        for p in parameters:
            p.grad = torch.ones(1)
        if on_device:
            for group in optimizer.param_groups:
                group["capturable"], group["foreach"] = False, False
            with rates.in_use():
                optimizer.step()
        else:
            optimizer.step()
        results.append([float(p.detach()) for p in parameters])
        assert [group["lr"] for group in optimizer.param_groups] == [0.1] * 3
    assert results[1] == pytest.approx(results[0])
    assert results[0] == pytest.approx([-0.1, -0.05, -0.025], rel=1e-3)


def test_equal_factors_need_no_hooks() -> None:
    _, optimizer = make(SGD, (1.0, 1.0))
    assert not optimizer._optimizer_step_pre_hooks


@pytest.fixture
def small(tmp_path: Any) -> MakeRun:
    return lambda *overrides, **changes: make_small_run(tmp_path, *overrides, **changes)


def test_a_training_moves_its_first_layer_less(small: MakeRun) -> None:
    """Far less at 0.01 than without, in the stage of the training."""
    moved = {}
    for decay in (None, 0.01):
        run = small("stages.train.epochs=1", layer_decay=decay)
        stage = run.components.stages["train"]
        start = run.components.make_network().state_dict()
        classifier = stage._fit(run.components, run.context, _alone(), lambda c: [])[0]  # type: ignore[attr-defined]
        end = classifier.network.state_dict()
        moved[decay] = {
            name: float((end[name].cpu() - start[name]).norm()) for name in start if name.endswith("linear.weight")
        } | {"output": float((end["output.weight"].cpu() - start["output.weight"]).norm())}
    first = next(iter(moved[None]))
    assert moved[0.01][first] < 0.1 * moved[None][first]
    assert moved[0.01]["output"] > 0.3 * moved[None]["output"]


def _alone() -> Any:
    from pipeline.training.device import ProcessRank

    return ProcessRank()
