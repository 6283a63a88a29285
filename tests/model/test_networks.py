"""One contract for all built-in networks, and the particular properties of each."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

from pipeline.errors import UserError
from pipeline.model.activations import Maxout
from pipeline.model.batchnorm import BatchNorm
from pipeline.model.block import HiddenBlock
from pipeline.model.convnet import ConvNet
from pipeline.model.mlp import MLP
from pipeline.model.resnet import Residual, ResNet

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "mlp": partial(MLP, width=6, depth=2),
    "convnet": partial(ConvNet, width=3, depth=4, pool_every=2, head="flatten"),
    "convnet_average": partial(ConvNet, width=3, depth=4, pool_every=2, head="average"),
    "resnet": partial(ResNet, width=3, depth=1),
}


def block(activation: Callable[[], nn.Module] = nn.ReLU, position: str = "none", dropout: float = 0.0) -> HiddenBlock:
    return HiddenBlock(activation, BatchNorm(position, 0.1, 1e-5), dropout)


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_and_gradients(name: str) -> None:
    """Every parameter gets a gradient, with every position of batch norm and kind of activation."""
    for position in ("none", "before_activation", "after_activation"):
        for activation in (nn.ReLU, partial(Maxout, 2), nn.PReLU):
            network = NETWORKS[name]((2, 9, 12), 5, block(activation, position, 0.1))
            logits = network(torch.randn(8, 2, 9, 12))
            assert logits.shape == (8, 5)
            logits.square().sum().backward()
            assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_output_is_the_last_layer(name: str) -> None:
    network = NETWORKS[name]((1, 8, 8), 5, block())
    output = network.output
    assert isinstance(output, nn.Linear)
    assert output.out_features == 5
    assert output.bias is not None
    with torch.no_grad():
        output.weight.zero_()
        output.bias.copy_(torch.arange(5.0))
    torch.testing.assert_close(network(torch.randn(3, 1, 8, 8)), torch.arange(5.0).expand(3, 5))


@pytest.mark.parametrize("name", NETWORKS)
def test_examples_are_independent_in_evaluation(name: str) -> None:
    network = NETWORKS[name]((1, 8, 8), 5, block(position="before_activation", dropout=0.5)).eval()
    x = torch.randn(4, 1, 8, 8)
    torch.testing.assert_close(network(x)[1:2], network(x[1:2]))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("field", ["width", "depth"])
def test_invalid_width_and_depth(name: str, field: str) -> None:
    for value in (-1, 1.5, "3", None, True):
        with pytest.raises(UserError) as error:
            NETWORKS[name]((1, 8, 8), 5, block(), **{field: value})
        assert error.value.field == field


def linears(network: nn.Module) -> list[tuple[int, int]]:
    return [(m.in_features, m.out_features) for m in network.modules() if isinstance(m, nn.Linear)]


def test_mlp_widths() -> None:
    network = MLP((3, 2, 2), 5, block(), width=[7, 9, 4], depth=3)
    assert linears(network) == [(12, 7), (7, 9), (9, 4), (4, 5)]
    assert [name for name, _ in network.hidden.named_children()] == ["dense1", "dense2", "dense3"]
    assert linears(MLP((3, 2, 2), 5, block(), width=8, depth=2)) == [(12, 8), (8, 8), (8, 5)]


def test_mlp_of_depth_zero() -> None:
    network = MLP((3, 2, 2), 5, block(dropout=0.5), width=7, depth=0)
    x = torch.randn(4, 3, 2, 2)
    torch.testing.assert_close(network(x), x.flatten(1) @ network.output.weight.T + network.output.bias)


def test_mlp_with_wrong_widths() -> None:
    with pytest.raises(UserError, match="3") as error:
        MLP((3, 2, 2), 5, block(), width=[7, 9, 4], depth=2)
    assert error.value.field == "depth"
    with pytest.raises(UserError) as error:
        MLP((3, 2, 2), 5, block(), width=[7, 0], depth=2)
    assert error.value.field == "width"


def test_convnet_widths() -> None:
    network = ConvNet((3, 28, 28), 10, block(), width=16, depth=5, pool_every=2, head="flatten")
    assert [name for name, _ in network.hidden.named_children()] == ["conv1", "conv2", "conv3", "conv4", "conv5"]
    assert [n for n, m in network.hidden.named_modules() if isinstance(m, nn.MaxPool2d)] == ["conv2.pool", "conv4.pool"]
    convs = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels) for c in convs] == [(3, 16), (16, 16), (16, 32), (32, 32), (32, 64)]
    assert network.output.in_features == 64 * 7 * 7
    assert network.hidden(torch.zeros(1, 3, 28, 28)).shape == (1, 64, 7, 7)


def test_convnet_average_head() -> None:
    network = ConvNet((1, 8, 8), 3, block(), width=4, depth=1, pool_every=2, head="average")
    x = torch.randn(5, 1, 8, 8)
    torch.testing.assert_close(network(x), network.output(network.hidden(x).mean((2, 3))))


@pytest.mark.parametrize(
    ("size", "pool_every", "max_depth"), [(8, 2, 7), (9, 1, 3), (15, 3, 11), (28, 2, 9), (1, 2, 1)]
)
def test_convnet_depth_limit(size: int, pool_every: int, max_depth: int) -> None:
    def build(depth: int) -> ConvNet:
        return ConvNet((1, size, 20), 3, block(), width=1, depth=depth, pool_every=pool_every, head="flatten")

    assert build(max_depth)(torch.zeros(2, 1, size, 20)).shape == (2, 3)
    with pytest.raises(UserError, match=rf"\b{max_depth}\b") as error:
        build(max_depth + 1)
    assert error.value.field == "depth"
    with pytest.raises(RuntimeError):  # torch cannot pool once more
        nn.MaxPool2d(2)(build(max_depth).hidden(torch.zeros(2, 1, size, 20)))


def test_invalid_head_and_pool_every() -> None:
    with pytest.raises(UserError, match="'average'") as error:
        ConvNet((1, 8, 8), 3, block(), width=1, depth=1, pool_every=1, head="averge")
    assert error.value.field == "head"
    with pytest.raises(UserError) as error:
        ConvNet((1, 8, 8), 3, block(), width=1, depth=1, pool_every=0, head="flatten")
    assert error.value.field == "pool_every"


@pytest.mark.parametrize("name", ["convnet", "resnet"])
def test_vectors_need_an_mlp(name: str) -> None:
    with pytest.raises(UserError, match="model=mlp"):
        NETWORKS[name]((64, 1, 1), 5, block())


@pytest.mark.parametrize("depth", [1, 2])
def test_resnet_layers_and_sizes(depth: int) -> None:
    network = ResNet((3, 32, 32), 10, block(position="before_activation"), width=16, depth=depth)
    convs = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    weighted = [c for c in convs if c.kernel_size == (3, 3)]
    assert len(weighted) + 1 == 6 * depth + 2
    assert len(convs) - len(weighted) == 2  # projections, where stages two and three begin
    assert network.hidden(network.stem(torch.zeros(2, 3, 32, 32))).shape == (2, 64, 8, 8)


@pytest.mark.parametrize("position", ["none", "before_activation"])
def test_residual_of_zero(position: str) -> None:
    residual = Residual(4, 4, block(position=position), stride=1)
    with torch.no_grad():
        residual.second.linear.weight.zero_()  # type: ignore[operator, union-attr]
        if residual.second.linear.bias is not None:  # type: ignore[union-attr]
            residual.second.linear.bias.zero_()  # type: ignore[operator, union-attr]
    x = torch.randn(3, 4, 6, 6)
    torch.testing.assert_close(residual(x), x.relu())


def test_residual_with_maxout() -> None:
    residual = Residual(4, 4, block(partial(Maxout, 2)), stride=1)
    x = torch.randn(3, 4, 6, 6)
    total = residual.second(residual.first(x)) + residual.shortcut(x)
    torch.testing.assert_close(residual(x), torch.maximum(total[:, :4], total[:, 4:]))


def test_residual_dropout() -> None:
    network = ResNet((3, 8, 8), 10, block(dropout=0.5), width=4, depth=2)
    dropouts = [name for name, m in network.named_modules() if isinstance(m, nn.Dropout)]
    assert len(dropouts) == 6
    assert all(name.endswith("first.dropout") for name in dropouts)


def test_convnet_dropout() -> None:
    network = ConvNet((1, 8, 8), 3, block(dropout=0.3), width=4, depth=4, pool_every=2, head="flatten")
    dropped = [name for name, module in network.named_modules() if isinstance(module, nn.Dropout)]
    assert dropped == ["hidden.conv4.dropout"]
