"""Statistics of activations, against the slow and obvious computation; hooks against traced operations."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.model import Maxout
from pipeline.signals.activation_statistics import STATISTICS
from pipeline.signals.activations import Activations


def columns(
    network: nn.Module, *batches: Tensor, limit: int | None = None, silent_only: bool = False
) -> dict[str, list[Any]]:
    activations = Activations(limit=limit, silent_only=silent_only)
    with torch.no_grad(), activations.trace(network):
        for batch in batches:
            activations.next_batch()
            network(batch)
    return activations.columns()


@pytest.mark.parametrize(
    ("activation", "kind"),
    [(nn.ReLU(), "relu"), (nn.Sigmoid(), "sigmoid"), (nn.Tanh(), "tanh"), (nn.ELU(), "elu"), (nn.GELU(), "gelu"),
     (nn.SiLU(), "silu"), (nn.LeakyReLU(), "leaky_relu"), (nn.PReLU(), "prelu"), (nn.SELU(), "elu"),
     (Maxout(2), "maxout"), (nn.ReLU(inplace=True), "relu")],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)  # fmt: skip
@pytest.mark.parametrize("shape", [(50, 6), (20, 6, 4, 5)])
def test_statistics(activation: nn.Module, kind: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x = 2 * torch.randn(shape) + 0.5
    with torch.no_grad():
        a = activation(x.clone())
    measured = columns(nn.Sequential(activation), x.clone())
    assert (measured["name"], measured["kind"]) == (["0"], [kind])
    units = a.transpose(0, 1).flatten(1)
    assert measured["units"] == [len(units)]
    expected = {
        "mean": a.mean(),
        "std": a.std(correction=0),
        "unit_std": units.var(1, correction=0).mean().sqrt(),
        "zero": (a == 0).float().mean(),
        "positive": (a > 0).float().mean(),
    }
    for key, value in expected.items():
        assert measured[key][0] == pytest.approx(float(value), rel=1e-4, abs=1e-6), key


def test_saturated() -> None:
    x = torch.tensor([[-10.0, 0.0, 1.0, 10.0]])
    assert columns(nn.Tanh(), x)["saturated"] == [0.5]
    assert columns(nn.Sigmoid(), x)["saturated"] == [0.5]
    edge = torch.logit(torch.tensor([[0.021, 0.019, 0.979, 0.981]]))
    assert columns(nn.Sigmoid(), edge)["saturated"] == [0.5]
    assert columns(nn.ReLU(), x)["saturated"] == [None]


def test_dead_over_several_batches() -> None:
    x = torch.tensor([[1.0, -1.0, -1.0], [-1.0, -1.0, -1.0]])
    y = torch.tensor([[-1.0, -1.0, 1.0], [-1.0, -1.0, -1.0]])
    assert columns(nn.ReLU(), x)["dead"] == [pytest.approx(2 / 3)]
    assert columns(nn.ReLU(), x, y)["dead"] == [pytest.approx(1 / 3)]
    assert columns(nn.Tanh(), x)["dead"] == [None]


@pytest.mark.parametrize("shape", [(30, 6), (30, 5, 6), (30, 6, 4, 5)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_silent_only(shape: tuple[int, ...], layout: torch.memory_format, dtype: torch.dtype) -> None:
    """`dead` and `saturated` are the same when nothing else is measured."""
    torch.manual_seed(0)
    x = 3 * torch.randn(shape)
    units = x.movedim(-1 if x.ndim == 3 else 1, 0)  # a view
    units[:2] = -units[:2].abs()
    units[1][(7,) + (0,) * (x.ndim - 2)] = 1e-30  # active once, a little
    if x.ndim == 4:
        x = x.to(memory_format=layout)
    network = nn.Sequential(nn.ReLU(), nn.Tanh())
    full, silent = (columns(network, x.to(dtype), silent_only=only) for only in (False, True))
    for key in ("name", "kind", "units", "dead", "saturated"):
        assert silent[key] == full[key], key
    assert silent["dead"][0] == pytest.approx(1 / 6)
    assert silent["saturated"][1] > 0
    assert all(math.isnan(value) for value in silent["mean"])


def test_functions_have_the_name_of_their_module() -> None:
    class Block(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.relu(torch.tanh(x))

    measured = columns(nn.Sequential(Block(), Block()), torch.randn(5, 3))
    assert measured["kind"] == ["tanh", "relu", "tanh", "relu"]
    assert measured["name"] == ["0", "0#2", "1", "1#2"]


def test_other_clamps_are_left_out() -> None:
    class Clamp(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.clamp(min=-1)

    assert columns(Clamp(), torch.randn(5, 3))["name"] == []


def test_limit() -> None:
    x = torch.cat([torch.ones(8, 4), -torch.ones(92, 4)])
    assert columns(nn.ReLU(), x, limit=32)["zero"] == [0.0]
    assert columns(nn.ReLU(), x)["zero"] == [pytest.approx(0.92)]


def test_no_activations() -> None:
    measured = columns(nn.Linear(3, 3), torch.randn(2, 3))
    assert set(measured) == {"name", "kind", "units", *STATISTICS, "dead"}
    assert all(values == [] for values in measured.values())


def test_gradients_are_not_changed() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))
    x = torch.randn(3, 5)
    network(x).square().sum().backward()
    untraced = [p.grad.clone() for p in network.parameters()]
    network.zero_grad()
    activations = Activations()
    with activations.trace(network):
        y = network(x)
    y.square().sum().backward()
    assert all(torch.equal(a, p.grad) for a, p in zip(untraced, network.parameters(), strict=True))
    assert math.isfinite(activations.columns()["std"][0])


# ------------------------------------------------------------------------------------------ hooks

KINDS = [nn.ReLU, nn.Sigmoid, nn.Tanh, nn.ELU, nn.GELU, nn.SiLU, nn.LeakyReLU, nn.PReLU, nn.SELU,
         partial(nn.Softmax, 1), nn.Hardtanh, nn.Softplus]  # fmt: skip


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_hooks_agree_with_operations(inplace: bool, training: bool) -> None:
    """All kinds in one network, one module used twice, behind batch norm and before dropout that may work in place."""
    torch.manual_seed(0)
    relu = nn.ReLU(inplace)
    blocks = [[nn.Linear(7, 7), nn.BatchNorm1d(7), make(), nn.Dropout(0.5)] for make in KINDS]
    maxout = nn.Sequential(nn.Linear(7, 14), Maxout(2))
    network = nn.Sequential(maxout, relu, *[m for block in blocks for m in block], nn.Linear(7, 7), relu)
    x = torch.randn(30, 7)
    traced = Activations()
    network.train(training)
    with torch.random.fork_rng(), traced.trace(network):
        network(x)
    modules = traced.activation_modules()
    assert modules is not None
    hooked = Activations(modules=modules)
    with torch.random.fork_rng(), hooked.trace(network):
        network(x)
    assert len(traced.columns()["name"]) == len(KINDS) + 3
    assert repr(hooked.columns()) == repr(traced.columns())  # NaN is not equal to itself
    assert not any(module._forward_hooks for module in network.modules())


class Functional(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Wrapped(nn.Module):
    """A function before a module, or after it."""

    def __init__(self, function: Callable[[Tensor], Tensor], inner: nn.Module, *, after: bool = False):
        super().__init__()
        self.function, self.inner, self.after = function, inner, after

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.inner(x)) if self.after else self.inner(self.function(x))


def test_hooks_for_functions_at_the_end() -> None:
    """A function whose result a module returns can be hooked at that module."""
    torch.manual_seed(0)
    network = Wrapped(F.tanh, Wrapped(F.relu, nn.Linear(3, 3), after=True), after=True)
    traced = Activations()
    with traced.trace(network):
        network(x := torch.randn(4, 3))
    hooked = Activations(modules=traced.activation_modules())
    with hooked.trace(network):
        network(x)
    assert traced.columns()["name"] == ["inner", "tanh"]
    assert repr(hooked.columns()) == repr(traced.columns())
    assert not any(layer.statistics.requires_grad for layer in hooked.layers.values())


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.ReLU(), Functional(lambda x: F.relu(x) * 2)),
        Functional(lambda x: F.relu(x).mul_(2)),
        Functional(lambda x: F.relu(F.tanh(x))),
        Functional(lambda x: x + F.relu(x)),
        Functional(lambda x: (F.relu(x), x)[1]),
        Wrapped(F.relu, nn.Identity()),
    ],
    ids=["beside", "in place", "two", "residual", "unused", "outside"],
)
def test_no_hooks_for_inner_functions(network: nn.Module) -> None:
    """An activation that is not the output of a module has to be traced in every pass."""
    activations = Activations()
    with activations.trace(network):
        network(torch.randn(4, 3))
    assert activations.columns()["name"]
    assert activations.activation_modules() is None


def test_a_trace_that_begins_inside_the_network() -> None:
    """The end of the network itself is not seen, so its own activation has to be traced in every pass."""
    activations = Activations()
    network = Functional(lambda x: network.inner(x).softmax(1))
    network.inner = nn.Sequential(nn.Linear(3, 3), nn.Tanh())
    with ExitStack() as trace:
        network.register_forward_pre_hook(lambda *_: trace.enter_context(activations.trace(network)) and None)
        network(torch.randn(4, 3))
    assert activations.columns()["kind"] == ["tanh", "softmax"]
    assert activations.activation_modules() is None
