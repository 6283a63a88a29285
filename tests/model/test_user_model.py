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
        self.given = {"classes": classes, "width": width}


def build(factory: Any, **kwargs: Any) -> Any:
    return build_user_model(factory, (1, 8, 8), 10, BLOCK, **kwargs)


def test_only_what_the_signature_names_is_passed() -> None:
    assert build(Net).given == {"classes": 10, "width": 3}
    assert build(Net, width=5).given == {"classes": 10, "width": 5}
    assert build(partial(Net, width=7)).given == {"classes": 10, "width": 7}
    assert build(Net, classes=4).given["classes"] == 4  # what the user says goes
    assert isinstance(build(lambda: nn.Identity()), nn.Identity)


def test_a_factory_with_open_arguments_gets_all() -> None:
    given: dict[str, Any] = {}

    def factory(**kwargs: Any) -> nn.Module:
        given.update(kwargs)
        return nn.Identity()

    build(factory, anything=1)
    assert given == {"input_shape": (1, 8, 8), "classes": 10, "block": BLOCK, "anything": 1}


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(UserError, match="Did you mean 'width'") as error:
        build(Net, widht=5)
    assert error.value.field == "widht"

    def needs(classes: int, depth: int) -> nn.Module:
        raise AssertionError

    with pytest.raises(UserError, match="needs") as error:
        build(needs)
    assert error.value.field == "depth"


@pytest.mark.parametrize("factory", [lambda: 3, "Net", lambda classes: nn.Identity])
def test_what_is_built_is_a_module(factory: Any) -> None:
    with pytest.raises(UserError) as error:
        build(factory)
    assert error.value.field == "_target_"


def test_errors_inside_the_users_code_keep_their_traceback() -> None:
    def broken(classes: int) -> nn.Module:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        build(broken)
