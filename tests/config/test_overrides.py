"""Overrides as text, and read by Hydra's grammar."""

from __future__ import annotations

import pytest

from pipeline.config.override_keys import effective_overrides, override_key
from pipeline.config.overrides import parse_overrides, swept_keys, with_first_value
from pipeline.errors import UserError


def test_override_key() -> None:
    for text in ("optimizer.lr=0.1", "+optimizer.lr=a=b", "++optimizer.lr=", "~optimizer.lr", "optimizer.lr@x=1"):
        assert override_key(text) == "optimizer.lr"


def test_effective_overrides() -> None:
    """A later choice of an option replaces what was typed about the earlier one."""
    typed = ["init=small_gaussian", "init.weight.std=0", "optimizer.lr=0.5", "init=he", "init.bias=0.1"]
    assert effective_overrides(typed) == ["optimizer.lr=0.5", "init=he", "init.bias=0.1"]
    assert effective_overrides(typed[:3]) == typed[:3]
    stages = ["stage=[sanity]", "stages.sanity.examples=64", "stage=[sanity,train]"]
    assert effective_overrides(stages) == stages[1:]
    assert effective_overrides(["+seed=1", "seed=2", "++seed=3"]) == ["++seed=3"]


def test_swept_keys() -> None:
    typed = ["optimizer.lr=1,2", "seed=3", "activation=choice(relu,elu)", "seed=range(1,3)", "tags=[a,b]"]
    assert swept_keys(typed) == ["optimizer.lr", "activation", "seed"]
    assert swept_keys(["init=he,zeros", "init=he"]) == []


def test_first_value() -> None:
    expected = {
        "seed=3": "seed=3",
        "a=1,2": "a=1",
        "+a=true,false": "+a=True",
        "++a=null,1": "++a=null",
        "a='x y',b": "a='x y'",
        "a=choice(choice(1,2),3)": "a=1",
        "a=[x,y],[z]": "a=[x,y]",
        "a=range(3,6)": "a=3",
        "a=range(0.5,1,0.25)": "a=0.5",
        "a=tag(log,interval(1e-4,1))": "a=0.0001",
        "a=int(interval(2,10))": "a=2",
    }
    assert {text: with_first_value(parse_overrides([text])[0]) for text in expected} == expected


@pytest.mark.parametrize("text", ["a=range(3,3)", "a=range(0,3,0)", "a=range(0.0,1.0,0.0)", "a=glob(*)"])
def test_no_first_value(text: str) -> None:
    with pytest.raises(UserError) as error:
        with_first_value(parse_overrides([text])[0])
    assert error.value.field == "a"


def test_unreadable() -> None:
    for text in ("", "optimizer.lr", "train", "=3", "+=3", "a b=c d", "optimizer.lr=[1", "a={", "name='x", "a=1)"):
        with pytest.raises(UserError) as error:
            parse_overrides([text])
        assert repr(text) in str(error.value)


def test_word_alone() -> None:
    """A word that is neither a command nor an override points to the help."""
    for text in ("", "train", "optimizer.lr"):
        with pytest.raises(UserError, match="--help"):
            parse_overrides([text])


def test_package() -> None:
    for text in ("+optimizer@other=adam", "optimizer@other=adam"):
        with pytest.raises(UserError) as error:
            parse_overrides([text])
        assert error.value.field == "optimizer"
