"""The stage on networks that are not trained as they look: what is found is first, and sound twins stay silent."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.checks import Finding
from pipeline.errors import UserError
from pipeline.model.frozen import freeze
from pipeline.stages.sanity import Sanity, output_shape_signals
from pipeline.workflow.outcome import Outcome
from tests.small_run import MakeRun


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 32, bias=False), nn.BatchNorm1d(32), nn.ReLU())
        self.output = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.body(x))


class InList(Net):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = [nn.Linear(32, 32), nn.Linear(32, 32)]

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.blocks[1](self.blocks[0](self.body(x)).relu()).relu())


class NothingRegistered(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = (nn.Flatten(), nn.Linear(64, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers[1](self.layers[0](x))


class Detached(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).detach()


class ByNumpy(Net):
    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(super().forward(x).detach().numpy())


def run(make_run: MakeRun, make: Callable[[], nn.Module] = Net, *overrides: str, **changes: Any) -> Outcome:
    def network() -> nn.Module:
        torch.manual_seed(0)
        return make()

    stage = Sanity(examples=64, fit_examples=32, fit_steps=20, fit_rounds=6, fit_lr=0.002, penalty_factors=[1])
    return stage(*make_run(*overrides).replace(make_network=network, **changes), [])


def found(outcome: Outcome) -> list[tuple[str, str]]:
    return [(finding.check, finding.severity) for finding in outcome.findings]


def only(outcome: Outcome) -> Finding:
    assert len(outcome.findings) == 1, found(outcome)
    return outcome.findings[0]


def test_sound_network(small_run: MakeRun) -> None:
    outcome = run(small_run)
    assert outcome.findings == ()
    empty = ("unregistered_parameters", "loss_parameters", "optimizer_missing", "gradients_kept", "gradients_lost")
    assert [outcome.metrics[key] for key in empty] == [[]] * 5
    assert outcome.metrics["optimizer_foreign"] == 0


@pytest.mark.parametrize(("network", "where"), [(InList, "blocks[0].bias"), (NothingRegistered, "layers[1].bias")])
def test_unregistered_layers(small_run: MakeRun, network: type[nn.Module], where: str) -> None:
    finding = only(run(small_run, network))
    assert (finding.check, finding.severity, finding.where) == ("unregistered_parameters", "failure", where)
    assert finding.remedy == ()
    assert "ModuleList" in finding.code


def test_unregistered_layers_on_another_device() -> None:
    """There the network cannot even run: what cannot be moved is named."""
    with pytest.raises(UserError, match=r"blocks\[0\].weight") as error:
        output_shape_signals(InList().to("meta"), torch.zeros(4, 1, 8, 8, device="meta"))
    assert error.value.field == "model"


@pytest.mark.parametrize("network", [Detached, ByNumpy])
def test_detached_output(small_run: MakeRun, network: type[nn.Module]) -> None:
    finding = run(small_run, network).findings[0]
    assert finding.check == "unreachable_parameters"
    assert finding.measured["without_gradient"] == finding.measured["parameters"]
    assert finding.remedy == ()
    assert "return" in finding.code


class TwoOutputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.output = nn.Linear(64, 2)
        nn.init.normal_(self.output.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(x.flatten(1))


@pytest.mark.parametrize("seed", ["seed=0", "seed=1"])
def test_hinge_on_two_balanced_classes(small_run: MakeRun, seed: str) -> None:
    """While every margin is active, the gradients of biases are differences of the classes' counts."""
    small = small_run("loss=hinge", seed)
    data = small.components.data
    two = {name: images.select((images.labels < 2).nonzero()[:, 0]) for name, images in data.splits.items()}
    stage = Sanity(examples=32, fit_examples=16, fit_steps=20, fit_rounds=6, fit_lr=0.002, penalty_factors=[1])
    two_classes = dataclasses.replace(data, **two, classes=data.classes[:2])
    outcome = stage(*small.replace(data=two_classes, make_network=TwoOutputs), [])
    assert outcome.passed
    assert outcome.metrics["zero_gradients"] == []


class Keeps(torch.optim.SGD):
    def zero_grad(self, set_to_none: bool = True) -> None:
        pass


class ClearsFirst(torch.optim.SGD):
    def step(self, closure: Any = None) -> Any:
        self.zero_grad()
        return super().step(closure)


@pytest.mark.parametrize(
    ("make_optimizer", "check"),
    [
        (lambda p: Keeps(p, lr=0.1), "gradients_not_cleared"),
        (lambda p: ClearsFirst(p, lr=0.1), "gradients_cleared_early"),
        (lambda p: torch.optim.SGD(p, lr=0.1), None),
    ],
)
def test_optimizers(small_run: MakeRun, make_optimizer: Any, check: str | None) -> None:
    def factory(parameters: Any) -> torch.optim.Optimizer:
        return make_optimizer(parameters)

    outcome = run(small_run, make_optimizer=factory)
    assert found(outcome) == ([(check, "failure")] if check else [])


def test_an_optimizer_that_drops_parameters(small_run: MakeRun) -> None:
    def without_biases(groups: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(groups[:1], lr=0.1)

    finding = run(small_run, make_optimizer=without_biases).findings[0]
    assert (finding.check, finding.where) == ("optimizer_parameters", "body.2.weight")
    assert finding.measured == {"missing": 3, "foreign": 0, "parameters": 5}


def test_an_optimizer_that_cannot_be_built(small_run: MakeRun) -> None:
    """LBFGS takes one group only."""

    def lbfgs(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.LBFGS(parameters)

    with pytest.raises(UserError) as error:
        run(small_run, make_optimizer=lbfgs)
    assert error.value.field == "optimizer"


def frozen_body() -> Net:
    network = Net()
    network.body.requires_grad_(False)
    return network


class FrozenInEvaluation(Net):
    def __init__(self) -> None:
        super().__init__()
        self.body.requires_grad_(False)

    def train(self, mode: bool = True) -> FrozenInEvaluation:
        super().train(mode)
        self.body.eval()
        return self


def declared_body() -> Net:
    network = Net()
    freeze(network, ["body"])
    return network


def frozen_output() -> Net:
    network = Net()
    network.output.requires_grad_(False)
    return network


def test_frozen_layers(small_run: MakeRun) -> None:
    moving = only(run(small_run, frozen_body))
    assert (moving.check, moving.severity, moving.remedy) == ("frozen_batchnorm", "warning", ("model.frozen=[body]",))
    kept = only(run(small_run, FrozenInEvaluation))
    assert (kept.check, kept.severity, kept.remedy) == ("frozen_weights", "info", ("model.frozen=[body]",))
    inside = only(run(small_run, frozen_output))
    assert (inside.check, inside.severity, inside.where) == ("frozen_weights", "warning", "output.weight")


def test_frozen_on_purpose(small_run: MakeRun) -> None:
    small = small_run()
    config = {**small.components.config, "model": {**small.components.config["model"], "frozen": ["body"]}}
    outcome = run(small_run, declared_body, config=config)
    assert outcome.findings == ()
    assert outcome.metrics["declared_frozen"] == outcome.metrics["frozen_parameters"]
    undeclared = only(run(small_run, declared_body))
    assert (undeclared.check, undeclared.severity) == ("frozen_weights", "info")
