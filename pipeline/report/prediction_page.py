"""The page of `predict`: the pictures of a call with what the network says they are."""

from __future__ import annotations

from collections import Counter
from pathlib import PurePath
from typing import TYPE_CHECKING

from pipeline.report.blocks import Block, Folded, Images, PngImage, Section, StatTiles, Table, Text
from pipeline.report.figures.png_images import png_image
from pipeline.report.page import render_page
from pipeline.report.prediction_files import describe

if TYPE_CHECKING:
    from pipeline.prediction.answers import Answer, Answers

MAX_ROWS = 1000
"""Rows of the table for inputs that are no pictures."""
MIN_SIDE = 64
"""Pixels of the screen for the longer side of a picture; smaller ones are enlarged."""


def prediction_page(result: Answers, *, run: str) -> str:
    """Return a self-contained page: pictures by predicted class, or a table of rows, and what could not be read."""
    with_pictures = [answer for answer in result.answers if answer.picture is not None]
    sections = _picture_sections(with_pictures, result.task) if with_pictures else [_table(result)]
    if result.unreadable:
        lines = [*result.unreadable.items()]
        sections.append(Section("Could not be read", [Folded(f"{len(lines)} inputs", lines)], status="warning"))
    tiles = [("predictions", f"{len(result.answers):,}", "", "")]
    if result.unreadable:
        tiles.append(("could not be read", f"{len(result.unreadable):,}", "", "warning"))
    top: list[Block] = [StatTiles(tiles)]
    if len(with_pictures) < len(result.answers) and with_pictures:
        top.append(Text(f"The page shows the first {len(with_pictures)} pictures.", muted=True))
    return render_page(
        title="Predictions",
        verdict=f"{len(result.answers):,} predictions.",
        status="warning" if result.unreadable else "info",
        subtitle=run,
        top=top,
        sections=sections,
    )


def _picture_sections(answers: list[Answer], task: str) -> list[Section]:
    """Return a section for each class, the most frequent first; in each the least certain pictures come first."""
    counts = Counter(_title(answer, task) for answer in answers)
    sections = []
    for title, count in counts.most_common():
        chosen = [answer for answer in answers if _title(answer, task) == title]
        if task == "classification":
            chosen.sort(key=lambda answer: max(answer.numbers.values()))
        items = [(f"{PurePath(answer.name).name}: {describe(answer, task)}", _png(answer)) for answer in chosen]
        note = "The least certain come first." if task == "classification" else ""
        sections.append(Section(title, [Images("", items, note=note)], summary=f"{count:,} pictures"))
    return sections


def _title(answer: Answer, task: str) -> str:
    return "Values" if task == "regression" else ", ".join(answer.classes) or "No label"


def _png(answer: Answer) -> PngImage:
    assert answer.picture is not None
    longest = max(answer.picture.shape[:2])
    return png_image(answer.picture, answer.name, scale=max(1, MIN_SIDE / longest))


def _table(result: Answers) -> Section:
    names = [*result.answers[0].numbers] if result.task != "classification" else []
    headers = ["input", *(names or ["class", "probability", "all"])]
    rows: list[list[str | float]] = []
    for answer in result.answers[:MAX_ROWS]:
        if names:
            rows.append([answer.name, *answer.numbers.values()])
        else:
            rows.append([answer.name, answer.classes[0], max(answer.numbers.values()), describe(answer, result.task)])
    hidden = len(result.answers) - len(rows)
    return Section(
        "Predictions", [Table(headers, rows, caption=f"{hidden:,} more rows are not shown." if hidden else "")]
    )
