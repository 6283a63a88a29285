"""The layer graph from one pass, for networks that are built with each property, and their near twins without it."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.signals.layer_graph import layer_graph_signals


def measure(network: nn.Module, *shape: int) -> dict[str, Any]:
    return layer_graph_signals(network.train(), torch.randn(4, *shape))


def dense(*between: nn.Module | None, width: int = 20, middle: int = 20) -> nn.Sequential:
    """Linear a, the modules `between`, linear b, ReLU, linear c."""
    layers = [("a", nn.Linear(12, middle)), *((f"m{i}", m) for i, m in enumerate(between) if m is not None)]
    return nn.Sequential(
        OrderedDict([*layers, ("b", nn.Linear(middle, width)), ("r", nn.ReLU()), ("c", nn.Linear(width, 10))])
    )


# ------------------------------------------------------------------------------------------ linear pairs


@pytest.mark.parametrize("between", [None, nn.Dropout(0.3), nn.BatchNorm1d(20), nn.Identity(), nn.Unflatten(1, (20,))])
def test_linear_operations_make_a_pair(between: nn.Module | None) -> None:
    measured = measure(dense(between), 12)
    assert measured["linear_pairs"] == [["a.weight", "b.weight"]]
    assert measured["weight_pairs"] == 2


NON_LINEAR = [nn.ReLU(), nn.ReLU(inplace=True), nn.Tanh(), nn.GELU(), nn.Softmax(1), nn.LayerNorm(20), nn.Softsign()]


@pytest.mark.parametrize("between", NON_LINEAR, ids=lambda m: type(m).__name__)
def test_nonlinear_operations_make_none(between: nn.Module) -> None:
    assert measure(dense(between), 12)["linear_pairs"] == []


def test_functions_count_like_modules() -> None:
    class Functional(nn.Module):
        def __init__(self, function: Any) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(12, 20), nn.Linear(20, 10)
            self.function = function

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.function(self.a(x)))

    assert measure(Functional(F.relu), 12)["linear_pairs"] == []
    assert measure(Functional(lambda x: x.clamp(min=0)), 12)["linear_pairs"] == []
    assert measure(Functional(lambda x: x * torch.sigmoid(x)), 12)["linear_pairs"] == []
    assert measure(Functional(lambda x: 3 * x - 1), 12)["linear_pairs"] == [["a.weight", "b.weight"]]


def test_bottleneck_is_no_pair() -> None:
    """A narrow first layer limits the rank."""
    assert measure(dense(middle=8), 12)["linear_pairs"] == []
    assert measure(dense(middle=12), 12)["linear_pairs"] != []


def test_depthwise_separable_is_no_pair() -> None:
    def net(groups: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(4, 8, 3, groups=groups), nn.Conv2d(8, 8, 1), nn.ReLU(), nn.Flatten(), nn.Linear(288, 3)
        )

    assert measure(net(4), 4, 8, 8)["linear_pairs"] == []
    assert measure(net(1), 4, 8, 8)["linear_pairs"] == [["0.weight", "1.weight"]]


def test_shortcut_is_no_pair() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.a(x))
            x = torch.relu(x + self.b(x))
            return self.c(x)

    assert measure(Residual(), 12)["linear_pairs"] == []


def test_sum_with_a_nonlinear_part_is_no_pair() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(12, 12), nn.Linear(12, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            return self.b(x + torch.tanh(x))

    assert measure(Mixed(), 12)["linear_pairs"] == []


class Blocks(nn.Module):
    """A stem and two residual blocks, each x + b(g(a(x))), with `between` in each block and `after` each sum."""

    def __init__(self, between: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(12, 12), nn.Linear(12, 10)
        self.a, self.b = (nn.ModuleList(nn.Linear(12, 12) for _ in range(2)) for _ in range(2))
        self.between, self.after = between, after

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for a, b in zip(self.a, self.b, strict=True):
            x = self.after(x + b(self.between(a(x))))
        return self.head(x)


def test_stem_that_is_also_a_shortcut_is_no_pair() -> None:
    """The shortcut needs the stem, so that it cannot be merged with the first layer of the block."""
    measured = measure(Blocks(nn.ReLU(), nn.ReLU()), 12)
    assert measured["linear_pairs"] == []
    assert measured["weight_pairs"] == 5


def test_linear_residual_network_is_all_pairs() -> None:
    """Sums of linear maps of the same values are linear: the whole network is worth one layer."""
    measured = measure(Blocks(nn.Identity(), nn.BatchNorm1d(12)), 12)
    assert len(measured["linear_pairs"]) == measured["weight_pairs"] == 5


def test_linear_block_before_a_nonlinear_function_is_a_pair() -> None:
    """Within relu(x + b(a(x))) a and b are worth one; the head behind the function is not."""
    assert measure(Blocks(nn.Identity(), nn.ReLU()), 12)["linear_pairs"] == [
        ["stem.weight", "a.0.weight"],
        ["a.0.weight", "b.0.weight"],
        ["a.1.weight", "b.1.weight"],
    ]


# ------------------------------------------------------------------------------------------ the output, batch norm


class Ended(nn.Module):
    def __init__(self, *end: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 10), *end)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


@pytest.mark.parametrize(
    ("end", "operations", "sums_to_one"),
    [
        ([], [], False),
        ([nn.Softmax(1)], ["softmax"], True),
        ([nn.LogSoftmax(1)], ["log_softmax"], False),
        ([nn.ReLU()], ["relu"], False),
        ([nn.ReLU(inplace=True)], ["relu"], False),
        ([nn.Sigmoid()], ["sigmoid"], False),
        ([nn.Dropout(0.5)], ["dropout"], False),
        ([nn.Dropout(0.5), nn.Softmax(1)], ["dropout", "softmax"], True),
        ([nn.BatchNorm1d(10)], ["batch_norm"], False),
        ([nn.Unflatten(1, (10, 1)), nn.Flatten()], [], False),
    ],
    ids=lambda value: "+".join(type(m).__name__ for m in value) if isinstance(value, list) else str(value),
)
def test_output_operations(end: list[nn.Module], operations: list[str], sums_to_one: bool) -> None:
    measured = measure(Ended(*end), 12)
    assert measured["output_operations"] == operations
    assert measured["output_sums_to_one"] is sums_to_one


def test_softmax_by_hand_sums_to_one() -> None:
    class Softmax(Ended):
        def forward(self, x: Tensor) -> Tensor:
            z = self.body(x).exp()
            return z / z.sum(1, keepdim=True)

    assert measure(Softmax(), 12)["output_sums_to_one"]


def test_dropout_in_evaluation_is_absent() -> None:
    network = Ended(nn.Dropout(0.5)).eval()
    assert layer_graph_signals(network, torch.randn(4, 12))["output_operations"] == []


def test_bias_before_batchnorm() -> None:
    measured = measure(dense(nn.BatchNorm1d(20)), 12)
    assert measured["batchnorm_layers"] == 1
    assert measured["bias_before_batchnorm"] == ["a.weight"]
    without = dense(nn.BatchNorm1d(20))
    without.a = nn.Linear(12, 20, bias=False)
    assert measure(without, 12)["bias_before_batchnorm"] == []


def test_network_is_not_changed() -> None:
    torch.manual_seed(0)
    network = dense(nn.BatchNorm1d(20))
    hooks = len(nn.modules.module._global_forward_hooks)
    before = [p.clone() for p in network.parameters()]
    measure(network, 12)
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    assert all(p.grad is None for p in network.parameters())
    assert len(nn.modules.module._global_forward_hooks) == hooks


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["resnet18", "mobilenet_v2", "mobilenet_v3_small", "vgg11_bn", "densenet121", "efficientnet_b0", "squeezenet1_1",
     "shufflenet_v2_x1_0", "regnet_y_400mf", "convnext_tiny", "alexnet", "vit_b_32", "swin_t"],
)  # fmt: skip
def test_published_networks(name: str) -> None:
    """They have few linear pairs, and nothing suspect between the last weights and the output."""
    import torchvision

    size = 224 if name in ("vit_b_32", "swin_t", "alexnet") else 64
    network = torchvision.models.get_model(name, num_classes=10).train()
    measured = layer_graph_signals(network, torch.randn(2, 3, size, size))
    assert len(measured["linear_pairs"]) < 0.1 * measured["weight_pairs"]
    assert measured["output_operations"] in ([], ["relu", "average"])
