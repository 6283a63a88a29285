"""Initial weights: their distributions, their bits, and LSUV."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.model import init as rules
from pipeline.model.activations import Maxout, gain
from pipeline.model.batchnorm import BatchNorm
from pipeline.model.block import HiddenBlock
from pipeline.model.convnet import ConvNet
from pipeline.model.init import Init, initialize
from pipeline.model.mlp import MLP
from pipeline.model.resnet import ResNet

NO_NORM = BatchNorm("none", 0.1, 1e-5)
NORM = BatchNorm("before_activation", 0.1, 1e-5)
SMALL = Init(rules.he, bias=0.0, output_scale=0.1, gain=None)


def init_network(
    network: nn.Module,
    init: Init,
    *,
    activation: Callable[[], nn.Module] = nn.ReLU,
    seed: int = 0,
    init_batch: Tensor | None = None,
) -> None:
    output = getattr(network, "output", None)
    initialize(network, init, activation=activation, output=output, seed=seed, init_batch=init_batch)


def layers(network: nn.Module) -> list[nn.Linear | nn.Conv2d]:
    return [m for m in network.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]


STANDARD_DEVIATIONS: dict[str, tuple[Callable[..., None], Callable[[int, int], float]]] = {
    "small_gaussian": (partial(rules.gaussian, std=0.01), lambda fan_in, fan_out: 0.01),
    "large_gaussian": (partial(rules.gaussian, std=1), lambda fan_in, fan_out: 1.0),
    "xavier": (rules.xavier, lambda fan_in, fan_out: 1 / math.sqrt(fan_in)),
    "he": (rules.he, lambda fan_in, fan_out: math.sqrt(2 / fan_in)),
    "glorot_normal": (rules.glorot_normal, lambda fan_in, fan_out: 1.5 * math.sqrt(2 / (fan_in + fan_out))),
    "glorot_uniform": (rules.glorot_uniform, lambda fan_in, fan_out: 1.5 * math.sqrt(2 / (fan_in + fan_out))),
}


@pytest.mark.parametrize("name", STANDARD_DEVIATIONS)
@pytest.mark.parametrize("convolutional", [False, True])
def test_standard_deviation(name: str, convolutional: bool) -> None:
    rule, formula = STANDARD_DEVIATIONS[name]
    layer = nn.Conv2d(20, 60, 5) if convolutional else nn.Linear(300, 100)
    fan_in, fan_out = (20 * 25, 60 * 25) if convolutional else (300, 100)
    init_network(layer, Init(rule, bias=0.0, output_scale=None, gain=1.5))
    expected, count = formula(fan_in, fan_out), layer.weight.numel()
    assert layer.weight.mean().item() == pytest.approx(0, abs=4 * expected / math.sqrt(count))
    assert layer.weight.std().item() == pytest.approx(expected, rel=4 / math.sqrt(2 * count))


def test_xavier_and_he_formulas() -> None:
    for rule, divisor in ((rules.xavier, math.sqrt(50)), (rules.he, math.sqrt(50 / 2))):
        layer = nn.Linear(50, 40)
        init_network(layer, Init(rule, bias=0.0, output_scale=None, gain=None), seed=3)
        randn = torch.randn(40, 50, generator=torch.Generator().manual_seed(3))
        torch.testing.assert_close(layer.weight.detach(), randn / divisor, rtol=1e-6, atol=0)


def test_glorot_uniform_range() -> None:
    layer = nn.Linear(300, 100)
    init_network(layer, Init(rules.glorot_uniform, bias=0.0, output_scale=None, gain=1.0))
    bound = math.sqrt(6 / 400)
    assert 0.999 * bound < layer.weight.abs().max().item() <= bound


@pytest.mark.parametrize("shape", [(30, 50), (50, 30), (24, 3, 3, 3), (40, 3, 3, 3)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    weight = torch.empty(shape)
    rules.orthogonal(weight, fan_in=1, fan_out=1, gain=1.5, generator=torch.Generator().manual_seed(0))
    q = weight.flatten(1) / 1.5
    product = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    torch.testing.assert_close(product, torch.eye(len(product)), atol=1e-5, rtol=0)


def test_zeros() -> None:
    network = MLP((1, 4, 4), 3, HiddenBlock(nn.ReLU, NO_NORM, 0.0), width=5, depth=2)
    init_network(network, Init(rules.zeros, bias=0.0, output_scale=None, gain=None))
    assert all(not p.any() for p in network.parameters())


def test_output_layer() -> None:
    network = MLP((1, 20, 20), 50, HiddenBlock(nn.ReLU, NO_NORM, 0.0), width=100, depth=1)
    init_network(network, Init(rules.zeros, bias=0.01, output_scale=0.3, gain=None))
    hidden, output = layers(network)
    assert not hidden.weight.any()
    assert (hidden.bias == 0.01).all()  # type: ignore[union-attr]
    assert not output.bias.any()  # type: ignore[union-attr]
    assert output.weight.std().item() == pytest.approx(0.3 / math.sqrt(100), rel=4 / math.sqrt(2 * 5000))
    init_network(network, Init(partial(rules.gaussian, std=1), bias=0.0, output_scale=None, gain=None))
    assert output.weight.std().item() == pytest.approx(1, rel=4 / math.sqrt(2 * 5000))


def test_other_parameters_are_not_changed() -> None:
    network = ConvNet((1, 8, 8), 3, HiddenBlock(nn.PReLU, NORM, 0.0), width=4, depth=2, pool_every=2, head="flatten")
    frozen = layers(network)[1]
    frozen.weight.requires_grad_(False).fill_(7)
    init_network(network, SMALL, activation=nn.PReLU)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert not module.bias.any()
        if isinstance(module, nn.PReLU):
            assert module.weight.item() == 0.25
    assert (frozen.weight == 7).all()


def test_output_layer_after_maxout() -> None:
    block = HiddenBlock(partial(Maxout, 2), NO_NORM, 0.0)
    network = MLP((6, 1, 1), 8, block, width=8, depth=1)
    init_network(network, Init(rules.orthogonal, 0.0, None, 1.0), activation=block.activation)
    product = network.output.weight @ network.output.weight.T  # two pieces of four rows would not be orthogonal
    torch.testing.assert_close(product.detach(), torch.eye(8), atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(200, 80), (80, 200)])
def test_maxout_pieces(shape: tuple[int, int]) -> None:
    width, fan_in = shape
    block = HiddenBlock(partial(Maxout, 3), NO_NORM, 0.0)
    network = MLP((fan_in, 1, 1), 4, block, width=width, depth=1)
    hidden = layers(network)[0]
    init_network(network, Init(rules.glorot_uniform, bias=0.0, output_scale=0.1, gain=1.0), activation=block.activation)
    bound = math.sqrt(6 / (width + fan_in))
    assert hidden.weight.shape == (3 * width, fan_in)
    assert 0.999 * bound < hidden.weight.abs().max().item() <= bound
    init_network(network, Init(rules.orthogonal, bias=0.0, output_scale=0.1, gain=1.0), activation=block.activation)
    for piece in hidden.weight.detach().split(width):
        product = piece @ piece.T if width <= fan_in else piece.T @ piece
        torch.testing.assert_close(product, torch.eye(len(product)), atol=1e-5, rtol=0)


def test_fans_of_grouped_convolution() -> None:
    fans: dict[str, float] = {}

    def record(weight: Tensor, **kwargs: float) -> None:
        weight.zero_()
        fans.update(kwargs)

    layer = nn.Conv2d(8, 16, 3, groups=4)
    init_network(layer, Init(record, bias=0.0, output_scale=None, gain=None), activation=nn.Tanh)
    assert (fans["fan_in"], fans["fan_out"]) == (2 * 9, 4 * 9)
    assert fans["gain"] == gain(nn.Tanh)


def test_he_keeps_the_mean_square() -> None:
    network = MLP((200, 1, 1), 2, HiddenBlock(nn.ReLU, NO_NORM, 0.0), width=200, depth=30)
    init_network(network, SMALL, seed=1)
    x = torch.randn(100, 200, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ratio = network.hidden[:-1](x).square().mean() / network.hidden[:1](x).square().mean()
    assert 1 / 5 < ratio.item() < 5  # 2^-29 with `xavier`


def test_seed() -> None:
    networks = []
    for seed, other in ((5, 1), (5, 2), (6, 1)):
        torch.manual_seed(other)
        network = MLP((1, 5, 5), 3, HiddenBlock(nn.ReLU, NO_NORM, 0.0), width=8, depth=2)
        before = torch.get_rng_state()
        init_network(network, SMALL, seed=seed)
        assert torch.equal(before, torch.get_rng_state())
        networks.append(torch.cat([p.detach().flatten() for p in network.parameters()]))
    assert torch.equal(networks[0], networks[1])
    assert not torch.equal(networks[0], networks[2])


def test_precision_does_not_matter() -> None:
    single, double = nn.Linear(30, 20), nn.Linear(30, 20).double()
    for layer in (single, double):
        init_network(layer, SMALL)
    assert torch.equal(single.weight.double(), double.weight)


LSUV = Init(rules.orthogonal, bias=0.0, output_scale=0.1, gain=None, data_dependent_step=rules.lsuv)


def network_and_batch(kind: str, norm: BatchNorm) -> tuple[nn.Module, Tensor]:
    block = HiddenBlock(nn.ReLU, norm, 0.5)
    init_batch = 3 + 2 * torch.randn(16, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    if kind == "mlp":
        return MLP((2, 8, 8), 5, block, width=[20, 30, 10], depth=3), init_batch
    if kind == "convnet":
        return ConvNet((2, 8, 8), 5, block, width=4, depth=3, pool_every=2, head="flatten"), init_batch
    return ResNet((2, 8, 8), 5, block, width=4, depth=1), init_batch


@pytest.mark.parametrize("kind", ["mlp", "convnet", "resnet"])
@pytest.mark.parametrize("position", ["none", "before_activation", "after_activation"])
@pytest.mark.parametrize("output_scale", [None, 0.1])
def test_lsuv_unit_variance(kind: str, position: str, output_scale: float | None) -> None:
    network, init_batch = network_and_batch(kind, BatchNorm(position, 0.1, 1e-5))
    init_network(network, Init(rules.orthogonal, 0.0, output_scale, None, rules.lsuv), init_batch=init_batch)
    variances: dict[nn.Module, float] = {}
    for layer in layers(network):
        layer.register_forward_hook(lambda m, _, y: variances.__setitem__(m, y.var(correction=0).item()))
    for module in network.modules():  # dropout off, batch norm by the batch: what the layer is scaled for
        module.train(isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)))
    network(init_batch)
    output = variances.pop(network.output)  # type: ignore[arg-type]
    assert len(variances) == len(layers(network)) - 1
    assert list(variances.values()) == pytest.approx([1.0] * len(variances), abs=1e-3)
    assert (output == pytest.approx(1, abs=1e-3)) == (output_scale is None)


def test_lsuv_changes_nothing_else() -> None:
    network, init_batch = network_and_batch("convnet", NORM)
    init_network(network, Init(rules.orthogonal, 0.0, 0.1, None), seed=4)
    drawn = [layer.weight.detach().clone() for layer in layers(network)]
    network.train()
    network.get_submodule("hidden.conv1").eval()
    modes = [module.training for module in network.modules()]
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    random = torch.get_rng_state()
    init_network(network, LSUV, seed=4, init_batch=init_batch)
    assert [module.training for module in network.modules()] == modes
    for name, value in network.named_buffers():
        assert torch.equal(value, buffers[name])
    assert torch.equal(random, torch.get_rng_state())
    for before, layer in zip(drawn, layers(network), strict=True):
        cosine = torch.cosine_similarity(before.flatten(), layer.weight.detach().flatten(), dim=0)
        assert cosine.item() == pytest.approx(1, abs=1e-5)
        assert not layer._forward_hooks


def test_lsuv_for_a_layer_used_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(20, 20)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(3 * self.layer(x).relu())

    network, init_batch = Twice(), torch.randn(50, 20, generator=torch.Generator().manual_seed(0))
    init_network(network, LSUV, init_batch=init_batch)
    assert network.layer(init_batch).var(correction=0).item() == pytest.approx(1, abs=1e-4)


def test_lsuv_on_constant_output() -> None:
    network, init_batch = network_and_batch("mlp", NO_NORM)
    init_network(network, LSUV, init_batch=torch.zeros_like(init_batch))
    assert all(torch.isfinite(p).all() for p in network.parameters())


def test_lsuv_without_a_batch() -> None:
    with pytest.raises(ValueError, match="init_batch"):
        init_network(nn.Linear(3, 2), LSUV)


@pytest.mark.parametrize(
    ("field", "value"), [("bias", math.nan), ("output_scale", -0.1), ("gain", 0), ("gain", math.inf), ("bias", "x")]
)
def test_invalid_fields(field: str, value: object) -> None:
    fields: dict[str, object] = {"weight": rules.he, "bias": 0.0, "output_scale": 0.1, "gain": None, field: value}
    with pytest.raises(UserError) as error:
        Init(**fields)  # type: ignore[arg-type]
    assert error.value.field == field


def test_negative_std() -> None:
    with pytest.raises(UserError) as error:
        init_network(nn.Linear(3, 2), Init(partial(rules.gaussian, std=-1), bias=0.0, output_scale=None, gain=None))
    assert error.value.field == "weight.std"
