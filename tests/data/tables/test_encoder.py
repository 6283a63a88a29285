"""Columns as inputs: one-hot categories, filled numbers, and the same encoder from plain data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.tables.cell_values import parse_numbers
from pipeline.data.tables.columns import choose_columns
from pipeline.data.tables.encoder import TableEncoder
from pipeline.data.tables.text_file import TextTable
from pipeline.errors import UserError


def fitted(columns: dict[str, list[str]], train: range, **choices: object) -> tuple[TableEncoder, list[str]]:
    n = len(next(iter(columns.values())))
    table = TextTable(Path("t.csv"), columns, range(2, n + 2), choices.pop("separator", ","))  # type: ignore[arg-type]
    return choose_columns(
        table, [], np.arange(n)[train.start : train.stop], **{"drop": "auto", "categories": [], **choices}
    )


def test_numbers_and_categories() -> None:
    """Means and values are those of the training rows: the first four."""
    columns = {"size": ["1", "", "3", "2", "9", "NA"], "colour": ["red", "blue", "?", "red", "green", "blue"]}
    encoder, notes = fitted(columns, range(4))
    assert encoder.inputs == ["size", "size is missing", "colour=blue", "colour=red", "colour is missing"]
    expected = [[1, 0, 0, 1, 0], [2, 1, 1, 0, 0], [3, 0, 0, 0, 1], [2, 0, 0, 1, 0], [9, 0, 0, 0, 0], [2, 1, 1, 0, 0]]
    assert encoder(columns).tolist() == expected
    assert encoder(columns).dtype == np.float32
    assert any("size, colour" in note for note in notes)


def test_missing_values_that_training_does_not_have() -> None:
    encoder, _ = fitted({"a": ["1", "2", "", "x"][:3], "b": ["u", "v", "w"]}, range(2))
    assert encoder({"a": ["", "5"], "b": ["", "w"]}).tolist() == [[1.5, 0, 0], [5, 0, 0]]


def test_rare_values_share_an_input() -> None:
    cells = ["a"] * 60 + ["b"] * 50 + ["c"] * 3 + ["d"] * 2
    encoder, _ = fitted({"k": cells}, range(len(cells)))
    assert encoder.inputs == ["k=a", "k=b", "k is rare"]
    assert encoder({"k": ["b", "d", "new"]}).tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 1]]


def test_state_is_plain_and_gives_the_same_encoder() -> None:
    columns = {
        "t": ["1700000001.5", "1700000003", "1700000002", ""],
        "k": ["a", "b", "a", "c"],
        "z": ["1", "2", "1", "2"],
    }
    encoder, _ = fitted(columns, range(3), categories=["z"])
    assert encoder.inputs == ["t", "k=a", "k=b", "z=1", "z=2"]
    again = TableEncoder.from_state(json.loads(json.dumps(encoder.state())))
    assert again == encoder
    assert encoder(columns)[:3, 0].tolist() == pytest.approx([-2 / 3, 5 / 6, -1 / 6], abs=1e-6)  # no digits are lost
    with pytest.raises(UserError, match="'t'"):
        again({"k": ["a"], "z": ["1"]})
    with pytest.raises(UserError, match="'much'"):
        again({"t": ["much"], "k": ["a"], "z": ["1"]})


def test_what_is_left_out() -> None:
    n = 60
    columns = {
        "id": [str(7 * i) for i in range(n)],
        "count": [str(i + 1) for i in range(n)],
        "name": [f"n{i}" for i in range(n)],
        "empty": [""] * n,
        "price": [str(i * i) for i in range(n)],
        "height": [f"{i / 7}" for i in range(n)],
    }
    encoder, notes = fitted(columns, range(n))
    assert encoder.inputs == ["price", "height"]
    assert "id, count, name" in notes[0]
    assert "empty" in notes[1]
    assert fitted(columns, range(n), drop=["name"])[0].inputs == ["id", "count", "price", "height"]


def test_words_for_numbers() -> None:
    assert parse_numbers(["1e3", "-.5", "+2.", "NaN"])[:3].tolist() == [1000, -0.5, 2]  # type: ignore[index]
    assert parse_numbers(["1_000"]) is None
    assert parse_numbers(["inf"]) is None
    assert parse_numbers(["", "NA"]) is None
    assert parse_numbers(["3,5"]) is None
    assert fitted({"a": ["3,5", "1"]}, range(2), separator=";")[0]({"a": ["3,5", "1.5"]}).tolist() == [[3.5], [1.5]]


def test_percentages_and_dates() -> None:
    columns = {
        "share": ["50%", "7.5 %", "", "0%"],
        "day": ["2024-01-01", "2024/01/02 12:00", "NA", "2024-01-02T12:00:00+12:00"],
        "mixed": ["50%", "7", "50%", "7"],
    }
    encoder, notes = fitted(columns, range(4))
    assert encoder.inputs == ["share", "share is missing", "day", "day is missing", "mixed=50%", "mixed=7"]
    inputs = encoder(columns)
    assert inputs[[0, 1, 3], 0].tolist() == pytest.approx([0.5, 0.075, 0])
    assert (inputs[[1, 3], 2] - inputs[0, 2]).tolist() == pytest.approx([1.5, 1], abs=1e-4)
    assert any("day" in note for note in notes)
    again = TableEncoder.from_state(json.loads(json.dumps(encoder.state())))
    assert np.array_equal(again(columns), inputs)
    for name, cell in (("share", "0.5"), ("day", "soon"), ("day", "2024-02-31")):
        with pytest.raises(UserError, match=f"'{cell}'"):
            again({**columns, name: [cell] * 4})


def test_categories_of_rare_values_alone() -> None:
    cells = [f"c{i % 50}" for i in range(100)]
    encoder, notes = fitted({"city": cells, "a": [str(i % 7) for i in range(100)]}, range(100))
    assert encoder.inputs == ["a"]
    assert any("city" in note for note in notes)


def test_values_that_no_training_row_has() -> None:
    columns = {"k": ["a"] * 60 + ["b"] * 50 + ["c"] * 2, "z": ["u", "v"] * 56}
    new = {"k": ["a", "c", "d", "d", ""], "z": ["u", "w", "v", "u", "u"]}
    encoder, _ = fitted(columns, range(112))
    again = TableEncoder.from_state(json.loads(json.dumps(encoder.state())))
    first, second = again.describe_new(new)
    assert "k: 'd' in 2 rows" in first
    assert "z: 'w' in 1 row" in second
    assert again.describe_new(columns) == []
    old = encoder.state()
    del old["columns"][0]["rare_values"]  # as states were written that do not tell rare values
    assert len(TableEncoder.from_state(old).describe_new(new)) == 1
    _, notes = fitted({"k": [*columns["k"], "only here"]}, range(112))
    assert any("'only here'" in note for note in notes)


@pytest.mark.parametrize(
    ("cells", "value"),
    [
        ([str(i) for i in range(0, 99, 3)] + ["1e30"], "1e30"),
        (["0"] * 90 + ["1", "2", "-1e12"], "-1e12"),
        ([str(i**3) for i in range(50)], None),
        (["0"] * 90 + ["5000"], None),
        (["7"] * 9, None),
    ],
)
def test_outliers_are_named(cells: list[str], value: str | None) -> None:
    _, notes = fitted({"a": cells}, range(len(cells)), drop=[])
    assert [note for note in notes if f"{value} in line {cells.index(value) + 2}" in note] if value else len(notes) == 1
