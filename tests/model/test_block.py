"""The hidden block: its modules, their order, and what it computes."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from pipeline.errors import UserError
from pipeline.model.activations import Maxout
from pipeline.model.batchnorm import BatchNorm
from pipeline.model.block import HiddenBlock


def norm(position: str) -> BatchNorm:
    return BatchNorm(position, 0.1, 1e-5)


ORDER = {
    "none": ["linear", "activation", "dropout"],
    "before_activation": ["linear", "batchnorm", "activation", "dropout"],
    "after_activation": ["linear", "activation", "batchnorm", "dropout"],
}


@pytest.mark.parametrize("position", ORDER)
@pytest.mark.parametrize("activation", [nn.Tanh, partial(Maxout, 3)])
def test_modules(position: str, activation: partial) -> None:
    block = HiddenBlock(activation, norm(position), 0.5)
    pieces = 3 if isinstance(activation, partial) else 1
    dense, conv = block.make_dense(6, 4), block.make_conv(2, 4, kernel=3)
    for built, x in ((dense, torch.randn(5, 6)), (conv, torch.randn(5, 2, 7, 6))):
        assert [name for name, _ in built.named_children()] == ORDER[position]
        linear = dict(built.named_children())["linear"]
        assert (linear.bias is None) == (position == "before_activation")
        assert len(linear.weight) == 4 * pieces  # type: ignore[arg-type]
        assert built(x).shape == (5, 4, *x.shape[2:])
    assert isinstance(dict(conv.named_children()).get("batchnorm"), (nn.BatchNorm2d, type(None)))


def test_forward() -> None:
    block = HiddenBlock(nn.Tanh, norm("before_activation"), 0.0).make_dense(6, 4)
    x = torch.randn(9, 6)
    z = x @ block.linear.weight.T  # type: ignore[operator, union-attr]
    z = (z - z.mean(0)) / (z.var(0, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(block(x), z.tanh())


def test_batch_norm_after_the_activation() -> None:
    y = HiddenBlock(nn.ReLU, norm("after_activation"), 0.0).make_conv(3, 4, kernel=3)(torch.randn(16, 3, 8, 8))
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var((0, 2, 3), correction=0), torch.ones(4), atol=1e-2, rtol=0)


def test_dropout() -> None:
    assert not hasattr(HiddenBlock(nn.ReLU, norm("none"), 0.0).make_dense(3, 2), "dropout")
    assert HiddenBlock(nn.ReLU, norm("none"), 0.3).make_dense(3, 2).dropout.p == 0.3  # type: ignore[union-attr]


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_output_size(kernel: int, stride: int) -> None:
    y = HiddenBlock(nn.ReLU, norm("none"), 0.0).make_conv(2, 3, kernel=kernel, stride=stride)(torch.zeros(1, 2, 9, 6))
    assert y.shape == (1, 3, -(-9 // stride), -(-6 // stride))


def test_halves() -> None:
    block = HiddenBlock(partial(Maxout, 2), norm("after_activation"), 0.2)
    conv = block.make_conv(3, 4, kernel=3)
    halves = [*block.make_conv_preactivation(3, 4, kernel=3, stride=1), *block.make_conv_activation(4)]
    assert [str(module) for module in conv] == [str(module) for module in halves]


@pytest.mark.parametrize("position", ORDER)
def test_pool_follows_the_convolution(position: str) -> None:
    block = HiddenBlock(partial(Maxout, 2), norm(position), 0.5).make_conv(2, 4, kernel=3, pool=True)
    assert [name for name, _ in block.named_children()] == ["linear", "pool", *ORDER[position][1:]]
    assert block(torch.randn(5, 2, 7, 6)).shape == (5, 4, 3, 3)


def test_pool() -> None:
    block = HiddenBlock(nn.Tanh, norm("none"), 0.0).make_conv(3, 4, kernel=3, pool=True)
    x = torch.randn(2, 3, 6, 8)
    z = block.linear(x).view(2, 4, 3, 2, 4, 2)  # type: ignore[operator]
    torch.testing.assert_close(block(x), z.amax((3, 5)).tanh())


def test_activations_are_not_shared() -> None:
    block = HiddenBlock(nn.PReLU, norm("none"), 0.0)
    assert block.make_dense(3, 2).activation is not block.make_dense(3, 2).activation


@pytest.mark.parametrize("dropout", [-0.1, 1, float("nan"), "half"])
def test_invalid_dropout(dropout: object) -> None:
    with pytest.raises(UserError) as error:
        HiddenBlock(nn.ReLU, norm("none"), dropout)  # type: ignore[arg-type]
    assert error.value.field == "dropout"


@pytest.mark.parametrize("activation", ["relu", nn.ReLU(), torch.relu_, dict])
def test_invalid_activation(activation: object) -> None:
    with pytest.raises(UserError) as error:
        HiddenBlock(activation, norm("none"), 0.0)  # type: ignore[arg-type]
    assert error.value.field == "activation"
