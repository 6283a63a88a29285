"""The structure of a network as one pass shows it, against networks built with each property, and their near twins."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.signals import layer_graph_signals


def look(network: nn.Module, *shape: int) -> dict[str, Any]:
    return layer_graph_signals(network.train(), torch.randn(4, *shape))


def dense(*between: nn.Module | None, width: int = 20, middle: int = 20) -> nn.Sequential:
    """Linear a, what is between, linear b, ReLU, linear c."""
    layers = [("a", nn.Linear(12, middle)), *((f"m{i}", m) for i, m in enumerate(between) if m is not None)]
    return nn.Sequential(
        OrderedDict([*layers, ("b", nn.Linear(middle, width)), ("r", nn.ReLU()), ("c", nn.Linear(width, 10))])
    )


@pytest.mark.parametrize("between", [None, nn.Dropout(0.3), nn.BatchNorm1d(20), nn.Identity(), nn.Unflatten(1, (20,))])
def test_what_is_linear_makes_a_pair(between: nn.Module | None) -> None:
    found = look(dense(between), 12)
    assert found["linear_pairs"] == [["a.weight", "b.weight"]]
    assert found["weight_pairs"] == 2


NON_LINEAR = [nn.ReLU(), nn.ReLU(inplace=True), nn.Tanh(), nn.GELU(), nn.Softmax(1), nn.LayerNorm(20), nn.Softsign()]


@pytest.mark.parametrize("between", NON_LINEAR, ids=lambda m: type(m).__name__)
def test_what_is_not_linear_makes_none(between: nn.Module) -> None:
    assert look(dense(between), 12)["linear_pairs"] == []


def test_a_function_in_forward_counts_as_a_module_does() -> None:
    class Functional(nn.Module):
        def __init__(self, function: Any) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(12, 20), nn.Linear(20, 10)
            self.function = function

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.function(self.a(x)))

    assert look(Functional(F.relu), 12)["linear_pairs"] == []
    assert look(Functional(lambda x: x.clamp(min=0)), 12)["linear_pairs"] == []
    assert look(Functional(lambda x: x * torch.sigmoid(x)), 12)["linear_pairs"] == []
    assert look(Functional(lambda x: 3 * x - 1), 12)["linear_pairs"] == [["a.weight", "b.weight"]]


def test_a_linear_bottleneck_limits_the_rank_and_is_no_mistake() -> None:
    assert look(dense(middle=8), 12)["linear_pairs"] == []
    assert look(dense(middle=12), 12)["linear_pairs"] != []


def test_depthwise_separable_convolutions_are_no_mistake() -> None:
    def net(groups: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(4, 8, 3, groups=groups), nn.Conv2d(8, 8, 1), nn.ReLU(), nn.Flatten(), nn.Linear(288, 3)
        )

    assert look(net(4), 4, 8, 8)["linear_pairs"] == []
    assert look(net(1), 4, 8, 8)["linear_pairs"] == [["0.weight", "1.weight"]]


def test_a_shortcut_is_no_pair() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.a(x))
            x = torch.relu(x + self.b(x))
            return self.c(x)

    assert look(Residual(), 12)["linear_pairs"] == []


class Ended(nn.Module):
    def __init__(self, *end: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 10), *end)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


@pytest.mark.parametrize(
    ("end", "words", "sums"),
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
def test_what_stands_after_the_last_weights(end: list[nn.Module], words: list[str], sums: bool) -> None:
    found = look(Ended(*end), 12)
    assert found["output_operations"] == words
    assert found["output_sums_to_one"] is sums


def test_a_softmax_that_is_written_out_sums_to_one_all_the_same() -> None:
    class Own(Ended):
        def forward(self, x: Tensor) -> Tensor:
            z = self.body(x).exp()
            return z / z.sum(1, keepdim=True)

    assert look(Own(), 12)["output_sums_to_one"]


def test_dropout_that_is_off_is_not_seen() -> None:
    network = Ended(nn.Dropout(0.5)).eval()
    assert layer_graph_signals(network, torch.randn(4, 12))["output_operations"] == []


def test_batchnorm_is_counted_and_the_bias_before_it_named() -> None:
    found = look(dense(nn.BatchNorm1d(20)), 12)
    assert found["batchnorm_layers"] == 1
    assert found["bias_before_batchnorm"] == ["a.weight"]
    without = dense(nn.BatchNorm1d(20))
    without.a = nn.Linear(12, 20, bias=False)
    assert look(without, 12)["bias_before_batchnorm"] == []


def test_looking_changes_nothing() -> None:
    torch.manual_seed(0)
    network = dense(nn.BatchNorm1d(20))
    hooks = len(nn.modules.module._global_forward_hooks)
    before = [p.clone() for p in network.parameters()]
    look(network, 12)
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    assert all(p.grad is None for p in network.parameters())
    assert len(nn.modules.module._global_forward_hooks) == hooks


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["resnet18", "mobilenet_v2", "mobilenet_v3_small", "vgg11_bn", "densenet121", "efficientnet_b0", "squeezenet1_1",
     "shufflenet_v2_x1_0", "regnet_y_400mf", "convnext_tiny", "alexnet", "vit_b_32", "swin_t"],
)  # fmt: skip
def test_published_networks_are_well_built(name: str) -> None:
    import torchvision

    size = 224 if name in ("vit_b_32", "swin_t", "alexnet") else 64
    found = layer_graph_signals(
        torchvision.models.get_model(name, num_classes=10).train(), torch.randn(2, 3, size, size)
    )
    assert len(found["linear_pairs"]) < 0.1 * found["weight_pairs"]
    assert found["output_operations"] in ([], ["relu", "average"])


def test_a_sum_of_linear_and_other_parts_is_no_linear_map() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(12, 12), nn.Linear(12, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            return self.b(x + torch.tanh(x))

    assert look(Mixed(), 12)["linear_pairs"] == []
