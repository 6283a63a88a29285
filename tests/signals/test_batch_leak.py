"""Which networks mix the examples of a batch in evaluation mode, and the operation that does it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.signals.batch_leak import batch_leak


class Last(nn.Module):
    """A linear layer, and a function of its output."""

    def __init__(self, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.head, self.function = nn.Linear(12, 4), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.head(x))


class First(nn.Module):
    """A function of the input, and a linear layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.head, self.function = nn.Linear(12, 4), function

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.function(x))


class Steps(nn.Module):
    """A recurrent layer with the steps first, as torch has it."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x.reshape(len(x), 4, 3).transpose(0, 1))[0][-1]


def inputs() -> Tensor:
    return torch.randn(8, 12, generator=torch.Generator().manual_seed(0))


def test_a_neighbour() -> None:
    measured = batch_leak(First(lambda x: x + x.roll(1, 0)), inputs())
    assert (measured["leaking_examples"], measured["leak_examples"]) == (1, 7)
    assert measured["leak_gradient"] > 0


@pytest.mark.parametrize(
    ("make", "operation"),
    [
        (lambda: nn.Sequential(nn.Linear(12, 4), nn.LogSoftmax(dim=0)), "log_softmax over axis 0 in 1"),
        (lambda: nn.Sequential(nn.Linear(12, 4), nn.Softmax(dim=0), nn.Linear(4, 4)), "softmax over axis 0 in 1"),
        (lambda: Last(lambda z: F.softmax(z, 0)), "softmax over axis 0"),
        (lambda: Last(lambda z: z - z.mean(0)), "mean over axis 0"),
        (lambda: Last(lambda z: z.cumsum(0)), "cumsum over axis 0"),
        (
            lambda: First(lambda x: x.reshape(12, -1).T),
            "view to (12, 4) and permute to (4, 12) before the weights in head",
        ),
        (lambda: Last(lambda z: F.batch_norm(z, None, None, training=True)), "batch normalization by the batch"),
        (
            lambda: Last(lambda z: F.batch_norm(z, torch.zeros(4), torch.ones(4), training=True)),
            "batch normalization by the batch",
        ),
    ],
)
def test_the_operation(make: Callable[[], nn.Module], operation: str) -> None:
    torch.manual_seed(0)
    measured = batch_leak(make(), inputs())
    assert measured["leaking_examples"] > 0
    assert measured["leaking_operation"] == operation
    assert measured["leaks_by_design"] is False


def test_batchnorm_without_running_statistics() -> None:
    network = nn.Sequential(nn.Linear(12, 4), nn.BatchNorm1d(4, track_running_stats=False))
    measured = batch_leak(network, inputs())
    assert measured["leaking_operation"] == "batch normalization by the batch in 1"
    assert measured["leaks_by_design"] is True


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Sequential(nn.Linear(12, 4), nn.BatchNorm1d(4)),
        lambda: nn.Sequential(nn.Linear(12, 4), nn.LogSoftmax(dim=1)),
        lambda: nn.Sequential(nn.Linear(12, 4), nn.LayerNorm(4), nn.Dropout(0.5)),
        lambda: nn.Sequential(nn.Unflatten(1, (3, 4)), nn.InstanceNorm1d(3), nn.Flatten()),
        lambda: Last(lambda z: F.normalize(z, dim=1)),
        lambda: Last(lambda z: F.dropout(z, 0.5, True)),
        Steps,
    ],
)
def test_no_leak(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    measured = batch_leak(make(), inputs())
    assert measured == {"leaking_examples": 0, "leak_examples": 7, "leak_gradient": 0.0}


def test_steps_first_are_not_the_operation() -> None:
    """The axis of the examples may move; what counts is where values of one example spread to others."""
    network = nn.Sequential(Steps(), nn.Softmax(dim=0))
    assert batch_leak(network, inputs())["leaking_operation"] == "softmax over axis 0 in 1"


@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_restored(training: bool) -> None:
    network = nn.Sequential(nn.BatchNorm1d(12), nn.Dropout(0.5), nn.Softmax(dim=0)).train(training)
    network[1].train(not training)
    batch_leak(network, inputs())
    assert [module.training for module in network] == [training, not training, training]
    assert network[0].num_batches_tracked == 0
    assert network[0].weight.grad is None
