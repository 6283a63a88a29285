"""The configuration that overrides compose to."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import hydra
import pytest
from omegaconf import OmegaConf

import pipeline
from pipeline.config.compose import CONF, Composition, compose, compose_config
from pipeline.errors import UserError


def refused(*overrides: str) -> UserError:
    with pytest.raises(UserError) as error:
        compose_config(overrides)
    return error.value


def test_defaults(composition: Composition) -> None:
    config = composition.config
    assert (CONF / "config.yaml").is_file()
    assert list(config.stages) == ["sanity", "overfit", "train", "evaluate"]
    assert config.data.source["_target_"].endswith("fashion_mnist_5k")
    assert "hydra" not in config


def test_nothing_is_shared(composition: Composition) -> None:
    """Composing again gives the same, whatever happened to an earlier composition."""
    refused("optimizer.lrr=1")
    config = compose_config(["seed=1"])
    OmegaConf.update(config, "seed", 9)
    assert compose_config(["~experiment"]) == composition.config


def test_order() -> None:
    """Options and keys can be typed in any order, and the last override of a key counts."""
    config = compose_config(
        ["optimizer.lr=3", "init=zeros", "optimizer=adam", "optimizer.lr=0.5", "init='xavier'", "seed=7",
         "stage=[overfit,sanity,lr_range]", "++activation.inplace=false", "data=cifar10"]
    )  # fmt: skip
    assert config.optimizer["_target_"] == "torch.optim.Adam"
    assert config.optimizer.lr == 0.5
    assert config.init.weight["_target_"].endswith(".xavier")
    assert config.seed == 7
    assert list(config.stages) == ["overfit", "sanity", "lr_range"]
    assert config.activation.inplace is False
    assert config.augmentation["_target_"].endswith(".CropFlip")  # the data set's own default
    assert config.schedule.scheduler.max_lr == 5.0  # an interpolation


def test_typed_option_wins() -> None:
    """A data set or a model has its own defaults for other groups; what is typed counts more."""
    config = compose_config(["data=cifar10", "augmentation=none", "model=custom", "model._target_=my.Net", "init=he"])
    assert config.augmentation["_target_"].endswith(".NoAugmentation")
    assert config.model["_target_"] == "my.Net"
    assert config.init.weight["_target_"].endswith(".he")


def test_sweep() -> None:
    """A sweep is composed with its first value."""
    config = compose_config(
        ["optimizer.lr=1,2", "activation=choice(elu,relu)", "seed=range(3,6)", "stage=[sanity],[overfit]",
         "+optimizer.maximize=true,false"]
    )  # fmt: skip
    assert config.optimizer.lr == 1
    assert config.activation["_target_"] == "torch.nn.ELU"
    assert config.seed == 3
    assert list(config.stages) == ["sanity"]
    assert config.optimizer.maximize is True


def test_interval_needs_search() -> None:
    assert refused("optimizer.lr=interval(0,1)").field == "optimizer.lr"
    assert compose_config(["search=coarse", "optimizer.lr=interval(0.5,1)"]).optimizer.lr == 0.5


def test_search_over_keys_of_other_options() -> None:
    """A search may range over a key that only another option than the first has. A plain multirun may not."""
    words = ["optimizer=choice(sgd,momentum)", "optimizer.momentum=choice(0.5,0.9)"]
    assert compose_config(["search=coarse", *words]).optimizer["_target_"] == "torch.optim.SGD"
    assert refused(*words).field == "optimizer.momentum"
    assert refused("search=coarse", words[0], "optimizer.momentum=0.9").field == "optimizer.momentum"
    assert refused("search=coarse", "optimizer=sgd", words[1]).field == "optimizer.momentum"


@pytest.mark.parametrize("name", ["mine", "a,b [c]"])
def test_config_dir(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    (folder / "optimizer").mkdir(parents=True)
    (folder / "optimizer" / "slow.yaml").write_text("# Slow.\n_target_: torch.optim.SGD\n_partial_: true\nlr: 1.0e-6\n")
    assert compose_config(["optimizer=slow"], config_dir=str(folder)).optimizer.lr == 1e-6
    with pytest.raises(UserError, match="'slow'"):
        compose_config(["optimizer=slw"], config_dir=str(folder))
    with pytest.raises(UserError) as error:
        compose_config([], config_dir=str(folder / "nowhere"))
    assert error.value.field == "--config-dir"


@pytest.mark.parametrize(
    "overrides",
    [
        ["activation=elu", "optimizer.lr=0.3", "stage=[sanity,train]", "+optimizer.dampening=0.1"],
        [
            "hydra.run.dir=here/${hydra.job.override_dirname}",
            "name=mine",
            "experiment=five_seeds",
            "hydra.verbose=true",
        ],
    ],
)
def test_same_as_hydra(overrides: Sequence[str]) -> None:
    """A job gets the configuration that Hydra itself would give it."""
    ours = compose(overrides).with_hydra()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3", job_name="pipeline"):
        theirs = hydra.compose("config", list(overrides), return_hydra_config=True)
    for our, their in ((ours, theirs), (ours.hydra, theirs.hydra)):
        assert OmegaConf.to_container(our, resolve=False) == OmegaConf.to_container(their, resolve=False)


def test_single_run_takes_no_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[object] = []
    stub = SimpleNamespace(run=lambda config, **options: runs.append(config))
    monkeypatch.setitem(sys.modules, "pipeline.workflow.runner", stub)
    monkeypatch.setattr("pipeline.workflow.runner", stub, raising=False)
    pipeline.run(["seed=3"], quiet=True)
    assert len(runs) == 1
    with pytest.raises(UserError) as error:
        pipeline.run(["optimizer.lr=1,2"], quiet=True)
    assert error.value.field == "optimizer.lr"
    assert len(runs) == 1
