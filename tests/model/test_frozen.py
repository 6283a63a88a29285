"""`model.frozen`: what it names keeps values and statistics, through modes, copies, checkpoints and compiled code."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.model import decay_groups, recompute_batchnorm_statistics
from pipeline.model.batchnorm import batch_statistics_mode
from pipeline.model.frozen import freeze, frozen_names, frozen_parts

X = 2 + torch.randn(16, 1, 4, 4, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.BatchNorm1d(12, affine=False)
        )
        self.norm, self.head = nn.BatchNorm1d(12), nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.backbone(x)))


def frozen(*names: str) -> Net:
    network = Net()
    freeze(network, names)
    return network


def state(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def changed(network: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}


def train_a_step(network: nn.Module) -> None:
    network.train()
    optimizer = torch.optim.SGD(decay_groups(network, l2=0.1), lr=0.1)
    network(X).square().mean().backward()
    optimizer.step()


def test_only_the_rest_is_trained() -> None:
    network = frozen("backbone")
    before = state(network)
    train_a_step(network)
    after = changed(network, before)
    assert {name.partition(".")[0] for name in after} == {"norm", "head"}
    assert {"norm.running_mean", "head.weight"} <= after


def test_training_mode_normalizes_by_running_statistics() -> None:
    network = frozen("backbone")
    with torch.no_grad():
        trained, evaluated = network.train().backbone(X), network.eval().backbone(X)
    assert torch.equal(trained, evaluated)


@pytest.mark.parametrize("names", [["norm"], ["norm.weight", "norm.bias"]])
def test_a_batchnorm_by_its_name_or_its_parameters(names: list[str]) -> None:
    network = frozen(*names).train()
    assert not network.norm.training
    assert network.backbone[1].training


def test_half_of_a_batchnorm_still_learns() -> None:
    network = frozen("norm.weight").train()
    assert network.norm.training
    assert [p.requires_grad for p in network.norm.parameters()] == [False, True]


def test_names_are_whole_words() -> None:
    network = Net()
    network.head2 = nn.Linear(2, 2)
    freeze(network, ["head"])
    assert network.head2.weight.requires_grad


def test_new_batchnorms_see_a_batch_before_they_are_frozen() -> None:
    """Those that have statistics keep them, and so do those that are not frozen."""
    network, seen = Net(), nn.BatchNorm2d(3)
    seen.running_mean.fill_(0.5)  # type: ignore[union-attr]
    network.norm.running_mean.fill_(0.25)  # type: ignore[union-attr]
    network.backbone[1] = seen
    before = state(network)
    freeze(network, ["backbone"], X)
    assert changed(network, before) == {"backbone.4.running_mean", "backbone.4.running_var"}
    new = Net()
    freeze(new, ["backbone"], X)
    torch.testing.assert_close(new.train().backbone(X).mean(0), torch.zeros(12), atol=0.02, rtol=0)
    before = state(new)
    freeze(new, ["norm"], X)
    assert changed(new, before) == {"norm.running_mean", "norm.running_var"}


def test_copies_stay_frozen() -> None:
    network = frozen("backbone")
    twin = copy.deepcopy(network)
    for one in (network, twin):
        before = state(one)
        train_a_step(one)
        assert not {name for name in changed(one, before) if name.startswith("backbone")}
    assert not any(module.training for module in twin.train().backbone if isinstance(module, nn.BatchNorm2d))


def test_checkpoints_have_the_same_names() -> None:
    network, plain = frozen("backbone"), Net()
    assert list(network.state_dict()) == list(plain.state_dict())
    network.load_state_dict(plain.state_dict())
    plain.load_state_dict(network.state_dict())


def test_compiled_code() -> None:
    network = frozen("backbone")
    before = state(network)
    compiled: Any = torch.compile(network, backend="eager")
    network.train()
    torch.testing.assert_close(compiled(X), network(X))
    assert not {name for name in changed(network, before) if name.startswith("backbone")}


def test_statistics_of_the_batch_are_not_for_frozen_parts() -> None:
    """What is measured with the batch's statistics is what the training computes."""
    network = frozen("backbone")
    with batch_statistics_mode(network.eval()):
        assert [network.backbone[1].training, network.norm.training] == [False, True]
    assert not any(module.training for module in network.modules())


def test_recomputing_leaves_frozen_statistics() -> None:
    network = frozen("backbone")
    before = state(network)
    recompute_batchnorm_statistics(network, [X, X[:7]])
    assert changed(network, before) == {"norm.running_mean", "norm.running_var"}


@pytest.mark.parametrize("name", ["bckbone", "backbone.1.wieght", "back", "", 3, "backbone.2"])
def test_unknown_names(name: Any) -> None:
    with pytest.raises(UserError, match=repr(name)) as error:
        freeze(Net(), ["head", name])
    assert error.value.field == "frozen"


def test_the_name_that_was_meant() -> None:
    with pytest.raises(UserError, match="Did you mean 'backbone'"):
        freeze(Net(), ["bckbone"])


def test_something_must_be_trained() -> None:
    with pytest.raises(UserError, match="left to train") as error:
        freeze(Net(), ["backbone", "norm", "head"])
    assert error.value.field == "frozen"


def test_frozen_names() -> None:
    assert frozen_names({"frozen": ["a", "b"]}) == ["a", "b"]
    assert frozen_names({}) == frozen_names({"frozen": False}) == []


def chosen(*names: str) -> set[str]:
    network = frozen(*names)
    return {name for name, p in network.named_parameters() if not p.requires_grad}


ALL_BUT_HEAD = {f"{layer}.{part}" for layer in ("backbone.0", "backbone.1", "norm") for part in ("weight", "bias")}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["!head"], ALL_BUT_HEAD),
        (["*", "!head"], ALL_BUT_HEAD),
        (["backbone.*"], {name for name in ALL_BUT_HEAD if name.startswith("backbone")}),
        (["backbone.[0-9].bias"], {"backbone.0.bias", "backbone.1.bias"}),
        (["back*", "!backbone.1"], {"backbone.0.weight", "backbone.0.bias"}),
        (["*", "!head", "head.bias"], ALL_BUT_HEAD | {"head.bias"}),
        (["*.bias"], {"backbone.0.bias", "backbone.1.bias", "norm.bias", "head.bias"}),
    ],
)
def test_patterns(names: list[str], expected: set[str]) -> None:
    assert chosen(*names) == expected
    assert set(frozen_parts(Net(), names)) == expected


def test_batchnorms_of_a_pattern_stand_still() -> None:
    network = frozen("!head").train()
    assert [m.training for m in (network.backbone[1], network.backbone[4], network.norm)] == [False] * 3
    assert frozen("*", "!norm", "!head").train().norm.training


@pytest.mark.parametrize("names", [["!haed"], ["laye*"], ["!"], [""], [3], ["backbone.*", "!hed"]])
def test_patterns_that_match_nothing(names: list[Any]) -> None:
    with pytest.raises(UserError) as error:
        freeze(Net(), names)
    assert error.value.field == "frozen"
