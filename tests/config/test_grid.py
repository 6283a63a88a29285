"""Every activation with every init and every place of batch norm takes a few steps without coming apart."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.config.instantiate import instantiate
from pipeline.model import MLP, ConvNet, HiddenBlock, Init, initialize

CONF = Path(__file__).parents[2] / "conf"
STEPS, LR, N, CLASSES, SHAPE = 3, 0.01, 32, 5, (2, 6, 6)


def options(group: str) -> list[str]:
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


ACTIVATIONS, BATCHNORMS = options("activation"), options("batchnorm")
INITS = [name for name in options("init") if name != "model_default"]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@functools.cache
def option(group: str, name: str) -> Any:
    """What an option of the menu builds."""
    node = OmegaConf.to_container(OmegaConf.load(CONF / group / f"{name}.yaml"))
    assert isinstance(node, dict)
    return instantiate({str(key): value for key, value in node.items() if key != "recompute"}, group)


@functools.cache
def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn((N, *SHAPE), generator=generator)
    return images, torch.arange(N) % CLASSES


def block(activation: str, batchnorm: str) -> HiddenBlock:
    return HiddenBlock(
        activation=option("activation", activation), batchnorm=option("batchnorm", batchnorm), dropout=0.0
    )


def built(model: str, activation: str, init: str, batchnorm: str) -> nn.Module:
    torch.manual_seed(0)
    hidden = block(activation, batchnorm)
    network: Any
    if model == "mlp":
        network = MLP(SHAPE, CLASSES, hidden, width=8, depth=2)
    else:
        network = ConvNet(SHAPE, CLASSES, hidden, width=4, depth=2, pool_every=1, head="average")
    rule = option("init", init)
    assert isinstance(rule, Init)
    initialize(network, rule, activation=hidden.activation, output=network.output, seed=0, probe=batch()[0])
    return network


def trained(network: nn.Module) -> list[float]:
    """The loss before each step and after the last."""
    images, labels = batch()
    optimizer = torch.optim.SGD(network.parameters(), lr=LR)
    losses = []
    for _ in range(STEPS):
        loss = F.cross_entropy(network(images), labels)
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return [*losses, float(F.cross_entropy(network(images), labels))]


def check(network: nn.Module, *, init: str) -> None:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    losses = trained(network)
    assert all(math.isfinite(loss) for loss in losses), losses
    for name, tensor in network.state_dict().items():
        assert tensor.isfinite().all(), f"{name} is not finite"
    if init != "large_gaussian":
        assert losses[0] < 2 * math.log(CLASSES), "a first loss about that of chance"
    still = [name for name, parameter in network.named_parameters() if torch.equal(before[name], parameter)]
    if init == "zeros":  # no gradient passes a weight of zero, but the output's bias needs none
        assert "output.bias" not in still
        return
    if init == "small_gaussian":  # gradients fade so much that a PReLU's slope of 0.25 does not feel them in float32
        still = [name for name in still if "activation" not in name]
    assert still == [], "these parameters never moved"


@pytest.mark.parametrize("batchnorm", BATCHNORMS)
@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_mlp(activation: str, init: str, batchnorm: str) -> None:
    check(built("mlp", activation, init, batchnorm), init=init)


@pytest.mark.parametrize("batchnorm", BATCHNORMS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_convnet(activation: str, batchnorm: str) -> None:
    check(built("convnet", activation, "he", batchnorm), init="he")


def test_the_grid_is_the_whole_menu() -> None:
    assert len(ACTIVATIONS) >= 10
    assert {"zeros", "small_gaussian", "large_gaussian", "xavier", "he", "lsuv"} <= set(INITS)
    assert set(BATCHNORMS) == {"none", "before_activation", "after_activation"}
