"""What an optimizer holds, clears and uses, on faulty ones, on all of torch's, and on unusual sound ones."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from pipeline.signals.optimizer import clearing_signals, optimizer_signals

ALL = ["0.weight", "0.bias", "2.weight", "2.bias"]
CLEAN = {"gradients_kept": [], "gradients_lost": []}
Parameters = Iterable[nn.Parameter]


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))


class Keeps(SGD):
    def zero_grad(self, set_to_none: bool = True) -> None:
        pass


class KeepsLargeOnes(AdamW):
    def zero_grad(self, set_to_none: bool = True) -> None:
        for p in self.param_groups[0]["params"]:
            p.grad = p.grad if p.ndim > 1 else None


class ClearsFirst(SGD):
    def step(self, closure: Any = None) -> Any:
        self.zero_grad()
        return super().step(closure)


class ClearsFirstWithDecay(AdamW):
    """Its weights do move: by the decay alone."""

    def step(self, closure: Any = None) -> Any:
        self.zero_grad(set_to_none=False)
        return super().step(closure)


class UsesNothing(SGD):
    def step(self, closure: Any = None) -> Any:
        return None


class OnlyAddsNoise(SGD):
    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for p in self.param_groups[0]["params"]:
            p.add_(torch.randn_like(p))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda p: Keeps(p, lr=0.1), {"gradients_kept": ALL, "gradients_lost": []}),
        (lambda p: KeepsLargeOnes(p, lr=0.1), {"gradients_kept": ["0.weight", "2.weight"], "gradients_lost": []}),
        (lambda p: ClearsFirst(p, lr=0.1, momentum=0.9), {"gradients_kept": [], "gradients_lost": ALL}),
        (lambda p: ClearsFirstWithDecay(p, weight_decay=0.1), {"gradients_kept": [], "gradients_lost": ALL}),
        (lambda p: UsesNothing(p, lr=0.1), {"gradients_kept": [], "gradients_lost": ALL}),
        (lambda p: OnlyAddsNoise(p, lr=0.1), {"gradients_kept": [], "gradients_lost": ALL}),
    ],
)
def test_faulty_optimizers(make: Callable[[Parameters], Optimizer], expected: dict[str, list[str]]) -> None:
    net = network()
    assert clearing_signals(net, make(net.parameters())) == expected


class EveryFourth(SGD):
    """Gathers gradients over four steps, and updates then."""

    count = 0

    def step(self, closure: Any = None) -> Any:
        self.count += 1
        return super().step(closure) if self.count % 4 == 0 else None


class NeedsClosure(SGD):
    def step(self, closure: Any = None) -> Any:
        assert closure is not None
        with torch.enable_grad():
            closure()
        return super().step()


class AddsNoise(SGD):
    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(group["lr"] * (p.grad + torch.randn_like(p)))


class ClearsAfterItsStep(SGD):
    def step(self, closure: Any = None) -> Any:
        super().step(closure)
        for p in self.param_groups[0]["params"]:
            p.grad = None

    def zero_grad(self, set_to_none: bool = True) -> None:
        pass


class OwnAttributes(SGD):
    def __init__(self, params: Parameters, lr: float):
        super().__init__(params, lr=lr)
        self.clip = 1.0

    def step(self, closure: Any = None) -> Any:
        nn.utils.clip_grad_norm_(self.param_groups[0]["params"], self.clip)
        return super().step(closure)


class Multiplies(SGD):
    """Changes weights by a factor, so that those at zero never move."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for p in self.param_groups[0]["params"]:
            p.mul_(torch.exp(-0.1 * p.sign() * p.grad))


SOUND: dict[str, Callable[[Any], Optimizer]] = {
    "sgd": lambda p: SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "maximize": lambda p: SGD(p, lr=0.1, maximize=True),
    "rate of zero": lambda p: SGD(p, lr=0.0),
    "rate below rounding": lambda p: Adam(p, lr=1e-12),
    "tensor rate": lambda p: Adam(p, lr=torch.tensor(0.001), fused=True),
    "adamw": lambda p: AdamW(p, weight_decay=0.1),
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
    "adadelta": torch.optim.Adadelta,
    "adafactor": torch.optim.Adafactor,
    "adamax": torch.optim.Adamax,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "asgd": torch.optim.ASGD,
    "rprop": torch.optim.Rprop,
    "lbfgs": torch.optim.LBFGS,
    "every fourth step": lambda p: EveryFourth(p, lr=0.1),
    "closure": lambda p: NeedsClosure(p, lr=0.1),
    "noise": lambda p: AddsNoise(p, lr=0.1),
    "cleared after the step": lambda p: ClearsAfterItsStep(p, lr=0.1),
    "own attributes": lambda p: OwnAttributes(p, lr=0.1),
    "factors": lambda p: Multiplies(p, lr=0.1),
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_optimizers(name: str) -> None:
    """No alarm, and neither the network nor the optimizer nor the random numbers change."""
    net = network()
    optimizer = SOUND[name](net.parameters())
    before = copy.deepcopy((net.state_dict(), str(optimizer.state_dict())))
    random = torch.get_rng_state()
    assert clearing_signals(net, optimizer) == CLEAN
    assert optimizer_signals(net, optimizer) == {"optimizer_missing": [], "optimizer_foreign": 0}
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(value, before[0][key]) for key, value in net.state_dict().items())
    assert str(optimizer.state_dict()) == before[1]
    assert all(p.grad is None for p in net.parameters())


def test_large_weights_hide_no_update() -> None:
    net = network()
    with torch.no_grad():
        net[0].weight.fill_(1e12)
    assert clearing_signals(net, SGD(net.parameters(), lr=0.1)) == CLEAN


def test_a_schedule_is_not_moved() -> None:
    """A schedule replaces the optimizer's `step` by one that is bound to the original."""
    net = network()
    optimizer = SGD(net.parameters(), lr=0.1)
    torch.optim.lr_scheduler.StepLR(optimizer, 1)
    before = net[0].weight.detach().clone()
    assert clearing_signals(net, optimizer) == CLEAN
    assert torch.equal(net[0].weight, before)


def test_gradients_that_cannot_be_tried() -> None:
    net = nn.Sequential(nn.Embedding(4, 3, sparse=True))
    assert clearing_signals(net, torch.optim.SparseAdam(list(net.parameters()))) == {"gradients_kept": []}


class Uncopied(SGD):
    def __init__(self, params: Parameters):
        super().__init__(params, lr=0.1)
        self.stream = (n for n in range(3))  # a generator cannot be copied


def test_what_cannot_be_copied_is_not_judged() -> None:
    net = network()
    assert clearing_signals(net, Uncopied(net.parameters())) == {}


def test_frozen_parameters_need_no_optimizer() -> None:
    net = network()
    net[0].requires_grad_(False)
    optimizer = SGD(net[2].parameters(), lr=0.1)
    assert optimizer_signals(net, optimizer) == {"optimizer_missing": [], "optimizer_foreign": 0}
    assert clearing_signals(net, optimizer) == CLEAN


def test_missing_and_foreign_parameters() -> None:
    net = network()
    optimizer = SGD(net.parameters(), lr=0.1)
    net[2] = nn.Linear(4, 3)
    assert optimizer_signals(net, optimizer) == {"optimizer_missing": ["2.weight", "2.bias"], "optimizer_foreign": 2}
    assert clearing_signals(net, optimizer) == CLEAN
    of_a_copy = SGD(copy.deepcopy(net).parameters(), lr=0.1)
    assert optimizer_signals(net, of_a_copy) == {"optimizer_missing": ALL, "optimizer_foreign": 4}
    assert clearing_signals(net, of_a_copy) == {}


def test_parameters_of_the_loss_are_not_foreign() -> None:
    net, loss = network(), nn.PReLU()
    optimizer = SGD([*net.parameters(), *loss.parameters()], lr=0.1)
    assert optimizer_signals(net, optimizer, loss)["optimizer_foreign"] == 0
    assert optimizer_signals(net, optimizer)["optimizer_foreign"] == 1


class MasterWeights(SGD):
    """Keeps copies in float64, and writes them back."""

    def __init__(self, params: Parameters, lr: float):
        self.of_model = list(params)
        super().__init__([p.detach().double().requires_grad_() for p in self.of_model], lr=lr)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for master, p in zip(self.param_groups[0]["params"], self.of_model, strict=True):
            master.grad = None if p.grad is None else p.grad.double()
        super().step(closure)
        for master, p in zip(self.param_groups[0]["params"], self.of_model, strict=True):
            p.copy_(master)


def test_copies_that_are_written_back() -> None:
    net = network()
    before = net[0].weight.detach().clone()
    assert optimizer_signals(net, MasterWeights(net.parameters(), lr=0.1)) == {
        "optimizer_missing": [],
        "optimizer_foreign": 0,
    }
    assert torch.equal(net[0].weight, before)
