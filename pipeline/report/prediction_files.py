"""Predictions as a line of text, as a .csv file, and as plain data for JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.prediction.answers import Answer, Answers


def to_csv(result: Answers, classes: Sequence[str], top_k: int) -> str:
    """Return the table: a class and its probability, then the next ones; the probability of each label; or values."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if result.task == "classification":
        ranks = ["", *(f"_{rank}" for rank in range(2, min(top_k, len(classes)) + 1))]
        writer.writerow(["input", *(f"{column}{rank}" for rank in ranks for column in ("class", "probability"))])
        rows = [[cell for pair in a.numbers.items() for cell in pair] for a in result.answers]
    elif result.task == "multilabel":
        writer.writerow(["input", "labels", *classes])
        rows = [[";".join(a.classes), *a.numbers.values()] for a in result.answers]
    else:
        writer.writerow(["input", *classes])
        rows = [[*a.numbers.values()] for a in result.answers]
    writer.writerows([a.name, *map(_round, row)] for a, row in zip(result.answers, rows, strict=True))
    return text.getvalue()


def _round(cell: Any) -> Any:
    return float(f"{cell:.7g}") if isinstance(cell, float) else cell


def to_dict(result: Answers, run: str, classes: Sequence[str]) -> dict[str, Any]:
    """Return plain data: the run, its classes, the prediction of each input, what could not be read, and notes."""
    names = {"classification": "class", "multilabel": "labels"}
    numbers = "values" if result.task == "regression" else "probabilities"

    def row(answer: Answer) -> dict[str, Any]:
        named: dict[str, Any] = {"input": answer.name}
        if result.task in names:
            labels = list(answer.classes)
            named[names[result.task]] = labels[0] if result.task == "classification" else labels
        return named | {numbers: dict(answer.numbers)}

    return {
        "run": run,
        "task": result.task,
        "classes": list(classes),
        "predictions": [row(answer) for answer in result.answers],
        "unreadable": [{"input": name, "reason": reason} for name, reason in result.unreadable.items()],
        "notes": result.notes,
    }


def describe(answer: Answer, task: str) -> str:
    """Return one line: `cat 0.97, dog 0.02`, the labels that hold, or the values."""
    if task == "multilabel":
        return ", ".join(f"{name} {answer.numbers[name]:.3f}" for name in answer.classes) or "no label"
    sign = " = " if task == "regression" else " "
    form = ".6g" if task == "regression" else ".3f"
    return ", ".join(f"{name}{sign}{number:{form}}" for name, number in answer.numbers.items())
