"""Label columns: which task their values mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.data.tables.targets import read_targets
from pipeline.data.tables.text_file import TextTable


def table(**columns: list[str]) -> TextTable:
    n = len(next(iter(columns.values())))
    return TextTable(Path("t.csv"), columns, range(2, n + 2), ",")


@pytest.mark.parametrize(
    ("cells", "task", "expected", "labels", "classes"),
    [
        (["b", "a", "b"], "auto", "classification", [1, 0, 1], ("a", "b")),
        (["1.0", "1", "3"], "auto", "classification", [0, 0, 1], ("1", "3")),
        (["10", "9", "10"], "auto", "classification", [1, 0, 1], ("9", "10")),
        (["1", "none", "1"], "auto", "classification", [0, 1, 0], ("1", "none")),
        (["True", "False", "True"], "auto", "classification", [1, 0, 1], ("False", "True")),
        (["0.5", "1", "3"], "auto", "regression", [[0.5], [1.0], [3.0]], ("y",)),
        (["1", "2", "3"], "regression", "regression", [[1.0], [2.0], [3.0]], ("y",)),
        ([str(i) for i in range(21)], "auto", "regression", [[float(i)] for i in range(21)], ("y",)),
        (["r;s", "", "s"], "auto", "multilabel", [[1, 1], [0, 0], [0, 1]], ("r", "s")),
        (["r;s", "t", "r;s"], "classification", "classification", [0, 1, 0], ("r;s", "t")),
    ],
)
def test_one_column(cells: list[str], task: str, expected: str, labels: list[object], classes: tuple[str, ...]) -> None:
    targets = read_targets(table(y=cells), ["y"], task=task, separator=None)
    assert (targets.task, targets.labels.tolist(), targets.classes) == (expected, labels, classes)
    numeric = expected == "regression" or classes in (("1", "3"), ("9", "10"))
    assert bool(targets.notes) == (task == "auto" and (numeric or expected == "multilabel"))


def test_a_separator_of_ones_own() -> None:
    targets = read_targets(table(tags=["big red", "red"]), ["tags"], task="auto", separator=" ")
    assert (targets.classes, targets.labels.tolist()) == (("big", "red"), [[1, 1], [0, 1]])


def test_several_columns() -> None:
    targets = read_targets(table(a=["0", "1"], b=["true", "no"]), ["b", "a"], task="auto", separator=None)
    assert (targets.task, targets.classes, targets.labels.tolist()) == ("multilabel", ("b", "a"), [[1, 0], [0, 1]])
    targets = read_targets(table(a=["0", "1"], b=["2.5", "3"]), ["a", "b"], task="auto", separator=None)
    assert (targets.task, targets.labels.tolist()) == ("regression", [[0, 2.5], [1, 3]])
