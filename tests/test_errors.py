"""`UserError`, `Interrupted` and suggestions."""

from __future__ import annotations

import pickle

import pytest

from pipeline.errors import Interrupted, UserError, did_you_mean


class Narrower(UserError):
    pass


def test_text() -> None:
    assert str(UserError("must be above 0.", field="width")) == "width: must be above 0."
    assert str(UserError("nothing to do.")) == "nothing to do."


def test_with_prefix() -> None:
    error = UserError("must be above 0.", field="width")
    outer = error.with_prefix("block").with_prefix("model")
    assert outer.field == "model.block.width"
    assert outer.message == error.message
    assert error.field == "width"  # the inner error is as it was


def test_empty_prefix() -> None:
    assert UserError("x", field="width").with_prefix("").field == "width"


def test_prefix_without_field() -> None:
    error = UserError("nothing to do.")
    assert error.with_prefix("model") is error


@pytest.mark.parametrize("field", ["model.width", None])
@pytest.mark.parametrize("cls", [UserError, Narrower])
def test_user_error_is_pickled(cls: type[UserError], field: str | None) -> None:
    error = pickle.loads(pickle.dumps(cls("too wide", field=field)))
    assert type(error) is cls
    assert (error.message, error.field, str(error)) == (
        "too wide",
        field,
        str(UserError("too wide", field=field)),
    )


def test_interrupted_is_pickled() -> None:
    stop = pickle.loads(pickle.dumps(Interrupted(15)))
    assert stop.signal == 15
    assert str(stop) == str(Interrupted(15))


def test_interrupted_is_no_exception() -> None:
    assert not issubclass(Interrupted, Exception)
    assert Interrupted(2).signal == 2


@pytest.mark.parametrize(
    ("word", "options", "text"),
    [
        ("adm", ["sgd", "adam"], " Did you mean 'adam'?"),
        ("adm", ["adamw", "sgd", "adam"], " Did you mean 'adam' or 'adamw'?"),  # the nearest first
        ("adm", ["adam", "adam"], " Did you mean 'adam'?"),
        ("adm", iter(["sgd", "adam"]), " Did you mean 'adam'?"),
        ("xyz", ["sgd", "adam"], ""),
        ("adam", [], ""),
        ("lr", ["lrs", "optimizer.lr"], " Did you mean 'optimizer.lr'?"),  # a whole last part beats likeness
        ("width", ["model.width", "block.width"], " Did you mean 'model.width' or 'block.width'?"),
    ],
)
def test_did_you_mean(word: str, options: list[str], text: str) -> None:
    assert did_you_mean(word, options) == text


@pytest.mark.parametrize("options", [["aaab", "aaac", "aaad", "aaae"], ["a.aaa", "b.aaa", "c.aaa", "d.aaa"]])
def test_most(options: list[str]) -> None:
    assert did_you_mean("aaa", options).count("'") == 2 * 3
    assert did_you_mean("aaa", options, most=1).count("'") == 2
