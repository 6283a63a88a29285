"""Two passes in evaluation mode, and the modules that do not follow the mode; sound networks stay silent."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.signals.evaluation_mode import evaluation_signals
from tests.checks.rule_cases import rule_of

Make = Callable[[], nn.Module]


def findings(signals: object) -> dict[str, str]:
    found = {}
    for check in ("wrong_mode", "random_evaluation"):
        finding = rule_of(check)(signals)  # type: ignore[arg-type]
        if finding is not None:
            found[check] = finding.severity
    return found


class Layered(nn.Module):
    """Applies `between` to the output of a convolution with batchnorm, and a linear layer after it."""

    def __init__(self, between: nn.Module | None = None, norm: nn.Module | None = None):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4) if norm is None else norm, nn.ReLU())
        self.between = between or nn.Identity()
        self.head = nn.Linear(4 * 36, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.between(self.body(x)).flatten(1))


class Function(nn.Module):
    """A layer that is a function of (x, training)."""

    def __init__(self, function: Callable[[Tensor, bool], Tensor]):
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.training)


class StochasticDepth(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if not self.training or torch.rand(()) < 0.8 else 0 * x


class Averaged(nn.Module):
    """Keeps an average in training, and uses it in evaluation."""

    average: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("average", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.average.mul_(0.9).add_(0.1 * x.detach().mean())
        return x - self.average


class Counting(nn.Module):
    """Counts its calls in every mode, without using the count."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x


class Remembering(Counting):
    """Its output depends on the calls before."""

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.calls


class FrozenBody(Layered):
    """Keeps the body in evaluation mode; `frozen` says whether its weights are."""

    def __init__(self, frozen: bool, pretrained: bool = True):
        super().__init__()
        self.body.requires_grad_(not frozen)
        if pretrained:
            self.body[1].running_mean.fill_(0.3)  # type: ignore[operator, union-attr]

    def train(self, mode: bool = True) -> FrozenBody:
        super().train(mode)
        self.body.eval()
        return self


class OwnEval(Layered):
    """An `eval` that sets its own flag only."""

    def eval(self) -> OwnEval:
        self.training = False
        return self


class OwnTrain(Layered):
    """A `train` that never reaches the submodules."""

    def __init__(self) -> None:
        super().__init__(nn.Dropout(0.5))
        super().train(False)

    def train(self, mode: bool = True) -> OwnTrain:
        self.training = mode
        return self


class SetsMode(Layered):
    """Sets the mode of its body in `forward`."""

    def __init__(self, mode: bool):
        super().__init__(nn.Dropout(0.5))
        self.mode = mode

    def forward(self, x: Tensor) -> Tensor:
        self.body.train(self.mode)
        return super().forward(x)


class Lstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(8, 6, 2, batch_first=True, dropout=0.3), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x.squeeze(1))[0][:, -1])


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": self.head(self.layer(x.squeeze(1)).mean(1))}


SOUND: dict[str, Make] = {
    "batchnorm": Layered,
    "dropout": lambda: Layered(nn.Dropout(0.5)),
    "dropout of a function": lambda: Layered(Function(lambda x, training: F.dropout(x, 0.5, training))),
    "dropout of images": lambda: Layered(nn.Dropout2d(0.5)),
    "noise in training": lambda: Layered(Function(lambda x, training: x + torch.randn_like(x) if training else x)),
    "stochastic depth": lambda: Layered(StochasticDepth()),
    "randomized leaky relu": lambda: Layered(nn.RReLU()),
    "group norm": lambda: Layered(norm=nn.GroupNorm(2, 4)),
    "instance norm": lambda: Layered(norm=nn.InstanceNorm2d(4)),
    "layer norm": lambda: Layered(norm=nn.LayerNorm([4, 6, 6])),
    "batchnorm without running statistics": lambda: Layered(norm=nn.BatchNorm2d(4, track_running_stats=False)),
    "an average of weights": lambda: torch.optim.swa_utils.AveragedModel(Layered(nn.Dropout(0.3))),
    "an average of activations": lambda: Layered(Averaged()),
    "a counter": lambda: Layered(Counting()),
    "frozen body": lambda: FrozenBody(frozen=True),
    "frozen body without statistics": lambda: FrozenBody(frozen=True, pretrained=False),
    "dropout of zero in a frozen body": lambda: with_dropout_of_zero(),
    "rounding of a constant output": lambda: Function(
        lambda x, _: 1 + 1e-12 * torch.randn(len(x), 1, dtype=torch.float64)
    ),
    "lstm": Lstm,
    "attention": Attention,
    "constant output": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.Threshold(1e6, 1.0)),
}

BROKEN: dict[str, tuple[Make, dict[str, str]]] = {
    "dropout left on": (
        lambda: Layered(Function(lambda x, _: F.dropout(x, 0.5, True))),
        {"random_evaluation": "failure"},
    ),
    "its default": (lambda: Layered(Function(lambda x, _: F.dropout(x))), {"random_evaluation": "failure"}),
    "alpha dropout": (
        lambda: Layered(Function(lambda x, _: F.alpha_dropout(x, 0.2, True))),
        {"random_evaluation": "failure"},
    ),
    "noise": (lambda: Layered(Function(lambda x, _: x + torch.randn_like(x))), {"random_evaluation": "failure"}),
    "little noise": (
        lambda: Layered(Function(lambda x, _: x + 0.01 * torch.randn_like(x))),
        {"random_evaluation": "warning"},
    ),
    "noise of NumPy": (
        lambda: Layered(Function(lambda x, _: x * float(np.random.rand()))),  # noqa: NPY002
        {"random_evaluation": "failure"},
    ),
    "a mask": (
        lambda: Layered(Function(lambda x, _: x * (torch.rand(x.shape) > 0.3))),
        {"random_evaluation": "failure"},
    ),
    "memory": (lambda: Layered(Remembering()), {"random_evaluation": "failure"}),
    "eval that reaches nothing": (OwnEval, {"wrong_mode": "failure"}),
    "dropout in eval": (lambda: dropout_in_eval(), {"wrong_mode": "failure", "random_evaluation": "failure"}),
    "training mode in forward": (lambda: SetsMode(True), {"wrong_mode": "failure"}),
    "evaluation mode in forward": (lambda: SetsMode(False), {"wrong_mode": "warning"}),
    "train that reaches nothing": (OwnTrain, {"wrong_mode": "warning"}),
    "trained gamma, statistics of 0 and 1": (
        lambda: FrozenBody(frozen=False, pretrained=False),
        {"wrong_mode": "warning"},
    ),
    "trained gamma, pretrained statistics": (lambda: FrozenBody(frozen=False), {"wrong_mode": "info"}),
}


def dropout_in_eval() -> nn.Module:
    class MonteCarlo(nn.Dropout):
        def train(self, mode: bool = True) -> MonteCarlo:
            return super().train(True)

    return Layered(MonteCarlo(0.5))


def with_dropout_of_zero() -> nn.Module:
    network = FrozenBody(frozen=True)
    network.body.append(nn.Dropout(0.0))
    return network


def images() -> Tensor:
    return torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", SOUND)
def test_sound(name: str) -> None:
    torch.manual_seed(0)
    assert findings(evaluation_signals(SOUND[name](), images())) == {}


@pytest.mark.parametrize("name", BROKEN)
def test_broken(name: str) -> None:
    torch.manual_seed(0)
    make, expected = BROKEN[name]
    assert findings(evaluation_signals(make(), images())) == expected


def test_the_place_is_named() -> None:
    network = Layered(Function(lambda x, _: F.dropout(x, 0.5, True)))
    assert evaluation_signals(network, images())["random_operations"] == ["a dropout mask in between"]
    assert evaluation_signals(Layered(nn.Dropout(0.5)), images())["random_operations"] == []
    assert evaluation_signals(Layered(nn.RReLU()), images())["random_operations"] == []
    assert evaluation_signals(Layered(Counting()), images())["changed_buffers"] == ["between.calls"]
    assert evaluation_signals(OwnEval(), images())["training_in_evaluation"] == ["body.1 (BatchNorm2d)"]
    unused = evaluation_signals(OwnTrain(), images())["unused_statistics"]
    assert unused == ["body.1 (BatchNorm2d)", "between (Dropout)"]


def test_rounding_of_the_outputs_format() -> None:
    assert evaluation_signals(Layered().bfloat16(), images().bfloat16())["evaluation_rounding"] == 2**-7


@pytest.mark.parametrize("training", [True, False])
def test_nothing_is_changed(training: bool) -> None:
    network = Layered(Remembering()).train(training)
    network.body[1].train(not training)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    random.seed(7)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    evaluation_signals(network, images())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert [module.training for module in network.modules()] == modes
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()
    assert (states[2] == np.random.get_state()[1]).all()  # noqa: NPY002
