"""Every option of every group under conf/: it composes, calls only what is allowed, says what it is, can be built."""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from pipeline.config.compose import CONF, compose_config
from pipeline.config.instantiate import allowed_targets
from pipeline.data import Source
from pipeline.data.sources import embedded
from pipeline.errors import UserError
from pipeline.model import decay_groups
from pipeline.workflow.build import build_components
from pipeline.workflow.components import Components

FILES = sorted(
    path for path in CONF.rglob("*.yaml") if path.name != "base.yaml" and "hydra" not in path.relative_to(CONF).parts
)
"""Without what Hydra itself calls, which `pipeline.config.compose` guards."""
OPTIONS: dict[str, list[str]] = {
    group: [path.stem for path in files]
    for group, found in itertools.groupby(
        (path for path in FILES if path.parent != CONF and path.parent.name != "experiment"),
        lambda path: path.parent.relative_to(CONF).as_posix(),
    )
    for files in [list(found)]
}
ROWS = range(max(map(len, OPTIONS.values())))
"""Enough compositions for every option to be in one: the i-th takes the i-th option of each group, round and round."""
EACH = [pytest.param(group, option, id=f"{group}={option}") for group, options in OPTIONS.items() for option in options]

IN_LISTS = {"stage": "stages", "logger": "logger", "search": "search.rounds"}
"""Groups of which several options may be chosen, and the node in which each has its own."""
NEEDS_MORE = {"model": {"custom", "torchvision"}, "loss": {"custom"}, "trainer": {"gpu"}}
"""Options that digits on this machine cannot be built with as they stand; each has a test of its own below."""


def name_of(path: Path) -> str:
    return path.relative_to(CONF).as_posix()


def row(i: int) -> list[str]:
    chosen = {group: options[i % len(options)] for group, options in OPTIONS.items()}
    if chosen["stage"] != "train":  # some stages need a training before them
        chosen["stage"] = f"[train,{chosen['stage']}]"
    return [f"{group}={option}" for group, option in chosen.items()]


@functools.cache
def composed_row(i: int) -> DictConfig:
    return compose_config(row(i))


@functools.cache
def composed_digits() -> DictConfig:
    """Composing takes longer than anything that is done with the result here."""
    return compose_config(["data=digits", "trainer=cpu"])


def targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        for inner in node.values():
            yield from targets(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from targets(inner)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_says_in_its_first_line_what_it_is(path: Path) -> None:
    lines = path.read_text().splitlines()
    if lines[0].startswith("# @package"):
        lines = lines[1:]
    assert lines[0].startswith("# ")
    assert len(lines[0]) > 4


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_calls_only_what_is_allowed(path: Path) -> None:
    assert set(targets(yaml.safe_load(path.read_text()))) <= allowed_targets() | {"???"}


@pytest.mark.parametrize(("group", "option"), EACH)
def test_an_option_composes(group: str, option: str) -> None:
    config = composed_row(OPTIONS[group].index(option))
    written = yaml.safe_load((CONF / group / f"{option}.yaml").read_text())
    node = OmegaConf.select(config, IN_LISTS[group]).get(option, {}) if group in IN_LISTS else config[group]
    for key, value in written.items():
        if key == "defaults" or "${" in str(value):
            continue
        assert key in node.keys()  # noqa: SIM118 - `in node` is false for a missing value
        assert node._get_node(key) == value


@pytest.mark.parametrize("path", sorted((CONF / "experiment").glob("*.yaml")), ids=name_of)
def test_an_experiment_composes(path: Path) -> None:
    compose_config([f"experiment={path.stem}"])


@pytest.fixture(scope="module", autouse=True)
def digits_read_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        source: Source = embedded.digits()
        patch.setattr(embedded, "digits", lambda: source)
        yield


def take_one_step(parts: Components) -> None:
    network = parts.make_network()
    images, labels = parts.data.train.pixels[:8], parts.data.train.labels[:8]
    optimizer = parts.make_optimizer(decay_groups(network, l2=parts.l2))
    schedule = parts.schedule.build(optimizer, epochs=2, steps_per_epoch=3)
    before = [p.detach().clone() for p in network.parameters()]
    varied = parts.augmentation(images, parts.augmentation.sample_parameters(0, 0, len(images), images.device))
    logits = network(parts.preprocessing(varied))
    assert logits.shape == (8, len(parts.data.classes))
    parts.loss(logits, labels).backward()
    optimizer.step()
    arguments: list[Any] = [1.0] if parts.schedule.update_event(schedule) == "validation" else []
    schedule.step(*arguments)
    assert any(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    again = parts.make_network().state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in parts.make_network().state_dict().items())


@pytest.mark.parametrize("i", ROWS)
def test_options_can_be_built_and_trained_together(i: int) -> None:
    """Each option in one row at least, whatever the others are."""
    config = copy.deepcopy(composed_row(i))
    for group in ("data", *(g for g, out in NEEDS_MORE.items() if OPTIONS[g][i % len(OPTIONS[g])] in out)):
        config[group] = composed_digits()[group]
    config.model.width = 4
    parts = build_components(config)
    assert OPTIONS["stage"][i % len(OPTIONS["stage"])] in parts.stages
    take_one_step(parts)


def test_the_default_data_set() -> None:
    parts = build_components(compose_config(["model.width=4", "data.limit=200"]))
    assert parts.data.name == "fashion_mnist_5k"
    assert list(parts.stages) == ["sanity", "overfit", "train", "evaluate"]
    take_one_step(parts)


def test_a_network_of_torchvision() -> None:
    parts = build_components(
        compose_config(["data=digits", "model=torchvision", "model.name=resnet18", "model.resize=null"])
    )
    take_one_step(parts)


def test_a_gpu_where_there_is_none() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(UserError, match="trainer=auto") as error:
        build_components(compose_config(["data=digits", "trainer=gpu"]))
    assert error.value.field == "trainer.accelerator"


MINE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, input_shape, classes, hidden=3):
        super().__init__()
        size = input_shape[0] * input_shape[1] * input_shape[2]
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(size, hidden), nn.Linear(hidden, classes))

    def forward(self, x):
        return self.layers(x)

def loss(logits, labels, power=2):
    hot = nn.functional.one_hot(labels, logits.shape[1])
    return (logits - hot).abs().pow(power).mean()

loss.initial_loss = lambda classes: 1 / classes
"""


@pytest.fixture
def my_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's own, by a name that no other test has imported."""
    name = f"mine_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PIPELINE_ALLOW", f"{name}.Net,{name}.loss")
    return name


def test_a_network_of_ones_own(my_module: str) -> None:
    overrides = ["data=digits", "model=custom", f"model._target_={my_module}.Net"]
    parts = build_components(compose_config([*overrides, "+model.hidden=7"]))
    assert any(p.shape == (7, 64) for p in parts.make_network().parameters())
    take_one_step(parts)
    with pytest.raises(UserError, match="Did you mean 'hidden'") as error:
        build_components(compose_config([*overrides, "+model.hiden=7"]))
    assert error.value.field == "model.hiden"


def test_a_loss_of_ones_own(my_module: str) -> None:
    overrides = ["data=digits", "loss=custom", f"loss.function._target_={my_module}.loss"]
    parts = build_components(compose_config([*overrides, "+loss.function.power=1"]))
    assert parts.loss(torch.zeros(1, 4), torch.zeros(1, dtype=torch.long)).item() == 0.25
    take_one_step(parts)
    assert parts.loss.initial_loss(10) == 0.1
    with pytest.raises(UserError, match="Did you mean 'power'"):
        build_components(compose_config([*overrides, "+loss.function.powr=1"]))


@pytest.mark.parametrize(("group", "key"), [("model", "model._target_"), ("loss", "loss.function._target_")])
def test_code_of_ones_own_must_be_named_and_allowed(group: str, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIPELINE_ALLOW", raising=False)
    config = compose_config(["data=digits", f"{group}=custom"])
    for name in ("???", "nowhere.Thing"):
        OmegaConf.update(config, key, name)
        with pytest.raises(UserError) as error:
            build_components(config)
        assert error.value.field == key


def test_arrays_of_ones_own(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=np.arange(60) % 3, classes=np.array(["a", "b", "c"]))
    parts = build_components(compose_config(["data=npz", f"data.path={tmp_path / 'mine.npz'}", "data.batch_size=16"]))
    assert parts.data.input_shape == (3, 8, 8)
    assert tuple(parts.data.classes) == ("a", "b", "c")
    take_one_step(parts)


def test_images_of_ones_own(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 9, 11, 3), dtype=np.uint8)
    for i, image in enumerate(pixels):
        folder = tmp_path / "photos" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i}.png")
    overrides = ["data=image_folder", f"data.path={tmp_path / 'photos'}", "data.batch_size=8", "data.size=8"]
    parts = build_components(compose_config([*overrides, "stages.overfit.examples=8", "data.grayscale=true"]))
    assert parts.data.input_shape == (1, 8, 8)
    take_one_step(parts)


@pytest.mark.parametrize("option", ["npz", "image_folder"])
def test_data_of_ones_own_need_a_path(option: str, tmp_path: Path) -> None:
    config = compose_config([f"data={option}"])
    for path in (None, str(tmp_path / "nothing")):
        config.data.path = path
        with pytest.raises(UserError) as error:
            build_components(config)
        assert error.value.field == "data.path"


@pytest.mark.parametrize(
    ("typed", "field"),
    [
        ("+optimizer.lrr=1", "optimizer.lrr"),
        ("optimizer.lr=abc", "optimizer.lr"),
        ("optimizer.lr=", "optimizer.lr"),
        ("optimizer.lr=nan", "optimizer.lr"),
        ("optimizer._target_=torch.load", "optimizer._target_"),
        ("optimizer._partial_=false", "optimizer"),
        ("optimizer.lr=${sed}", "optimizer.lr"),
        ("+activation.inplce=true", "activation.inplce"),
        ("activation._partial_=false", "activation"),
        ("model.width=0", "model.width"),
        ("model.depth=1.5", "model.depth"),
        ("+model.widht=3", "model.widht"),
        ("init.bias=x", "init.bias"),
        ("batchnorm.momentum=2", "batchnorm.momentum"),
        ("batchnorm.recompute=1", "batchnorm.recompute"),
        ("regularization.l2=-1", "regularization.l2"),
        ("regularization.dropout=1", "regularization.dropout"),
        ("loss.label_smoothing=1.5", "loss.label_smoothing"),
        ("schedule.interval=steps", "schedule.interval"),
        ("data.batch_size=-3", "data.batch_size"),
        ("data.batch_size=2000", "data.batch_size"),
        ("data.limit=0", "data.limit"),
        ("data.validation=1.5", "data.validation"),
        ("data.split_seed=x", "data.split_seed"),
        ("seed=-1", "seed"),
        ("seed=1e400", "seed"),
        ("name=a/b", "name"),
        ("verbose=3", "verbose"),
        ("trainer.precision=16", "trainer.precision"),
        ("trainer.devices=9999", "trainer.devices"),
        ("checks.fail_on=error", "checks.fail_on"),
        ("checks.rules.initial_loss.warning=-1", "checks.rules.initial_loss.warning"),
        ("stages.train.epochs=0", "stages.train.epochs"),
        ("stages.overfit.examples=5000", "stages.overfit.examples"),
    ],
)
def test_a_wrong_value_is_refused_under_the_name_it_was_typed_with(typed: str, field: str) -> None:
    config = copy.deepcopy(composed_digits())
    override = OverridesParser.create().parse_override(typed)
    OmegaConf.update(config, override.key_or_group, override.value(), force_add=override.is_add())
    with pytest.raises(UserError) as error:
        build_components(config)
    assert error.value.field is not None
    assert error.value.field.startswith(field)


@pytest.mark.parametrize(
    "typed",
    [
        "stage=[]",
        "stages=3",
        "stages.train=3",
        "checks.rules=none",
        "init.weight=he",
        "schedule.scheduler=cosine",
        "data.source=3",
        "tags=3",
    ],
)
def test_a_word_where_a_whole_node_belongs_is_refused(typed: str) -> None:
    with pytest.raises(UserError) as error:
        build_components(compose_config(["data=digits", "trainer=cpu", typed]))
    assert error.value.field is not None
    assert error.value.field.startswith(typed.partition("=")[0])
