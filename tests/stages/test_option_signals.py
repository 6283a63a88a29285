"""What a network ignores of the configuration is known, said where the command asks for it, and never proposed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

import pipeline
from pipeline.stages.option_signals import BLOCK_KEYS, option_signals

HERE = __name__
SANITY = ("data=digits", "data.limit=300", "stage=[sanity]", "report=false")
OWN = (*SANITY, "model=custom")


class Plain(nn.Module):
    """A network with an activation of its own and no batchnorm."""

    def __init__(self, input_shape: tuple[int, int, int], classes: int, gain: float = 1.0):
        super().__init__()
        channels, height, width = input_shape
        self.gain = gain
        self.hidden = nn.Linear(channels * height * width, 32)
        self.output = nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.gain * self.hidden(x.flatten(1)).relu())


class Normalized(Plain):
    """The same with batchnorm, and no layer that is called `output`."""

    def __init__(self, input_shape: tuple[int, int, int], classes: int):
        super().__init__(input_shape, classes)
        self.norm, self.head = nn.BatchNorm1d(32), nn.Linear(32, classes)
        del self.output

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.hidden(x.flatten(1))).relu())


class FromBlock(nn.Module):
    """A network of the configured block."""

    def __init__(self, input_shape: tuple[int, int, int], classes: int, block: Any):
        super().__init__()
        channels, height, width = input_shape
        self.hidden, self.output = block.make_dense(channels * height * width, 32), nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.hidden(x.flatten(1)))


class Linear(Plain):
    """A network whose units are copies of each other until it gets another init."""

    def __init__(self, input_shape: tuple[int, int, int], classes: int):
        super().__init__(input_shape, classes)
        self.last = nn.Linear(32, 32)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.last(self.hidden(x.flatten(1))))


def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: type[nn.Module] | None, *overrides: str) -> Any:
    target = [] if network is None else [f"model._target_={HERE}.{network.__name__}"]
    monkeypatch.setenv("PIPELINE_ALLOW", ",".join(text.partition("=")[2] for text in target))
    return pipeline.run([*overrides, *target, f"outputs={tmp_path}"], quiet=True)


@pytest.mark.parametrize(
    ("network", "overrides", "named"),
    [
        (Plain, (), []),
        (Plain, ("activation=tanh",), ["activation=tanh"]),
        (Plain, ("batchnorm=none", "regularization=none"), []),  # they hold
        (Plain, ("batchnorm=after_activation",), ["batchnorm=after_activation"]),
        (Plain, ("regularization=dropout",), ["regularization.dropout=0.3"]),
        (Plain, ("regularization.dropout=0.2",), ["regularization.dropout=0.2"]),
        (Plain, ("regularization=l2", "regularization.l2=0.1"), []),
        (Plain, ("init=he", "init.output_scale=0.5"), []),
        (Normalized, ("batchnorm=none",), ["batchnorm=none"]),
        (Normalized, ("init=he", "init.output_scale=0.5"), ["init.output_scale=0.5"]),
        (Normalized, ("batchnorm.recompute=true",), []),
        (FromBlock, ("activation=tanh", "batchnorm=none", "regularization=dropout"), []),
    ],
)
def test_own_network(
    network: type[nn.Module], overrides: tuple[str, ...], named: list[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    outcome = run(tmp_path, monkeypatch, network, *OWN, *overrides).outcomes[0]
    assert outcome.signals["ignored_options"] == named
    assert [f.where for f in outcome.findings if f.check == "ignored_options"] == [
        text.partition("=")[0] for text in named[:1]
    ]


@pytest.mark.parametrize(
    ("overrides", "ignored"),
    [
        (("model=mlp",), []),
        (("model=convnet",), []),
        (("model=resnet",), []),
        (("model=mlp", "model.depth=0"), list(BLOCK_KEYS)),
    ],
)
def test_built_in_networks(
    overrides: tuple[str, ...], ignored: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = run(tmp_path, monkeypatch, None, *SANITY, *overrides, "activation=elu").outcomes[0]
    assert outcome.signals["ignored_keys"] == ignored
    assert outcome.signals["options"]["activation"] == "elu"
    assert outcome.signals["ignored_options"] == (["activation=elu"] if ignored else [])


def test_networks_of_torchvision_have_no_block() -> None:
    """Whatever their layers are called."""
    network = nn.ModuleDict({"activation": nn.ReLU()})
    config = {"model": {"_target_": "pipeline.model.torchvision_model.torchvision_model"}}
    assert option_signals(config, network)["ignored_keys"] == [*BLOCK_KEYS, "init.output_scale"]


def test_no_remedy_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The built-in network gets an override for a missing activation, one's own a change of code."""
    result = run(tmp_path, monkeypatch, Linear, *OWN)
    (found,) = [f for f in result.findings if f.check == "missing_nonlinearity"]
    assert found.remedy == ()
    assert "nn.ReLU" in found.code


def test_no_remedy_is_in_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(tmp_path, monkeypatch, Linear, *OWN, "init=he", "checks.rules.input_ignored.min_margin=0.999")
    (found,) = [f for f in result.findings if f.check == "input_ignored"] or result.findings[:1]
    assert not {"init=he", "activation=relu", "batchnorm=before_activation"} & set(found.remedy)
