"""Users' own networks: the arguments that they get, and errors that name an argument."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from torch import nn

from pipeline.errors import UserError
from pipeline.model.batchnorm import BatchNorm
from pipeline.model.block import HiddenBlock
from pipeline.model.user_model import build_user_model

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
    assert arguments == {"input_shape": (1, 8, 8), "classes": 10, "block": BLOCK, "anything": 1}


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
