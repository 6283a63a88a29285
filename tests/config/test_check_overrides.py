"""Mistyped options and keys: the error names the field, and the closest existing name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipeline.config.check_overrides import check_key, check_option
from pipeline.config.compose import Composition
from pipeline.config.override_keys import override_key
from pipeline.config.overrides import parse_overrides
from pipeline.errors import UserError

Refused = Callable[[str], UserError]


def test_options(refused: Refused) -> None:
    closest = {
        "optimizer=adm": "'adam'",
        "activation=rleu": "'relu'",
        "data=fashion_mnist_5": "'fashion_mnist_5k'",
        "data=base": "digits",  # it is no option, and the others are listed
        "stage=overfti": "'overfit'",
        "stage=[sanity,overfti]": "'overfit'",
        "optimizer=adam,sdg": "'sgd'",
        "activation=choice(relu,eluu)": "'elu'",
        "init='xavierr'": "'xavier'",
        "optimizer=[]": "adam",
        "optimizer=glob(*)": "glob",
    }
    for typed, word in closest.items():
        error = refused(typed)
        assert error.field == override_key(typed)
        assert word in error.message, typed


def test_known_options(composition: Composition) -> None:
    for typed in ("optimizer=adam", "stage=[train,sanity]", "init='he'", "++activation=elu,relu", "experiment=null"):
        check_option(parse_overrides([typed])[0], composition.loader)


@pytest.mark.parametrize("typed", ["~optimizer", "~optimizer=momentum", "optimizer=null", "~stage", "optimizer="])
def test_empty_group(typed: str, refused: Refused) -> None:
    error = refused(typed)
    assert error.field == override_key(typed)
    assert "none" not in error.message


@pytest.mark.parametrize("group", ["regularization", "logger", "batchnorm"])
def test_empty_group_with_none(group: str, refused: Refused) -> None:
    """The option `none` is named where the group has one."""
    assert f"{group}=none" in refused(f"~{group}").message


def test_keys(refused: Refused) -> None:
    closest = {
        "optimizer.lrr=1": "'optimizer.lr'",
        "lr=1": "'optimizer.lr'",
        "batch_size=8": "'data.batch_size'",
        "data.batchsize=8": "'data.batch_size'",
        "+data.batchsize=8": "'data.batch_size'",
        "++data.batchsize=8": "'data.batch_size'",
        "+epochs=3": "'stages.train.epochs'",
        "++sede=3": "'seed'",
        "optimzer=adam": "'optimizer'",
        "+optimzer=adam": "'optimizer'",
        "optimzer.lr=1": "'optimizer.lr'",
        "stages.overfit.step=3": "'stages.overfit.steps'",
        "stages.trian.epochs=3": "'stages.train.epochs'",
        "optimizer.lrr=1,2": "'optimizer.lr'",
        "regularisation.l2=0": "'regularization.l2'",
        "regularization.xyz=1": "l2, dropout",  # no key is close, so the keys of the node are listed
        "+zzz.yyy=1": "--cfg job",
        "hydrant=3": "--cfg job",
        "optimizer.maximize=true": "+optimizer.maximize=",  # the target may take it
        "+optimizer.lr=0.3": " optimizer.lr=0.3",  # it exists already
        "stages.lr_range.steps=3": "stage=[sanity,overfit,train,evaluate]",  # a stage that is not chosen
        "logger.csv.x=1": "'csv'",
    }
    for typed, word in closest.items():
        error = refused(typed)
        assert error.field == override_key(typed), typed
        assert word in error.message, (typed, error.message)


def test_removed_keys(refused: Refused) -> None:
    for typed in ("~optimizer.lr", "~seed", "~optimizer.lr=0.05"):
        assert refused(typed).field == override_key(typed)


def test_known_keys(composition: Composition) -> None:
    """Keys whose value is null exist, and arguments of a target can be added."""
    for typed in (
        "data.limit=20",
        "resume=auto",
        "+optimizer.maximize=true",
        "++optimizer.lr=1",
        "++loss.reduction=sum",
    ):
        check_key(parse_overrides([typed])[0], composition.config, composition.loader)
