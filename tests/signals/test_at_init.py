"""A network before training: measurements with closed forms, and what they leave as it was."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from pipeline.model import CrossEntropy
from pipeline.signals.at_init import batch_leak, first_loss, gradient_signals, short_fit

CROSS_ENTROPY = CrossEntropy(label_smoothing=0.0)


class Fixed(nn.Module):
    """Whatever comes in, these logits come out."""

    def __init__(self, logits: Tensor):
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits + 0 * x.sum()


def test_first_loss_mean_and_spread_have_their_closed_forms() -> None:
    logits = torch.tensor([[4.0, 2.0], [7.0, 5.0]])  # about their mean: +1 and -1
    measured = first_loss(Fixed(logits), CROSS_ENTROPY, torch.zeros(2, 1), torch.tensor([0, 0]))
    assert measured["first_loss"] == pytest.approx(math.log(1 + math.exp(-2)))
    assert measured["logit_mean"] == pytest.approx(4.5)
    assert measured["logit_std"] == pytest.approx(1)
    assert measured["nonfinite"] == []


def test_the_expected_excess_of_spread_logits_is_half_their_variance() -> None:
    logits = torch.randn(4000, 100, generator=torch.Generator().manual_seed(0)) * 0.8
    measured = first_loss(Fixed(logits), CROSS_ENTROPY, torch.zeros(1), torch.zeros(4000, dtype=torch.long))
    assert measured["first_loss"] - math.log(100) == pytest.approx(measured["logit_std"] ** 2 / 2, abs=0.02)


def test_gradients_name_what_gets_none_and_what_is_alike() -> None:
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


def test_a_gradient_that_is_not_finite_is_named() -> None:
    class Root(nn.Module):
        """d sqrt(w) / dw is infinite at 0, where the value is fine."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(3))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.weight.sqrt()

    measured = gradient_signals(Root(), CROSS_ENTROPY, torch.eye(3), torch.tensor([0, 1, 1]))
    assert measured["nonfinite"] == ["gradient of weight"]


def test_a_leak_is_counted_by_example() -> None:
    class Neighbour(nn.Module):
        """Each example also sees the one before it."""

        def forward(self, x: Tensor) -> Tensor:
            return x + x.roll(1, 0)

    inputs, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    measured = batch_leak(Neighbour(), CROSS_ENTROPY.per_example, inputs, labels)
    assert (measured["leaking_examples"], measured["leak_examples"]) == (1, 5)
    assert measured["leak_gradient"] > 0
    assert batch_leak(nn.Identity(), CROSS_ENTROPY.per_example, inputs, labels)["leaking_examples"] == 0


def test_looking_for_a_leak_restores_the_mode_and_leaves_the_running_statistics() -> None:
    for training in (True, False):
        network = nn.Sequential(nn.BatchNorm1d(3)).train(training)
        batch_leak(network, CROSS_ENTROPY.per_example, torch.randn(4, 3), torch.tensor([0, 1, 2, 0]))
        assert network[0].training is training
        assert network[0].num_batches_tracked == 0


def test_the_short_fit_is_adam_on_one_batch_and_tells_the_loss_after_every_few_steps() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Linear(4, 3), nn.Linear(4, 3)
    theirs.load_state_dict(ours.state_dict())
    inputs, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    optimizer = torch.optim.Adam(theirs.parameters(), lr=0.01)
    fit = short_fit(ours, CROSS_ENTROPY, inputs, labels, steps=7, lr=0.01, seed=lambda step: step)
    at_first = next(fit)
    assert at_first[0] == pytest.approx(float(CROSS_ENTROPY(theirs(inputs), labels).detach()))
    for _ in range(3):
        for _ in range(7):
            optimizer.zero_grad()
            CROSS_ENTROPY(theirs(inputs), labels).backward()
            optimizer.step()
        logits = theirs(inputs).detach()
        right = float((logits.argmax(1) == labels).float().mean())
        assert next(fit) == pytest.approx((float(CROSS_ENTROPY(logits, labels)), right))
