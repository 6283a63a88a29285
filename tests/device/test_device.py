"""The simulated device itself: what it computes, what it refuses, and what it draws."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.simulated_device import NAME as DEVICE
from tests.simulated_device import SimulatedModule

ONE, TWO = torch.ones(2, 3), torch.full((2, 3), 2.0)
INDEX = torch.tensor([1, 0])


def make_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.PReLU(), nn.MaxPool2d(2), nn.Dropout(0.5), nn.Flatten(),
        nn.Linear(16, 3),
    )  # fmt: skip


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW", "Adagrad", "RMSprop"])
@pytest.mark.parametrize("fused", [True, False])
def test_training_has_bits_of_cpu(optimizer: str, fused: bool) -> None:
    networks = [make_network(), make_network().to(DEVICE)]
    options: dict[str, Any] = {"fused": fused} if optimizer != "RMSprop" else {"capturable": False}
    optimizers = [getattr(torch.optim, optimizer)(n.parameters(), lr=0.01, **options) for n in networks]
    images, labels = torch.rand((8, 1, 4, 4)), torch.arange(8) % 3
    for step in range(3):
        for network, update in zip(networks, optimizers, strict=True):
            torch.manual_seed(step)  # of both devices: dropout draws from that of the input
            device = network[0].weight.device
            update.zero_grad()
            F.cross_entropy(network(images.to(device)), labels.to(device)).backward()
            update.step()
    cpu, simulated = (network.state_dict() for network in networks)
    assert all(tensor.device == torch.device(DEVICE, 0) for tensor in simulated.values())
    assert [name for name, tensor in cpu.items() if not torch.equal(tensor, simulated[name].cpu())] == []


@pytest.mark.parametrize(
    "mix",
    [
        lambda x, host: x + host,
        lambda x, host: host + x,
        lambda x, host: x.mul_(host),
        lambda x, host: x @ host.T,
        lambda x, host: torch.cat([x, host]),
        lambda x, host: torch.stack([x.sum(), host.sum()]),
        lambda x, host: torch.where(x > 0, x, host),
        lambda x, host: torch.equal(x, host),
        lambda x, host: x.index_select(0, INDEX),
        lambda x, host: x.gather(0, INDEX[None]),
        lambda x, host: host[INDEX.to(DEVICE)],
        lambda x, host: x.index_put_((INDEX,), host),
        lambda x, host: host + x.sum(),
        lambda x, host: F.cross_entropy(x, INDEX),
        lambda x, host: nn.Linear(3, 2)(x),
        lambda x, host: nn.Linear(3, 2).to(DEVICE)(host),
        lambda x, host: nn.BatchNorm1d(3)(x),
        lambda x, host: nn.Conv1d(3, 1, 1)(x[..., None]),
        lambda x, host: nn.Conv1d(3, 1, 1).to(DEVICE)(host[..., None]),
        lambda x, host: torch.rand(2, device=DEVICE, generator=torch.Generator()),
    ],
)
def test_mix_is_refused(mix: Callable[[Tensor, Tensor], Any]) -> None:
    with pytest.raises(RuntimeError, match="device"):
        mix(TWO.to(DEVICE), ONE)


@pytest.mark.parametrize("read", [lambda x: x.numpy(), lambda x: x.__array__()])
def test_no_array_of_device_memory(read: Callable[[Tensor], Any]) -> None:
    with pytest.raises(TypeError):
        read(ONE.to(DEVICE))


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        (lambda x: x + torch.tensor(1.0), [[3.0] * 3] * 2),
        (lambda x: torch.tensor(1.0) - x, [[-1.0] * 3] * 2),
        (lambda x: torch.zeros(2, 3).copy_(x), [[2.0] * 3] * 2),
        (lambda x: x.copy_(ONE), [[1.0] * 3] * 2),
        (lambda x: x[INDEX], [[2.0] * 3] * 2),
        (lambda x: x[x > 1].sum(), 12.0),
        (lambda x: x.cpu().add(1), [[3.0] * 3] * 2),
        (lambda x: x.to("cpu", torch.float64, non_blocking=True), [[2.0] * 3] * 2),
        (lambda x: torch.linalg.eigh(torch.eye(2, device=DEVICE))[0], [1.0, 1.0]),
        (lambda x: torch.tensor([1, 1], device=DEVICE).bincount(minlength=3), [0, 2, 0]),
    ],
)
def test_what_a_gpu_allows(allowed: Callable[[Tensor], Tensor], expected: Any) -> None:
    assert allowed(TWO.to(DEVICE)).tolist() == expected


def test_views_share_memory() -> None:
    x = torch.zeros(2, 3).to(DEVICE)
    x[1].fill_(5)
    x.view(6)[0] = 7
    x.t()[2, 0] += 1
    assert x.tolist() == [[7, 0, 1], [5, 5, 5]]
    assert x[1, 0].item() == 5


def test_draws_of_the_device(simulated_gpu: SimulatedModule) -> None:
    """They follow from its own seed, and leave the generator of the CPU as it is."""
    torch.manual_seed(3)
    host, first = torch.get_rng_state(), [torch.randperm(9, device=DEVICE), torch.rand(9, device=DEVICE)]
    assert torch.equal(torch.get_rng_state(), host)
    simulated_gpu.manual_seed(3)
    torch.rand(5)
    again = [torch.randperm(9, device=DEVICE), torch.rand(9, device=DEVICE)]
    assert all(map(torch.equal, first, again))
    assert not torch.equal(again[1], torch.rand(9, device=DEVICE))


def test_copies() -> None:
    network = make_network().to(DEVICE)
    other = copy.deepcopy(network)
    with torch.no_grad():
        other[0].weight.zero_()
    assert network[0].weight.abs().sum().item() > 0
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    for location, device in ((None, DEVICE), ("cpu", "cpu"), (DEVICE, DEVICE)):
        file.seek(0)
        loaded = torch.load(file, map_location=location, weights_only=True)
        assert {tensor.device.type for tensor in loaded.values()} == {device}
        assert all(torch.equal(tensor, loaded[name].to(DEVICE)) for name, tensor in network.state_dict().items())


def test_module_moves_in_place() -> None:
    network = make_network()
    parameters = list(network.parameters())
    network.to(DEVICE)
    assert {parameter.device.type for parameter in parameters} == {DEVICE}
    assert all(one is other for one, other in zip(parameters, network.parameters(), strict=True))


def test_error_of_a_pass_is_seen() -> None:
    """Moving a network away after an error, whose traceback holds the graph, does not hide the error."""
    network = make_network().to(DEVICE)

    def fail() -> None:
        logits = network(torch.rand((8, 1, 4, 4), device=DEVICE))
        raise ValueError(logits)

    def fail_and_move() -> None:
        try:
            fail()
        except ValueError:
            network.to("cpu")
            raise

    with pytest.raises(ValueError, match="grad_fn"):
        fail_and_move()


def test_autocast() -> None:
    network, images = make_network().to(DEVICE), torch.rand((8, 1, 4, 4), device=DEVICE)
    with torch.autocast(DEVICE, dtype=torch.bfloat16):
        logits = network(images)
        loss = F.cross_entropy(logits, torch.zeros(8, dtype=torch.long, device=DEVICE))
    loss.backward()
    assert (logits.dtype, loss.dtype) == (torch.bfloat16, torch.float32)
    assert {parameter.grad.dtype for parameter in network.parameters() if parameter.grad is not None} == {torch.float32}
    with torch.autocast(DEVICE, enabled=False):
        assert network(images).dtype == torch.float32
