"""Users' own networks: the arguments that they get, and errors that name an argument."""

from __future__ import annotations

import copy
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.model.batchnorm import BatchNorm
from pipeline.model.block import HiddenBlock
from pipeline.model.user_model import IGNORES_BLOCK, build_user_model, describe_parts, materialize, select_output

BLOCK = HiddenBlock(nn.ReLU, BatchNorm("none", 0.1, 1e-5), 0.0)


class Net(nn.Module):
    def __init__(self, classes: int, width: int = 3):
        super().__init__()
        self.arguments = {"classes": classes, "width": width}


def build(factory: Any, **kwargs: Any) -> Any:
    return build_user_model(factory, (1, 8, 8), 10, BLOCK, **kwargs)


def test_named_arguments() -> None:
    assert build(Net).arguments == {"classes": 10, "width": 3}
    assert build(Net, width=5).arguments == {"classes": 10, "width": 5}
    assert build(partial(Net, width=7)).arguments == {"classes": 10, "width": 7}
    assert build(Net, classes=4).arguments["classes"] == 4  # the user's value wins
    assert isinstance(build(lambda: nn.Identity()), nn.Identity)


def test_open_arguments() -> None:
    arguments: dict[str, Any] = {}

    def factory(**kwargs: Any) -> nn.Module:
        arguments.update(kwargs)
        return nn.Identity()

    build(factory, anything=1)
    assert arguments == {"anything": 1}


def test_open_arguments_beside_named_ones() -> None:
    arguments: dict[str, Any] = {}

    def factory(classes: int, name: str = "a", **kwargs: Any) -> nn.Module:
        arguments.update(kwargs, classes=classes, name=name)
        return nn.Identity()

    build(factory, name="b", depth=3)
    assert arguments == {"classes": 10, "name": "b", "depth": 3}
    assert not hasattr(build(factory), IGNORES_BLOCK)


def test_arguments_that_are_handed_on() -> None:
    """The error of the inner call names the key that was typed."""

    def inner(width: int) -> nn.Module:
        return nn.Linear(width, width)

    def factory(**kwargs: Any) -> nn.Module:
        return inner(**kwargs)

    with pytest.raises(UserError) as error:
        build(factory, widht=3)
    assert error.value.field == "widht"
    assert "test_user_model.py" in error.value.message
    with pytest.raises(UserError) as error:
        build(factory, width="three")  # whatever a constructor raises, the value that was given may be the cause
    assert error.value.field == ""
    assert "width='three'" in error.value.message
    assert "test_user_model.py" in error.value.message


def test_a_constructor_that_raises_without_arguments_is_not_caught() -> None:
    def factory(width: int = -1) -> nn.Module:
        return nn.Linear(width, [][0])

    with pytest.raises(IndexError):
        build(factory)
    with pytest.raises(UserError) as error:
        build(factory, width=3)
    assert error.value.field == ""


@pytest.mark.parametrize("uses", [True, False])
def test_whether_the_block_is_used(uses: bool) -> None:
    def factory(block: HiddenBlock) -> nn.Module:
        return block.make_dense(3, 3) if uses else nn.Linear(3, 3)

    assert getattr(build(factory), IGNORES_BLOCK, False) is not uses


@pytest.mark.parametrize(
    "network",
    [
        nn.Linear(2, 2, device="meta"),
        nn.Linear(2, 2).half(),
        nn.Sequential(nn.Embedding(3, 3, sparse=True)),
    ],
)
def test_parameters_that_cannot_be_trained(network: nn.Module) -> None:
    with pytest.raises(UserError) as error:
        build(lambda: network)
    assert error.value.with_prefix("model").field == "model"


def test_lazy_layers() -> None:
    network = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(3))
    materialize(network, (1, 8, 8))
    assert network[3].weight.shape == (3, 4 * 6 * 6)
    assert not network[1].running_mean.any()  # the images of zeros leave no trace in the statistics
    plain = nn.Linear(2, 2)
    materialize(plain, (1, 8, 8))  # would fail on such images
    assert plain.training


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lazy = nn.LazyLinear(3)

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize("network", [Unused(), nn.Sequential(nn.LazyConv2d(4, 9))])
def test_lazy_layers_that_stay_lazy(network: nn.Module) -> None:
    with pytest.raises(UserError):
        materialize(network, (1, 8, 8))


class Returns(nn.Linear):
    def __init__(self, wrap: Any) -> None:
        super().__init__(2, 3)
        self.wrap = wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(super().forward(x))


@pytest.mark.parametrize(
    ("wrap", "key"),
    [
        (lambda x: {"logits": x, "loss": None}, "logits"),
        (lambda x: (x.mean(), x), 1),
        (lambda x: [x], -1),
        (lambda x: SimpleNamespace(logits=x), "logits"),
    ],
)
def test_parts_of_results(wrap: Any, key: Any) -> None:
    network = Returns(wrap)
    names = list(network.state_dict())
    select_output(network, key)
    for one in (network, copy.deepcopy(network)):
        assert one(torch.ones(4, 2)).shape == (4, 3)
        assert list(one.state_dict()) == names
    select_output(missing := Returns(wrap), "nothing")
    with pytest.raises(UserError) as error:
        missing(torch.ones(4, 2))
    assert error.value.field == "model.output"


def test_description_of_results() -> None:
    x = torch.ones(1)
    assert describe_parts({"a": x, "b": 3}) == ("a dict", ["a"])
    assert describe_parts((None, x)) == ("a tuple", [1])
    assert describe_parts(3.0) == ("a float", [])


def test_unknown_and_missing_arguments() -> None:
    with pytest.raises(UserError, match="'width'") as error:
        build(Net, widht=5)
    assert error.value.field == "widht"

    def needs(classes: int, depth: int) -> nn.Module:
        raise AssertionError

    with pytest.raises(UserError) as error:
        build(needs)
    assert error.value.field == "depth"


@pytest.mark.parametrize("factory", [lambda: 3, "Net", lambda classes: nn.Identity])
def test_invalid_factory(factory: Any) -> None:
    with pytest.raises(UserError) as error:
        build(factory)
    assert error.value.field == "_target_"


def test_errors_of_users_are_not_caught() -> None:
    def broken(classes: int) -> nn.Module:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        build(broken)


def test_a_second_head_for_training_alone() -> None:
    """Its result is a tuple while it trains and a tensor in evaluation; a tensor in training needs no key."""
    network = Returns(lambda x: (x, x) if network.training else x)
    select_output(network, 0)
    for mode in (True, False):
        assert network.train(mode)(torch.ones(4, 2)).shape == (4, 3)
    select_output(plain := Returns(lambda x: x), 0)
    with pytest.raises(UserError, match="leave the key out"):
        plain(torch.ones(4, 2))


def test_empty_parameters() -> None:
    with pytest.raises(UserError, match="is empty"):
        build(lambda: nn.Linear(4, 0))
