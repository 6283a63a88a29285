"""What is typed on the command line: every mistake is one `UserError` that names the nearest right word."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

import pipeline.config.compose
from pipeline.config.compose import CONF, compose_config, effective_overrides, swept_keys
from pipeline.errors import UserError


@pytest.fixture(scope="module", autouse=True)
def hydra_composes_once() -> Iterator[None]:
    """What Hydra makes of the same words is the same, and takes a third of a second each time."""
    known: dict[str, DictConfig] = {}

    def compose(name: str, words: Sequence[str], **options: Any) -> DictConfig:
        folders = GlobalHydra.instance().config_loader().get_search_path()
        asked = repr((name, list(words), options, str(folders)))
        if asked not in known:
            known[asked] = hydra.compose(name, list(words), **options)
        return copy.deepcopy(known[asked])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.config.compose, "compose_with_hydra", compose)
        yield


def refused(*overrides: str) -> UserError:
    with pytest.raises(UserError) as error:
        compose_config(overrides)
    return error.value


def test_every_default_is_taken_from_the_menu() -> None:
    config = compose_config([])
    assert list(config.stages) == ["sanity", "overfit", "train", "evaluate"]
    assert config.data.source["_target_"].endswith("fashion_mnist_5k")
    assert "hydra" not in config
    assert compose_config([]) == config


def test_options_and_keys_are_taken_together_and_the_last_word_counts() -> None:
    config = compose_config(
        ["optimizer.lr=3", "init=zeros", "optimizer=adam", "optimizer.lr=0.5", "init=xavier", "seed=7"]
    )
    assert config.optimizer["_target_"] == "torch.optim.Adam"
    assert config.optimizer.lr == 0.5
    assert config.init.weight["_target_"].endswith(".xavier")
    assert config.seed == 7


def test_a_later_choice_of_a_group_makes_void_what_was_typed_about_the_earlier_one() -> None:
    """A remedy can be appended to any command, also where the option that it names lacks a key that was typed."""
    typed = ["init=small_gaussian", "init.weight.std=0", "optimizer.lr=0.5", "init=he", "init.bias=0.1"]
    assert effective_overrides(typed) == ["optimizer.lr=0.5", "init=he", "init.bias=0.1"]
    assert compose_config(typed) == compose_config(typed[2:])
    assert effective_overrides(typed[:3]) == typed[:3]
    assert swept_keys(["init=he,zeros", "init=he"]) == []
    stages = ["stage=[sanity]", "stages.sanity.examples=64", "stage=[sanity,train]"]
    assert effective_overrides(stages) == stages[1:]


def test_a_list_of_stages_keeps_its_order() -> None:
    assert list(compose_config(["stage=[overfit,sanity,lr_range]"]).stages) == ["overfit", "sanity", "lr_range"]
    assert list(compose_config(["stage=overfit"]).stages) == ["overfit"]


def test_a_data_set_names_its_augmentation_and_the_user_has_the_last_word() -> None:
    assert compose_config(["data=cifar10"]).augmentation["_target_"].endswith(".CropFlip")
    assert compose_config(["data=cifar10", "augmentation=none"]).augmentation["_target_"].endswith(".NoAugmentation")


@pytest.mark.parametrize(
    ("typed", "field", "suggested"),
    [
        ("optimizer=adm", "optimizer", "'adam'"),
        ("activation=rleu", "activation", "'relu'"),
        ("data=fashion_mnist_5", "data", "'fashion_mnist_5k'"),
        ("stage=overfti", "stage", "'overfit'"),
        ("stage=[sanity,overfti]", "stage", "'overfit'"),
        ("optimizer=adam,sdg", "optimizer", "'sgd'"),
        ("activation=choice(relu,eluu)", "activation", "'elu'"),
        ("init='xavierr'", "init", "'xavier'"),
    ],
)
def test_a_mistyped_option(typed: str, field: str, suggested: str) -> None:
    error = refused(typed)
    assert error.field == field
    assert f"Did you mean {suggested}" in error.message
    assert "Options: " in error.message


@pytest.mark.parametrize(
    ("typed", "suggested"),
    [
        ("optimizer.lrr=1", "'optimizer.lr'"),
        ("lr=1", "'optimizer.lr'"),
        ("batch_size=8", "'data.batch_size'"),
        ("data.batchsize=8", "'data.batch_size'"),
        ("+data.batchsize=8", "'data.batch_size'"),
        ("++data.batchsize=8", "'data.batch_size'"),
        ("+epochs=3", "'stages.train.epochs'"),
        ("++sede=3", "'seed'"),
        ("optimzer=adam", "'optimizer'"),
        ("+optimzer=adam", "'optimizer'"),
        ("optimzer.lr=1", "'optimizer.lr'"),
        ("stages.overfit.step=3", "'stages.overfit.steps'"),
        ("optimizer.lrr=1,2", "'optimizer.lr'"),
        ("regularisation.l2=0", "'regularization.l2'"),
    ],
)
def test_a_mistyped_key(typed: str, suggested: str) -> None:
    error = refused(typed)
    assert error.field == typed.lstrip("+").partition("=")[0]
    assert "there is no such key" in error.message
    assert suggested in error.message


def test_a_key_of_nothing_known_points_to_all_keys() -> None:
    assert "--cfg job" in refused("+zzz.yyy=1").message


def test_the_neighbours_of_a_mistyped_key_are_listed() -> None:
    assert "regularization has: l2, dropout." in refused("regularization.xyz=1").message


def test_keys_of_stages_that_do_not_run_are_unknown() -> None:
    error = refused("stage=[sanity,overfit]", "stages.train.epochs=3")
    assert error.field == "stages.train.epochs"
    assert "stage=[sanity,overfit]" in error.message
    assert "Did you mean 'stages.train" in refused("stages.trian.epochs=3").message


def test_arguments_beyond_the_menu_are_open_where_a_signature_will_check_them() -> None:
    assert "+optimizer.maximize=..." in refused("optimizer.maximize=true").message
    config = compose_config(["+optimizer.maximize=true", "++activation.inplace=false"])
    assert config.optimizer.maximize is True
    assert config.activation.inplace is False


def test_a_plus_before_a_key_that_exists() -> None:
    error = refused("+optimizer.lr=0.3")
    assert error.field == "optimizer.lr"
    assert "optimizer.lr=0.3" in error.message
    assert compose_config(["++optimizer.lr=0.3"]).optimizer.lr == 0.3


def test_keys_whose_value_is_null_or_missing_can_be_set() -> None:
    config = compose_config(["model=custom", "model._target_=my.Net", "data.limit=20", "resume=auto"])
    assert config.model["_target_"] == "my.Net"
    assert config.data.limit == 20
    assert config.resume == "auto"


@pytest.mark.parametrize("typed", ["~optimizer", "~optimizer=momentum", "optimizer=null", "~stage", "optimizer="])
def test_a_group_cannot_be_left_without_an_option(typed: str) -> None:
    assert refused(typed).field == typed.strip("~").partition("=")[0]


@pytest.mark.parametrize("typed", ["~optimizer.lr", "~seed", "~optimizer.lr=0.05"])
def test_a_key_cannot_be_removed(typed: str) -> None:
    assert "cannot be removed" in refused(typed).message


@pytest.mark.parametrize("typed", ["~experiment", "experiment=null"])
def test_no_experiment_may_be_said_aloud(typed: str) -> None:
    assert compose_config([typed]) == compose_config([])


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "optimizer.lr",
        "train",
        "=3",
        "+=3",
        "a b=c d",
        "optimizer.lr=[1",
        "optimizer.lr={",
        "name='x",
        "optimizer.lr=1)",
    ],
)
def test_what_cannot_be_read(typed: str) -> None:
    assert repr(typed) in str(refused(typed))


@pytest.mark.parametrize(
    "typed", ["+optimizer@other=adam", "optimizer@other=adam", "++optimizer=adam", "hydrant=3", "data=base"]
)
def test_what_would_be_accepted_and_mean_nothing(typed: str) -> None:
    refused(typed)


def test_a_sweep_is_composed_with_its_first_value() -> None:
    config = compose_config(
        ["optimizer.lr=1,2", "activation=choice(elu,relu)", "seed=range(3,6)", "stage=[sanity],[overfit]"]
    )
    assert config.optimizer.lr == 1
    assert config.activation["_target_"] == "torch.nn.ELU"
    assert config.seed == 3
    assert list(config.stages) == ["sanity"]


def test_a_sweep_of_new_keys() -> None:
    config = compose_config(["+optimizer.maximize=true,false", "++optimizer.lr=0.5,1"])
    assert config.optimizer.maximize is True
    assert config.optimizer.lr == 0.5


@pytest.mark.parametrize("typed", ["init='xavier'", 'init="xavier"', "init='xavier','he'"])
def test_an_option_in_quotes(typed: str) -> None:
    assert compose_config([typed]) == compose_config(["init=xavier"])


def test_the_keys_of_a_sweep() -> None:
    assert swept_keys(
        ["optimizer.lr=1,2", "seed=3", "activation=choice(relu,elu)", "seed=range(1,3)", "tags=[a,b]"]
    ) == [
        "optimizer.lr",
        "activation",
        "seed",
    ]


def test_one_run_takes_no_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[object] = []
    stub = SimpleNamespace(run=lambda config, **options: began.append(config))
    monkeypatch.setitem(sys.modules, "pipeline.workflow.runner", stub)
    monkeypatch.setattr("pipeline.workflow.runner", stub, raising=False)
    pipeline.run(["seed=3"], quiet=True)
    assert len(began) == 1
    with pytest.raises(UserError) as error:
        pipeline.run(["optimizer.lr=1,2"], quiet=True)
    assert error.value.field == "optimizer.lr"
    assert len(began) == 1


@pytest.mark.parametrize("typed", ["optimizer.lr=interval(0,1)", "optimizer.lr=glob(*)", "optimizer=glob(*)"])
def test_a_sweep_that_cannot_be_counted(typed: str) -> None:
    assert refused(typed).field == typed.partition("=")[0]


@pytest.mark.parametrize("typed", ["", "train", "optimizer.lr"])
def test_a_word_alone_points_to_the_help(typed: str) -> None:
    assert "--help" in refused(typed).message


def test_interpolations_are_left_for_later() -> None:
    config = compose_config(["schedule=one_cycle", "optimizer.lr=0.25"])
    assert config.schedule.scheduler.max_lr == 2.5


@pytest.mark.parametrize("name", ["own", "with space", "a,b [c]"])
def test_a_folder_of_ones_own_adds_options(name: str, tmp_path: Path) -> None:
    own = tmp_path / name
    (own / "optimizer").mkdir(parents=True)
    (own / "optimizer" / "slow.yaml").write_text("# own\n_target_: torch.optim.SGD\n_partial_: true\nlr: 1.0e-6\n")
    assert compose_config(["optimizer=slow"], config_dir=str(own)).optimizer.lr == 1e-6
    with pytest.raises(UserError, match="'slow'"):
        compose_config(["optimizer=slw"], config_dir=str(own))


def test_composing_leaves_no_trace() -> None:
    refused("optimizer.lrr=1")
    config = compose_config(["seed=1"])
    OmegaConf.update(config, "seed", 9)
    assert compose_config([]).seed == 0


def test_the_menu_is_found_beside_the_package() -> None:
    assert (CONF / "config.yaml").is_file()


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["activation=elu", "optimizer.lr=0.3", "stage=[sanity,train]", "+optimizer.dampening=0.1"],
        [
            "hydra.run.dir=here/${hydra.job.override_dirname}",
            "name=mine",
            "experiment=five_seeds",
            "hydra.verbose=true",
        ],
    ],
)
def test_a_job_gets_what_hydra_itself_would_give_it(words: list[str]) -> None:
    ours = pipeline.config.compose.compose(words).with_hydra()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3", job_name="pipeline"):
        theirs = hydra.compose("config", words, return_hydra_config=True)
    for ours_, theirs_ in ((ours, theirs), (ours.hydra, theirs.hydra)):
        assert OmegaConf.to_container(ours_, resolve=False) == OmegaConf.to_container(theirs_, resolve=False)


def test_a_search_may_range_over_keys_of_other_options_than_the_first() -> None:
    words = ["optimizer=choice(sgd,momentum)", "optimizer.momentum=choice(0.5,0.9)"]
    assert compose_config(["search=coarse", *words]).optimizer["_target_"] == "torch.optim.SGD"
    assert refused(*words).field == "optimizer.momentum"  # a plain multirun has it in every job
    assert refused("search=coarse", "optimizer=choice(sgd,momentum)", "optimizer.momentum=0.9").field
    assert refused("search=coarse", "optimizer=sgd", words[1]).field == "optimizer.momentum"
