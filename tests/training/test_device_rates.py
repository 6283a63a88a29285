"""Learning rates on the device, and which optimizers can be captured."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.optim import LBFGS, SGD, Adadelta, Adagrad, Adam, AdamW, NAdam, Optimizer, RMSprop

from pipeline.training.device_rates import DeviceRates, constants, make_capturable


def parameters() -> list[nn.Parameter]:
    weights = [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))]
    for weight in weights:
        weight.grad = torch.full_like(weight, 0.5)
    return weights


def test_rates() -> None:
    """The optimizer reads float32 numbers of the device; outside it has those that a scheduler sets."""
    one, two = parameters()
    optimizer = SGD([{"params": [one], "lr": 0.1}, {"params": [two], "lr": 0.2}], fused=True)
    rates = DeviceRates(optimizer, torch.device("cpu"))
    with rates.in_use():
        tensors = [group["lr"] for group in optimizer.param_groups]
        assert [float(tensor) for tensor in tensors] == [float(torch.tensor(rate)) for rate in (0.1, 0.2)]
        optimizer.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.2]
    assert one.tolist() == pytest.approx([0.95] * 2)
    assert two.tolist() == pytest.approx([0.9] * 3)
    optimizer.param_groups[0]["lr"] = 0.4
    rates.refresh()
    assert [float(tensor) for tensor in tensors] == pytest.approx([0.4, 0.2])
    tensors[1].fill_(9.0)  # a rate that has not changed is not written again
    rates.refresh()
    assert float(tensors[1]) == 9.0
    with pytest.raises(ZeroDivisionError), rates.in_use():
        raise ZeroDivisionError
    assert [group["lr"] for group in optimizer.param_groups] == [0.4, 0.2]


class Own(SGD):
    pass


KINDS: dict[str, tuple[Callable[..., Optimizer], bool]] = {
    "sgd": (functools.partial(SGD, lr=0.1), True),
    "sgd that is not fused": (functools.partial(SGD, lr=0.1, foreach=True, nesterov=True, momentum=0.9), True),
    "adam": (Adam, True),
    "adamw": (AdamW, True),
    "adagrad": (functools.partial(Adagrad, fused=True), True),
    "rmsprop": (RMSprop, True),
    "nadam": (NAdam, True),
    "adadelta": (Adadelta, True),
    "lbfgs": (LBFGS, False),
    "differentiable": (functools.partial(SGD, lr=0.1, differentiable=True), False),
    "one's own": (functools.partial(Own, lr=0.1), False),
}


@pytest.mark.parametrize("name", KINDS)
def test_what_can_be_captured(name: str) -> None:
    make, expected = KINDS[name]
    optimizer = make(parameters())
    reason = make_capturable(optimizer)
    assert (reason is None) is expected
    if expected:
        for group in optimizer.param_groups:
            assert group.get("fused") or group["capturable"]
            assert not (group.get("fused") and group["foreach"])
    else:
        assert type(optimizer).__name__ in str(reason)


def test_counts_of_a_checkpoint_move_to_the_device() -> None:
    """Adam's count of steps is on the CPU where it was saved there; a captured update counts on the device."""
    weight = nn.Parameter(torch.ones(2, device="meta"))
    optimizer = Adam([weight])
    optimizer.state[weight] = {"step": torch.tensor(2.0), "exp_avg": torch.ones(2, device="meta"), "note": 1}
    assert make_capturable(optimizer) is None
    state = optimizer.state[weight]
    assert (state["step"].device.type, state["exp_avg"].device.type, state["note"]) == ("meta", "meta", 1)


def test_constants() -> None:
    """What a captured update has fixed: all but the rate."""
    optimizer = SGD(parameters(), lr=0.1, momentum=0.9)
    before = constants(optimizer)
    optimizer.param_groups[0]["lr"] = 0.2
    assert constants(optimizer) == before
    optimizer.param_groups[0]["momentum"] = 0.8
    assert constants(optimizer) != before
