"""Every activation with every init and every position of batch normalization takes a few steps and stays finite."""

from __future__ import annotations

import functools
import math
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


@functools.cache
def option(group: str, name: str) -> Any:
    """Return what an option builds."""
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


def build(model: str, activation: str, init: str, batchnorm: str) -> nn.Module:
    torch.manual_seed(0)
    hidden = block(activation, batchnorm)
    network: Any
    if model == "mlp":
        network = MLP(SHAPE, CLASSES, hidden, width=8, depth=2)
    else:
        network = ConvNet(SHAPE, CLASSES, hidden, width=4, depth=2, pool_every=1, head="average")
    rule = option("init", init)
    assert isinstance(rule, Init)
    initialize(network, rule, activation=hidden.activation, output=network.output, seed=0, init_batch=batch()[0])
    return network


def train(network: nn.Module) -> list[float]:
    """Return the loss before each step and after the last."""
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


def problems(model: str, activation: str, init: str, batchnorm: str) -> list[str]:
    network = build(model, activation, init, batchnorm)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    losses = train(network)
    tensors = {name: tensor for name, tensor in network.state_dict().items() if not tensor.isfinite().all()}
    unmoved = [name for name, parameter in network.named_parameters() if torch.equal(before[name], parameter)]
    if init == "zeros":  # no gradient passes a weight of zero, but the output's bias needs none
        unmoved = [name for name in unmoved if name == "output.bias"]
    if init == "small_gaussian":  # gradients fade so much that a PReLU's slope of 0.25 does not change in float32
        unmoved = [name for name in unmoved if "activation" not in name]
    name = f"{model} {activation} {init} {batchnorm}"
    found = [f"{name}: {tensor} is not finite" for tensor in tensors]
    found += [f"{name}: {parameter} never moved" for parameter in unmoved]
    found += [] if all(map(math.isfinite, losses)) else [f"{name}: losses {losses}"]
    if init != "large_gaussian" and not losses[0] < 2 * math.log(CLASSES):
        found.append(f"{name}: the first loss {losses[0]} is not about that of chance")
    return found


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_mlp(activation: str) -> None:
    assert [p for init in INITS for batchnorm in BATCHNORMS for p in problems("mlp", activation, init, batchnorm)] == []


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_convnet(activation: str) -> None:
    assert [p for batchnorm in BATCHNORMS for p in problems("convnet", activation, "he", batchnorm)] == []


def test_grid_is_complete() -> None:
    assert len(ACTIVATIONS) >= 10
    assert {"zeros", "small_gaussian", "large_gaussian", "xavier", "he", "lsuv"} <= set(INITS)
    assert set(BATCHNORMS) == {"none", "before_activation", "after_activation"}
