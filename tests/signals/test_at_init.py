"""A network before training: measurements with closed forms, and state that they do not change."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.model import CrossEntropy
from pipeline.signals.at_init import first_loss, gradient_signals, parameter_signals, update_direction

CROSS_ENTROPY = CrossEntropy(label_smoothing=0.0)


class Fixed(nn.Module):
    """Returns the same logits for all inputs."""

    def __init__(self, logits: Tensor):
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits + 0 * x.sum()


def test_first_loss() -> None:
    logits = torch.tensor([[4.0, 2.0], [7.0, 5.0]])  # about their mean: +1 and -1
    measured = first_loss(Fixed(logits), CROSS_ENTROPY, torch.zeros(2, 1), torch.tensor([0, 0]))
    assert measured["first_loss"] == pytest.approx(math.log(1 + math.exp(-2)))
    assert measured["logit_mean"] == pytest.approx(4.5)
    assert measured["logit_std"] == pytest.approx(1)
    assert measured["nonfinite"] == []


def test_loss_and_logit_std() -> None:
    """The expected excess of the loss over ln C is half the variance of the logits."""
    logits = torch.randn(4000, 100, generator=torch.Generator().manual_seed(0)) * 0.8
    measured = first_loss(Fixed(logits), CROSS_ENTROPY, torch.zeros(1), torch.zeros(4000, dtype=torch.long))
    assert measured["first_loss"] - math.log(100) == pytest.approx(measured["logit_std"] ** 2 / 2, abs=0.02)


def test_gradient_signals() -> None:
    first, second = nn.Linear(2, 3), nn.Linear(3, 2)
    with torch.no_grad():
        first.weight.fill_(0.5)
        first.bias.zero_()
        second.weight.copy_(torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]))
    network = nn.Sequential(first, second)
    inputs, labels = torch.tensor([[1.0, 2.0], [3.0, 5.0]]), torch.tensor([0, 1])
    measured = gradient_signals(network, CROSS_ENTROPY, inputs, labels)
    assert measured["symmetric_layers"] == ["0.weight"]
    assert measured["zero_gradients"] == []
    assert (measured["trainable_parameters"], measured["weight_layers"]) == (4, 2)
    assert all(parameter.grad is None for parameter in network.parameters())

    frozen = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    frozen[0].requires_grad_(False)
    assert gradient_signals(frozen, CROSS_ENTROPY, inputs, labels)["trainable_parameters"] == 2


class Offset(nn.Module):
    """Adds a constant to each input."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.offset


def signed_mean(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return a loss whose gradient with respect to a common offset is the difference of two classes' shares."""
    return (outputs.squeeze(1) * (1 - 2 * labels)).mean()


@pytest.mark.parametrize("n", [8, 12, 64, 128])
def test_a_gradient_that_cancels_is_not_missing(n: int) -> None:
    inputs, labels = torch.randn(n, 1), torch.arange(n) % 2
    network = Offset()
    signed_mean(network(inputs), labels).backward()
    assert network.offset.grad == 0, "the gradient should cancel over the whole batch"
    measured = gradient_signals(network, signed_mean, inputs, labels)
    assert measured["zero_gradients"] == []
    assert network.offset.grad is None


def test_a_parameter_without_effect_is_missing() -> None:
    class Unused(Offset):
        def forward(self, x: Tensor) -> Tensor:
            return x.clone().requires_grad_() + 0 * self.offset

    measured = gradient_signals(Unused(), signed_mean, torch.randn(8, 1), torch.arange(8) % 2)
    assert measured["zero_gradients"] == ["offset"]


def test_what_cuts_the_path() -> None:
    inputs, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])

    class Detached(Offset):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).detach()

    def measure(network: nn.Module, loss: Any = CROSS_ENTROPY) -> tuple[bool, bool, list[str]]:
        measured = gradient_signals(network, loss, inputs, labels)
        return measured["output_requires_grad"], measured["loss_requires_grad"], measured["zero_gradients"]

    assert measure(Detached()) == (False, False, ["offset"])
    assert measure(Offset(), lambda z, y: CROSS_ENTROPY(z.detach(), y)) == (True, False, ["offset"])
    assert measure(nn.Linear(3, 3)) == (True, True, [])


def test_update_direction_without_a_closure() -> None:
    inputs, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    assert update_direction(nn.Linear(3, 3), CROSS_ENTROPY, inputs, labels, torch.optim.LBFGS) == {}


def test_nonfinite_gradient() -> None:
    class Root(nn.Module):
        """d sqrt(w) / dw is infinite at 0, where the value is finite."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(3))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.weight.sqrt()

    measured = gradient_signals(Root(), CROSS_ENTROPY, torch.eye(3), torch.tensor([0, 1, 1]))
    assert measured["nonfinite"] == ["gradient of weight"]


class Experts(nn.Module):
    """Three experts, of which the last gets no example, and an unused layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.experts, self.unused = nn.ModuleList(nn.Linear(3, 2) for _ in range(3)), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.experts[0](x[:2]), self.experts[1](x[2:]), self.experts[2](x[:0])])


def test_an_expert_without_examples_is_no_missing_path() -> None:
    measured = gradient_signals(Experts(), CROSS_ENTROPY, torch.eye(3), torch.tensor([0, 1, 1]))
    assert measured["zero_gradients"] == ["unused.weight", "unused.bias"]


def test_a_tied_embedding_is_shared_on_purpose() -> None:
    model = nn.ModuleDict({"table": nn.Embedding(5, 4), "head": nn.Linear(4, 5, bias=False), "twin": nn.Linear(4, 4)})
    model["head"].weight = model["table"].weight
    assert parameter_signals(model)["shared_parameters"] == []
    model["other"] = model["twin"]
    assert parameter_signals(model)["shared_parameters"] == [
        ["twin.weight", "other.weight"], ["twin.bias", "other.bias"],
    ]  # fmt: skip
