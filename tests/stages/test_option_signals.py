"""What a network ignores of the configuration is known, said where the command asks for it, and never proposed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pipeline
from pipeline.config.unused_options import BLOCK_KEYS
from pipeline.errors import UserError
from pipeline.stages.option_signals import option_signals

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


class IgnoresBlock(Plain):
    """A network that names the block and builds nothing with it."""

    def __init__(self, input_shape: tuple[int, int, int], classes: int, block: Any):
        super().__init__(input_shape, classes)


class NoLayers(nn.Module):
    """A network whose weights no init draws."""

    def __init__(self, input_shape: tuple[int, int, int], classes: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(input_shape[0] * input_shape[1] * input_shape[2], classes))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight


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
        (Plain, ("regularization=l2", "regularization.l2=0.1"), []),
        (Plain, ("init=he", "init.output_scale=0.5"), []),
        (Plain, ("init=orthogonal", "activation=tanh"), ["activation=tanh"]),
        (IgnoresBlock, ("activation=tanh",), ["activation=tanh"]),
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
    ("network", "overrides", "field"),
    [
        (Plain, ("activation=tanh",), "activation"),
        (Plain, ("activation=relu",), "activation"),  # the default, but typed
        (Plain, ("batchnorm=none",), "batchnorm"),
        (Plain, ("batchnorm.eps=0.1",), "batchnorm"),
        (Plain, ("regularization=dropout",), "regularization.dropout"),
        (Plain, ("regularization.dropout=0.2",), "regularization.dropout"),
        (Normalized, ("init=he", "init.output_scale=0.5"), "init.output_scale"),
        (NoLayers, ("init=he",), "init"),
    ],
)
def test_refused(
    network: type[nn.Module], overrides: tuple[str, ...], field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError) as error:
        run(tmp_path, monkeypatch, network, *OWN, *overrides)
    assert error.value.field == field
    assert not list(tmp_path.iterdir())


def test_record_of_options_without_effect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = json.loads((run(tmp_path, monkeypatch, Normalized, *OWN).directory / "outcome.json").read_text())
    assert record["unused_options"] == list(BLOCK_KEYS)
    record = json.loads((run(tmp_path, monkeypatch, FromBlock, *OWN).directory / "outcome.json").read_text())
    assert record["unused_options"] == []


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
    config = {"model": {"_target_": "pipeline.model.torchvision_model.torchvision_model"}, "init": {}}
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


class Cosine(Plain):
    """Logits that do not depend on the size of any weight, and that begin too large."""

    def __init__(self, input_shape: tuple[int, int, int], classes: int):
        super().__init__(input_shape, classes)
        self.prototypes = nn.Parameter(torch.randn(classes, 32))
        del self.output

    def forward(self, x: Tensor) -> Tensor:
        features = nn.functional.normalize(self.hidden(x.flatten(1)).relu(), dim=1)
        return 16 * features @ nn.functional.normalize(self.prototypes, dim=1).T


def test_no_init_reaches_the_logits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(tmp_path, monkeypatch, Cosine, *OWN)
    (found,) = [f for f in result.findings if f.check == "initial_loss"]
    assert found.remedy == ()
    assert {"init", "init.output_scale"} <= set(result.outcomes[0].signals["ignored_keys"])


class LazyParts(nn.Module):
    """Layers without shapes, drawn with random numbers of their own, and a result of several parts."""

    def __init__(self, classes: int):
        super().__init__()
        self.layers = nn.Sequential(nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten())
        self.head = nn.LazyLinear(classes)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": self.head(self.layers(x)), "mean": x.mean()}


@pytest.mark.slow
def test_lazy_layers_and_parts_from_training_to_prediction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = ("data=digits", "data.limit=300", "stage=[sanity,train,evaluate]", "stages.train.epochs=2", "report=false")
    options = (*stages, "model=custom", "model.output=logits")
    results = [run(tmp_path, monkeypatch, LazyParts, *options) for _ in range(2)]
    assert all(result.status == "passed" for result in results)
    first, again = (result.metrics["train"]["val_accuracy"] for result in results)
    assert first == again
    predictor = pipeline.load(results[0].directory)
    assert predictor(torch.zeros(2, 1, 8, 8, dtype=torch.uint8)).shape == (2, 10)
