"""The stage `data`: pictures of what a person should look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.report.blocks import Block, Cell, Images, Table
from pipeline.report.figures.png_images import png_image
from pipeline.report.stage_view import StageData, Tile

TITLES = {
    "blank": "Images of a single colour",
    "repeated": "Images that are in the data twice",
    "alike": "Pairs that are much alike",
    "far": "Images far from all others",
    "class": "Images unlike their class",
}
_SIDE = 96  # pixels on the page of the longer side of a picture


def headline_tile(stage: StageData) -> Tile:
    """Return how many examples are worth a look."""
    found = stage.metrics.get("suspects") or {}
    note = ", ".join(f"{len(suspects)} {kind}" for kind, suspects in found.items())
    return Tile("examples to look at", str(sum(map(len, found.values()))), note, stage.tile_status)


def charts(stage: StageData) -> Sequence[Block | None]:
    """Return the pictures of each kind of suspect; of rows of a table, a list."""
    found = stage.metrics.get("suspects") or {}
    return [_block(kind, suspects, stage.images.get(f"suspects_{kind}")) for kind, suspects in found.items()]


def _block(kind: str, suspects: Sequence[Mapping[str, Any]], pictures: Any) -> Block:
    if pictures is None:
        rows: list[list[Cell]] = [[_place(one), one["label"], one["note"]] for one in suspects]
        return Table(["example", "label", TITLES[kind]], rows)
    scale = max(1.0, _SIDE / max(pictures.shape[2:4]))
    images = []
    for number, one in enumerate(suspects):
        images.append(
            (f"{_place(one)}: {one['label']}; {one['note']}", png_image(pictures[0][number], one["note"], scale=scale))
        )
        if "partner" in one:
            caption = f"{_place(one['partner'])}: {one['partner']['label']}"
            images.append((caption, png_image(pictures[1][number], caption, scale=scale)))
    return Images(TITLES[kind], images, wide=False)


def _place(one: Mapping[str, Any]) -> str:
    return f"{one['split']} {one.get('file', one['index'])}"
