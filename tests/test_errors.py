"""`UserError`, `Interrupted` and suggestions."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from pipeline.cli.exit_codes import print_error_of_user_code
from pipeline.config.instantiate import call_with_path
from pipeline.errors import CRASHED, Interrupted, UserError, did_you_mean, user_frames


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


def own_code(x: Any) -> None:
    x.missing  # noqa: B018


@pytest.mark.parametrize(("function", "lines"), [(own_code, 1), (call_with_path, 0)])
def test_frames_of_the_user(function: Any, lines: int) -> None:
    """Those below the first frame of this program count, and only where the error did not arise in it."""
    with pytest.raises((AttributeError, TypeError)) as error:
        call_with_path(function, "model", 3)
    assert user_frames(error.value).count("test_errors.py") == user_frames(error.value).count("\n") == lines


def test_errors_of_user_code_end_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AttributeError) as error:
        call_with_path(own_code, "model", 3)
    assert print_error_of_user_code(error.value) == CRASHED
    assert len(capsys.readouterr().err.splitlines()) == 2
    with pytest.raises(ValueError, match="ours"):
        print_error_of_user_code(ValueError("ours"))
