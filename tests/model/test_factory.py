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


@pytest.mark.parametrize(
    ("nodes", "field"),
    [
        ({"activation": {"_target_": "torch.nn.ReLU"}}, "activation"),
        ({"activation": {"_target_": "torch.nn.ReLu", "_partial_": True}}, "activation._target_"),
        ({"regularization": {"dropout": 1.5}}, "regularization.dropout"),
        ({"batchnorm": {**option("batchnorm", "none"), "eps": 0}}, "batchnorm.eps"),
        ({"model": {**option("model", "mlp"), "width": 6, "depth": -1}}, "model.depth"),
        ({"model": {"_target_": None}}, "model._target_"),
    ],
)
def test_fields_of_errors(nodes: dict[str, Any], field: str) -> None:
    with pytest.raises(UserError) as error:
        uninitialized_network(config(**nodes), preprocessing=PREPROCESSING, classes=3)
    assert error.value.field == field
