"""Another optimizer with the settings of a given one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from pipeline.watching.optimizers import given_optimizer, rebuild


def test_settings_are_those_of_the_group_and_not_of_the_constructor() -> None:
    """A schedule or a warm-up has changed the rate since."""
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    optimizer.param_groups[0]["lr"] = 0.025
    make = rebuild(optimizer)
    assert make is not None
    other = make(nn.Linear(3, 2).parameters())
    assert type(other) is torch.optim.SGD
    assert {key: other.param_groups[0][key] for key in ("lr", "momentum", "nesterov")} == {
        "lr": 0.025, "momentum": 0.9, "nesterov": True,
    }  # fmt: skip


class NeedsMore(torch.optim.SGD):
    def __init__(self, parameters: Any, lr: float, plan: str):
        super().__init__(parameters, lr=lr)


def test_a_class_that_needs_more_is_not_built() -> None:
    assert rebuild(NeedsMore(nn.Linear(3, 2).parameters(), 0.1, "plan")) is None


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad])
def test_a_function_makes_one_for_the_model(kind: Any) -> None:
    model = nn.Linear(3, 2)
    given = given_optimizer(lambda parameters: kind(parameters, lr=0.5), model)
    assert given is not None
    assert given.config_signals() == {
        "optimizer": kind.__name__,
        "lr": 0.5,
        "l2": given.optimizer.defaults["weight_decay"],
    }
