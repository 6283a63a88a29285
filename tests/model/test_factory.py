"""Networks from nodes of a configuration: the same bits for the same seed, and errors on the right field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from pipeline.config.instantiate import instantiate
from pipeline.data import Affine, Images
from pipeline.errors import UserError
from pipeline.model import MLP
from pipeline.model.factory import build_hidden_block, make_network_factory, uninitialized_network

CONF = Path(__file__).parents[2] / "conf"
PREPROCESSING = Affine(torch.ones(1, 4, 4), torch.zeros(1, 4, 4))
BATCH = Images(torch.rand(20, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 3)


def option(group: str, name: str) -> dict[str, Any]:
    return yaml.safe_load((CONF / group / f"{name}.yaml").read_text())


class Own(nn.Module):
    """A user's network that has an argument `frozen` of its own."""

    def __init__(self, classes: int, frozen: object = None):
        super().__init__()
        self.body, self.head, self.given = nn.Linear(16, 4), nn.Linear(4, classes), frozen


class KeepsMode(Own):
    """Holds its body in evaluation mode."""

    def train(self, mode: bool = True) -> KeepsMode:
        super().train(mode)
        self.body.eval()
        return self


class Plain(Own):
    def __init__(self, classes: int):
        super().__init__(classes)


def config(**nodes: Any) -> dict[str, Any]:
    model = {**option("model", "mlp"), "width": 6, "depth": 2}
    block = {"activation": option("activation", "relu"), "batchnorm": option("batchnorm", "none")}
    return {"model": model, **block, "regularization": {"dropout": 0.25}, **nodes}


def weights(network: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()])


@pytest.mark.parametrize("init", ["he", "lsuv", None])
def test_seed(init: str | None) -> None:
    """The weights are a function of the seed, and torch's global generator is not changed."""
    factory = make_network_factory(
        config()["model"],
        block=build_hidden_block(config()),
        init=None if init is None else instantiate(option("init", init), "init"),
        seed=3,
        preprocessing=PREPROCESSING,
        classes=3,
        init_batch=BATCH,
    )
    state = torch.get_rng_state()
    first, again, other = weights(factory()), weights(factory(3)), weights(factory(4))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_uninitialized_network() -> None:
    network = uninitialized_network(config(), preprocessing=PREPROCESSING, classes=3)
    assert isinstance(network, MLP)
    assert network(torch.rand(5, 1, 4, 4)).shape == (5, 3)
    assert [m.p for m in network.modules() if isinstance(m, nn.Dropout)] == [0.25, 0.25]


def trained(network: nn.Module) -> set[str]:
    return {name for name, p in network.named_parameters() if p.requires_grad}


def test_frozen() -> None:
    """The init draws the weights of frozen layers too: what is frozen is the network that is trained otherwise."""
    plain, frozen = (
        make_network_factory(
            {**config()["model"], "frozen": names},
            block=build_hidden_block(config()),
            init=instantiate(option("init", "he"), "init"),
            seed=3,
            preprocessing=PREPROCESSING,
            classes=3,
            init_batch=None,
        )()
        for names in ([], ["hidden"])
    )
    assert torch.equal(weights(plain), weights(frozen))
    assert trained(plain) - trained(frozen) == {name for name in trained(plain) if name.startswith("hidden")}
    assert trained(frozen)


def test_frozen_in_networks_of_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list freezes; another value is for a constructor that takes it."""
    monkeypatch.setenv("PIPELINE_ALLOW", ",".join(f"{__name__}.{name}" for name in ("Own", "Plain", "KeepsMode")))

    def build(name: str, frozen: object) -> Any:
        node = {"_target_": f"{__name__}.{name}", "frozen": frozen}
        return uninitialized_network(config(model=node), preprocessing=PREPROCESSING, classes=3)

    assert trained(build("Own", ["body"])) == {"head.weight", "head.bias"}
    assert build("Own", ["body"]).given is None
    assert build("Own", False).given is False
    assert not build("KeepsMode", []).body.training, "a network's own `train` has been called"
    assert trained(build("Plain", [])) == {"body.weight", "body.bias", "head.weight", "head.bias"}
    with pytest.raises(UserError) as error:
        build("Plain", False)
    assert error.value.field == "model.frozen"


@pytest.mark.parametrize(
    ("nodes", "field"),
    [
        ({"activation": {"_target_": "torch.nn.ReLU"}}, "activation"),
        ({"activation": {"_target_": "torch.nn.ReLu", "_partial_": True}}, "activation._target_"),
        ({"regularization": {"dropout": 1.5}}, "regularization.dropout"),
        ({"batchnorm": {**option("batchnorm", "none"), "eps": 0}}, "batchnorm.eps"),
        ({"model": {**option("model", "mlp"), "width": 6, "depth": -1}}, "model.depth"),
        ({"model": {"_target_": None}}, "model._target_"),
        ({"model": {**option("model", "mlp"), "width": 6, "frozen": ["hiden"]}}, "model.frozen"),
        ({"model": {**option("model", "mlp"), "width": 6, "frozen": "hidden"}}, "model.frozen"),
    ],
)
def test_fields_of_errors(nodes: dict[str, Any], field: str) -> None:
    with pytest.raises(UserError) as error:
        uninitialized_network(config(**nodes), preprocessing=PREPROCESSING, classes=3)
    assert error.value.field == field
