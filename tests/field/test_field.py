"""The walk itself: every row of the table has a case, a wrong one is told from a right one, and all are right."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.field import __main__ as walk
from tests.field.case import Trial, Wrong, passed, read_cases, refused, want_words
from tests.field.program import Ended

ROWS = {
    *(7, 11, 12, 13, 15, 17, 21, 22, 32, 34, 35, 41, 42, 43, 44, 45, 50, 52, 55, 56, 60, 64, 65, 66, 67, 69, 70),
    *(75, 76, 78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 90, 91, 92, 93, 94, 95, 96, 97),
    *(101, 104, 105, 107, 108, 111, 112, 115, 116),
}
"""The rows of the table that were not right."""
SOURCE = "error: data.path: {}/a.csv is not a .npz file. Use data=csv."


def test_every_row_has_a_case() -> None:
    numbers = [case.number for case in read_cases() if not case.slow]
    assert ROWS - set(numbers) == set()
    assert len(numbers) == len(set(numbers))


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert walk.main(["--list", "--only", "44", "7"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["7", "44"]
    assert walk.main(["--only", "9999"]) == 2


@pytest.mark.parametrize(
    ("code", "text", "words", "without"),
    [
        (0, SOURCE, (), ()),
        (1, SOURCE, (), ()),
        (2, "Traceback (most recent call last):\n" + SOURCE, (), ()),
        (2, SOURCE + "\nerror: once more", (), ()),
        (2, SOURCE, ("data=npz",), ()),
        (2, SOURCE, (), ("DATA=csv",)),
    ],
)
def test_wrong_refusals(tmp_path: Path, code: int, text: str, words: tuple[str, ...], without: tuple[str, ...]) -> None:
    with pytest.raises(Wrong):
        refused(Ended(code, text, tmp_path, 0.0), *words, without=without)


def test_right_refusal_leaves_nothing(tmp_path: Path) -> None:
    ended = Ended(2, SOURCE, tmp_path, 0.0)
    assert refused(ended, "not a", "data=csv", without=("allow_pickle",)) == SOURCE
    (tmp_path / "run").mkdir()
    with pytest.raises(Wrong):
        refused(ended)


def test_words_over_lines() -> None:
    want_words("one\n  two", ("one two",))
    with pytest.raises(Wrong):
        passed(Ended(3, "failed", Path("nowhere"), 0.0))


def test_program(tmp_path: Path) -> None:
    """A command is a process of its own: its exit code, what it prints, and its folder."""
    trial = Trial(tmp_path)
    before = dict(sys.modules)
    assert "no_such" in refused(trial.run("no_such=1"))
    assert trial.command("explain", "dead_units").code == 0
    assert set(sys.modules) == set(before)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_all_rows_are_right(capfd: pytest.CaptureFixture[str]) -> None:
    code = walk.main(["--jobs", "2"])
    printed = capfd.readouterr().out
    assert code == 0, [line for line in printed.splitlines() if "WRONG" in line]
