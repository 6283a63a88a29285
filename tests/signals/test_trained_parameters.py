"""Leaves that get a gradient and are no parameters: found and named wherever a module may hold them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pipeline.signals.trained_parameters import trained_parameter_signals

X, Y = torch.randn(12, 6, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3
OUTSIDE = nn.Linear(6, 6)
"""A layer that no network holds."""


class Head(nn.Module):
    """A registered output layer; subclasses have a hidden layer somewhere else."""

    def __init__(self) -> None:
        super().__init__()
        self.output = nn.Linear(6, 3)

    def hidden(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.hidden(x))


class InList(Head):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = [nn.Linear(6, 6), nn.Sequential(nn.Linear(6, 6), nn.ReLU())]

    def hidden(self, x: Tensor) -> Tensor:
        return self.blocks[1](self.blocks[0](x))


class InDict(Head):
    def __init__(self) -> None:
        super().__init__()
        self.branches = {"left": (nn.Linear(6, 6),)}

    def hidden(self, x: Tensor) -> Tensor:
        return self.branches["left"][0](x)


class InClosure(Head):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.Linear(6, 6)
        self.apply_layer = lambda x: layer(x)

    def hidden(self, x: Tensor) -> Tensor:
        return self.apply_layer(x)


class InPartial(Head):
    def __init__(self) -> None:
        super().__init__()
        self.apply_layer = functools.partial(F.linear, weight=nn.Parameter(torch.eye(6)))

    def hidden(self, x: Tensor) -> Tensor:
        return self.apply_layer(x)


class Plain:
    def __init__(self) -> None:
        self.layer = nn.Linear(6, 6)


class InObject(Head):
    def __init__(self) -> None:
        super().__init__()
        self.helper = Plain()

    def hidden(self, x: Tensor) -> Tensor:
        return self.helper.layer(x)


class OfTheClass(Head):
    layer = nn.Linear(6, 6)

    def hidden(self, x: Tensor) -> Tensor:
        return self.layer(x)


class Global(Head):
    def hidden(self, x: Tensor) -> Tensor:
        return OUTSIDE(x)


class PlainTensor(Head):
    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.ones(6, requires_grad=True)

    def hidden(self, x: Tensor) -> Tensor:
        return x * self.scale


class Below(nn.Module):
    """The list is not in the network itself but in a part of it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = InList()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


class MadeInForward(Head):
    def hidden(self, x: Tensor) -> Tensor:
        return nn.Linear(6, 6)(x)


@pytest.mark.parametrize(
    ("network", "names"),
    [
        (InList, ["blocks[0].bias", "blocks[0].weight", "blocks[1].0.bias", "blocks[1].0.weight"]),
        (InDict, ["branches['left'][0].bias", "branches['left'][0].weight"]),
        (InClosure, ["layer.bias", "layer.weight"]),
        (InPartial, ["apply_layer['weight']"]),
        (InObject, ["helper.layer.bias", "helper.layer.weight"]),
        (OfTheClass, ["layer.bias", "layer.weight"]),
        (Global, ["OUTSIDE.bias", "OUTSIDE.weight"]),
        (PlainTensor, ["scale"]),
        (Below, [f"inner.blocks[{name}" for name in ("0].bias", "0].weight", "1].0.bias", "1].0.weight")]),
        (MadeInForward, [f"a parameter of shape {shape}, made anew in each pass" for shape in ("(6, 6)", "(6,)")]),
    ],
)
def test_unregistered(network: type[nn.Module], names: list[str]) -> None:
    measured = trained_parameter_signals(network(), F.cross_entropy, X, Y)
    assert measured == {"unregistered_parameters": names, "loss_parameters": []}


def test_an_adapted_view_of_a_module_has_its_names() -> None:
    class View(nn.Module):
        """Shares the parts of a module without holding it as a submodule."""

        def __init__(self, model: nn.Module):
            super().__init__()
            self._parameters, self._buffers, self._modules = model._parameters, model._buffers, model._modules
            self.__dict__["model"] = model

        def forward(self, x: Tensor) -> Tensor:
            return self.__dict__["model"](x)

    measured = trained_parameter_signals(View(InDict()), F.cross_entropy, X, Y)
    assert measured["unregistered_parameters"] == ["branches['left'][0].bias", "branches['left'][0].weight"]


class InModuleList(Head):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(6, 6)])
        self.alias = [self.blocks[0]]  # a list beside the registered one does no harm

    def hidden(self, x: Tensor) -> Tensor:
        return self.alias[0](x)


class InputGradient(Head):
    """Makes leaves of its own in each pass, as a penalty of the input's gradient does."""

    def hidden(self, x: Tensor) -> Tensor:
        return x.detach().requires_grad_() + torch.zeros(6, requires_grad=True)


class Teacher(Head):
    """Hides a frozen network from its parameters, and another one whose output it uses without a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen, self.teacher = [nn.Linear(6, 6).requires_grad_(False)], [nn.Linear(6, 6)]

    def hidden(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            taught = self.teacher[0](x)
        return self.frozen[0](x) + taught


class Parametrized(Head):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.utils.parametrizations.weight_norm(nn.Linear(6, 6))

    def hidden(self, x: Tensor) -> Tensor:
        return self.layer(x)


class Tied(Head):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.second.weight = self.first.weight

    def hidden(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


class Checkpointed(InModuleList):
    def hidden(self, x: Tensor) -> Tensor:
        return checkpoint(self.blocks[0], x, use_reentrant=False)


class Functional(InModuleList):
    def hidden(self, x: Tensor) -> Tensor:
        return torch.func.functional_call(self.blocks[0], dict(self.blocks[0].named_parameters()), (x,))


class Detached(InList):
    """What gets no gradient is another finding's."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).detach()


@pytest.mark.parametrize(
    "network",
    [Head, InModuleList, InputGradient, Teacher, Parametrized, Tied, Checkpointed, Functional, Detached],
)
def test_sound_networks(network: type[nn.Module]) -> None:
    measured = trained_parameter_signals(network(), F.cross_entropy, X.clone().requires_grad_(), Y)
    assert measured == {"unregistered_parameters": [], "loss_parameters": []}


class Temperature(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits * self.scale, labels)


def test_parameters_of_the_loss() -> None:
    network, loss = Head(), Temperature()
    alone = torch.optim.SGD(network.parameters(), lr=0.1)
    both = torch.optim.SGD([*network.parameters(), *loss.parameters()], lr=0.1)

    def measure(optimizer: torch.optim.Optimizer | None, loss: Any = loss) -> dict[str, Any]:
        return dict(trained_parameter_signals(network, loss, X, Y, optimizer))

    assert measure(alone) == measure(None) == {"unregistered_parameters": [], "loss_parameters": ["loss.scale"]}
    assert measure(both) == {"unregistered_parameters": [], "loss_parameters": []}
    hidden = functools.partial(lambda inner, z, y: inner(z, y), loss)
    assert measure(alone, hidden)["unregistered_parameters"] == []  # a function may have an optimizer of its own
    assert measure(both, hidden)["unregistered_parameters"] == []
    loss.requires_grad_(False)
    assert measure(alone)["loss_parameters"] == []


@pytest.mark.parametrize("make", [InList, InModuleList])
def test_nothing_is_changed(make: Callable[[], nn.Module]) -> None:
    network = make()
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    random = torch.get_rng_state()
    trained_parameter_signals(network, F.cross_entropy, X, Y)
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())
    assert torch.equal(random, torch.get_rng_state())
