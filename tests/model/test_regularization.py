"""L2 on the weights alone, its penalty, and training without dropout."""

from __future__ import annotations

import copy
import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pipeline.errors import UserError
from pipeline.model.activations import Maxout
from pipeline.model.batchnorm import BatchNorm
from pipeline.model.block import HiddenBlock
from pipeline.model.convnet import ConvNet
from pipeline.model.regularization import decay_groups, penalty, without_dropout

BLOCK = HiddenBlock(nn.PReLU, BatchNorm("after_activation", 0.1, 1e-5), 0.4)


def network() -> ConvNet:
    return ConvNet((1, 8, 8), 3, BLOCK, width=4, depth=2, pool_every=2, head="flatten")


def test_only_weights_decay() -> None:
    net = network()
    names = {parameter: name for name, parameter in net.named_parameters()}
    decayed, others = decay_groups(net, l2=0.01)
    weights = ["hidden.conv1.linear.weight", "hidden.conv2.linear.weight", "output.weight"]
    assert [names[p] for p in decayed["params"]] == weights
    assert decayed["weight_decay"] == 0.01
    assert others["weight_decay"] == 0
    assert {names[p] for p in others["params"]} == {name for name in names.values() if name not in weights}


def test_norms_do_not_decay() -> None:
    net = nn.Sequential(nn.LayerNorm((4, 4)), nn.GroupNorm(2, 4), nn.InstanceNorm1d(3, affine=True), nn.RMSNorm((2, 2)))
    (group,) = decay_groups(net, l2=1.0)
    assert group["weight_decay"] == 0
    assert len(group["params"]) == len(list(net.parameters())) == 7


def test_shared_and_frozen_parameters() -> None:
    a, b, c = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)
    b.weight = a.weight
    c.requires_grad_(False)
    net = nn.Sequential(a, b, c)
    decayed, others = decay_groups(net, l2=0.1)
    assert [id(p) for p in decayed["params"]] == [id(a.weight)]
    assert [id(p) for p in others["params"]] == [id(a.bias), id(b.bias)]
    assert penalty(net, 0.1).item() == pytest.approx(0.05 * a.weight.square().sum().item())


def test_penalty() -> None:
    net = network()
    expected = sum(w.square().sum() for name, w in net.named_parameters() if name.endswith("linear.weight"))
    expected = 0.5 * 0.3 * (expected + net.output.weight.square().sum())
    torch.testing.assert_close(penalty(net, 0.3), expected)
    assert penalty(net, 0.0).item() == 0
    assert penalty(nn.Sequential(nn.BatchNorm1d(3)), 0.3).item() == penalty(nn.ReLU(), 0.3).item() == 0


def test_weight_decay_is_the_gradient_of_the_penalty() -> None:
    one = network()
    with torch.no_grad():
        one.output.weight[0].zero_()  # the norm's own gradient is fine at zero, too
    other = copy.deepcopy(one)
    x, y = torch.randn(6, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2])
    for net, groups, extra in ((one, decay_groups(one, l2=0.2), 0.0), (other, [{"params": other.parameters()}], 0.2)):
        torch.manual_seed(0)
        optimizer = torch.optim.SGD(groups, lr=0.5)
        (F.cross_entropy(net(x), y) + penalty(net, extra)).backward()
        optimizer.step()
    for name, value in one.named_parameters():
        torch.testing.assert_close(value, other.get_parameter(name), msg=name)


def test_penalty_of_zero_weights() -> None:
    layer = nn.Linear(3, 2)
    nn.init.zeros_(layer.weight)
    penalty(layer, 0.5).backward()
    assert layer.weight.grad is not None
    assert not layer.weight.grad.any()


@pytest.mark.parametrize("l2", [-1e-4, math.nan, "much"])
def test_invalid_l2(l2: object) -> None:
    with pytest.raises(UserError) as error:
        decay_groups(network(), l2=l2)  # type: ignore[arg-type]
    assert error.value.field == "l2"


def test_without_dropout() -> None:
    net = nn.Sequential(nn.Dropout(0.4), nn.Dropout2d(0.3), nn.AlphaDropout(0.2), nn.FeatureAlphaDropout(0.1)).train()
    x = torch.randn(6, 2, 8, 8)
    with without_dropout(net):
        assert torch.equal(net(x), x)
        assert net.training
    assert [m.p for m in net] == [0.4, 0.3, 0.2, 0.1]
    assert not torch.equal(net(x), x)
    with pytest.raises(RuntimeError), without_dropout(net):  # also after an error inside
        raise RuntimeError
    assert [m.p for m in net] == [0.4, 0.3, 0.2, 0.1]


def test_penalty_of_maxout_layers() -> None:
    block = HiddenBlock(partial(Maxout, 2), BatchNorm("none", 0.1, 1e-5), 0.0)
    layer = block.make_dense(3, 4)
    assert penalty(layer, 2.0).item() == pytest.approx(layer.linear.weight.square().sum().item())  # type: ignore[operator, union-attr]
