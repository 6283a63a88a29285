"""Activations by their formulas, Maxout, and gains in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.model.activations import Maxout, channel_multiplier, gain

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805  # Klambauer et al. 2017, section 2

FORMULAS: dict[str, tuple[Callable[[], nn.Module], Callable[[float], float]]] = {
    "sigmoid": (nn.Sigmoid, lambda x: 1 / (1 + math.exp(-x))),
    "tanh": (nn.Tanh, lambda x: (math.exp(x) - math.exp(-x)) / (math.exp(x) + math.exp(-x))),
    "relu": (nn.ReLU, lambda x: max(0.0, x)),
    "leaky_relu": (partial(nn.LeakyReLU, 0.01), lambda x: max(0.01 * x, x)),
    "prelu": (partial(nn.PReLU, init=0.2), lambda x: max(0.2 * x, x)),
    "elu": (partial(nn.ELU, alpha=0.7), lambda x: x if x > 0 else 0.7 * (math.exp(x) - 1)),
    "gelu": (nn.GELU, lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2)))),
    "silu": (nn.SiLU, lambda x: x / (1 + math.exp(-x))),
    "selu": (nn.SELU, lambda x: SELU_SCALE * (x if x > 0 else SELU_ALPHA * (math.exp(x) - 1))),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas(name: str) -> None:
    build, formula = FORMULAS[name]
    x = torch.linspace(-4, 4, 33, dtype=torch.float64)
    with torch.no_grad():
        y = build().double()(x)
    torch.testing.assert_close(y, torch.tensor([formula(float(v)) for v in x], dtype=torch.float64))


def test_prelu_slope_has_a_gradient() -> None:
    prelu = nn.PReLU(init=0.25)
    prelu(torch.tensor([-3.0, 5.0])).sum().backward()
    assert prelu.weight.grad is not None
    assert prelu.weight.grad.item() == -3  # d/da max(a x, x) = x where x < 0


def test_maxout() -> None:
    x = torch.randn(5, 3 * 4, 2, 2)
    y = Maxout(3)(x)
    assert y.shape == (5, 4, 2, 2)
    for unit in range(4):
        pieces = [x[:, piece * 4 + unit] for piece in range(3)]
        torch.testing.assert_close(y[:, unit], torch.stack(pieces).max(0).values)


@pytest.mark.parametrize(("slope", "reference"), [(0.0, nn.ReLU()), (0.01, nn.LeakyReLU(0.01))])
@pytest.mark.parametrize("convolutional", [False, True])
def test_maxout_generalizes_relu(slope: float, reference: nn.Module, convolutional: bool) -> None:
    def layer(out: int) -> nn.Module:
        return nn.Conv2d(3, out, 3, padding=1) if convolutional else nn.Linear(6, out)

    one, two = layer(4), layer(8)
    with torch.no_grad():
        for name, value in one.named_parameters():
            two.get_parameter(name).copy_(torch.cat([value, slope * value]))
    x = torch.randn(7, 3, 5, 5) if convolutional else torch.randn(7, 6)
    torch.testing.assert_close(Maxout(2)(two(x)), reference(one(x)))
    assert sum(p.numel() for p in two.parameters()) == 2 * sum(p.numel() for p in one.parameters())


def test_invalid_maxout() -> None:
    for pieces in (1, 0, 2.5, "2", True):
        with pytest.raises(UserError) as error:
            Maxout(pieces)  # type: ignore[arg-type]
        assert error.value.field == "pieces"
    with pytest.raises(ValueError, match=r"2 pieces.* 3"):
        Maxout(2)(torch.zeros(1, 3))


def test_channel_multiplier() -> None:
    assert channel_multiplier(Maxout(5)) == 5
    assert channel_multiplier(nn.ReLU()) == channel_multiplier(nn.Tanh()) == 1


def relu_like(slope: float) -> float:
    return math.sqrt(2 / (1 + slope**2))


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        (nn.Identity, 1.0),
        (nn.ReLU, math.sqrt(2)),
        (partial(nn.ReLU, inplace=True), math.sqrt(2)),
        (partial(nn.LeakyReLU, 0.01), relu_like(0.01)),
        (partial(nn.PReLU, init=0.5), relu_like(0.5)),
        (nn.SELU, 1.0),  # its fixed point: unit variance and mean zero stay so
        (partial(Maxout, 2), 1.0),  # E max(z1, z2)^2 = 1
        (partial(Maxout, 3), (1 + math.sqrt(3) / (2 * math.pi)) ** -0.5),  # second moment of the largest of three
    ],
)
def test_gain_in_closed_form(activation: Callable[[], nn.Module], expected: float) -> None:
    assert gain(activation) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("activation", [nn.Tanh, nn.Sigmoid, nn.ELU, nn.GELU, nn.SiLU, partial(Maxout, 4)])
def test_gain_against_sampling(activation: Callable[[], nn.Module]) -> None:
    module = activation()
    z = torch.randn(400_000, channel_multiplier(module), generator=torch.Generator().manual_seed(0))
    f: Tensor = module(z)
    assert gain(activation) == pytest.approx(f.square().mean().rsqrt().item(), rel=5e-3)


def test_gain_of_tanh() -> None:
    assert gain(nn.Tanh) == pytest.approx(1.5925, abs=1e-4)


def test_gain_does_not_change_the_generator() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.slope = nn.Parameter(torch.rand(1))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.slope

    before = torch.get_rng_state()
    gain(Noisy)
    assert torch.equal(before, torch.get_rng_state())


def test_no_gain_for_zero() -> None:
    with pytest.raises(UserError) as error:
        gain(partial(nn.Threshold, 100.0, 0.0))
    assert error.value.field == "gain"
