"""A network before training: measurements with closed forms, and state that they do not change."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from pipeline.model import CrossEntropy
from pipeline.signals.at_init import batch_leak, first_loss, gradient_signals, short_fit

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


def test_batch_leak() -> None:
    class Neighbour(nn.Module):
        """Adds the previous example to each."""

        def forward(self, x: Tensor) -> Tensor:
            return x + x.roll(1, 0)

    inputs, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    measured = batch_leak(Neighbour(), CROSS_ENTROPY.per_example, inputs, labels)
    assert (measured["leaking_examples"], measured["leak_examples"]) == (1, 5)
    assert measured["leak_gradient"] > 0
    assert batch_leak(nn.Identity(), CROSS_ENTROPY.per_example, inputs, labels)["leaking_examples"] == 0


def test_batch_leak_restores_the_network() -> None:
    for training in (True, False):
        network = nn.Sequential(nn.BatchNorm1d(3)).train(training)
        batch_leak(network, CROSS_ENTROPY.per_example, torch.randn(4, 3), torch.tensor([0, 1, 2, 0]))
        assert network[0].training is training
        assert network[0].num_batches_tracked == 0


def test_short_fit() -> None:
    """It is Adam on one batch, and yields after every `steps` steps."""
    torch.manual_seed(0)
    network, reference = nn.Linear(4, 3), nn.Linear(4, 3)
    reference.load_state_dict(network.state_dict())
    inputs, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    optimizer = torch.optim.Adam(reference.parameters(), lr=0.01)
    fit = short_fit(network, CROSS_ENTROPY, inputs, labels, steps=7, lr=0.01, seed=lambda step: step)
    loss, _ = next(fit)
    assert loss == pytest.approx(float(CROSS_ENTROPY(reference(inputs), labels).detach()))
    for _ in range(3):
        for _ in range(7):
            optimizer.zero_grad()
            CROSS_ENTROPY(reference(inputs), labels).backward()
            optimizer.step()
        logits = reference(inputs).detach()
        accuracy = float((logits.argmax(1) == labels).float().mean())
        assert next(fit) == pytest.approx((float(CROSS_ENTROPY(logits, labels)), accuracy))
