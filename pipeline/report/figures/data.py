"""The data: counts, examples after each step of preprocessing, and what preprocessing did to the cloud of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.report.blocks import BLUE, COLOURS, GREEN, INK, ORANGE, Cell, Chart, Images, PngImage, Table
from pipeline.report.figures.traces import axis, round_significant
from pipeline.report.png import picture, strip

SPLITS = (("train", "training", BLUE), ("val", "validation", ORANGE), ("test", "test", GREEN))
CLASSES = 40


def class_counts(classes: Sequence[str], by_split: Mapping[str, Sequence[int]]) -> Chart:
    """Examples per class, of every split."""
    shown = min(len(classes), CLASSES)
    data = [
        {"type": "bar", "x": list(classes)[:shown], "y": list(by_split[key])[:shown], "name": name,
         "marker": {"color": color}}
        for key, name, color in SPLITS
        if key in by_split
    ]  # fmt: skip
    note = f"The first {shown} of {len(classes)} classes." if shown < len(classes) else ""
    figure = {"data": data, "layout": {"xaxis": {"type": "category"}, "yaxis": axis("examples")}}
    return Chart("class-counts", "Examples per class", figure, note=note, height=300)


def examples(pictures: Mapping[str, Any], classes: Sequence[str]) -> Table | None:
    """A row per class, a column per step: the same images all the way into the network."""
    sheets = pictures.get("examples")
    if sheets is None:
        return None
    steps = [str(step) for step in pictures["steps"]]
    scale = 1.0 if sheets.shape[3] >= 32 else 1.5 if sheets.shape[3] >= 20 else 3.0
    rows: list[list[Cell]] = [
        [classes[label], *(picture(strip(sheet[label]), f"{classes[label]}, {step}", scale=scale)
                           for sheet, step in zip(sheets, steps, strict=True))]
        for label in range(min(sheets.shape[1], len(classes)))
    ]  # fmt: skip
    rest = f", the first {len(rows)} of {len(classes)} classes" if len(rows) < len(classes) else ""
    caption = f"Training examples on their way into the network{rest}. Where values have a sign, grey is zero."
    return Table(["class", *steps], rows, caption=caption, sortable=False)


def mean(pictures: Mapping[str, Any]) -> Images | None:
    if pictures.get("mean") is None:
        return None
    pixels = pictures["mean"]
    scale = max(1.0, round(196 / max(pixels.shape[:2])))
    shown = picture(pixels, "the mean image", scale=scale)
    return Images("Mean image", [("", shown)], note="Of training images.", wide=False)


def pca_scatter(pictures: Mapping[str, Any], classes: Sequence[str]) -> list[Chart]:
    """The cloud of training examples before preprocessing and after, each along its two widest directions."""
    clouds = pictures.get("plane")
    if clouds is None:
        return []
    labels = [int(label) for label in pictures["plane_labels"]]
    return [
        _cloud(points, labels, classes, id=id, title=title)
        for points, id, title in zip(
            clouds, ("plane-before", "plane-after"), ("Pixels", "After preprocessing"), strict=True
        )
    ]


def _cloud(points: Any, labels: Sequence[int], classes: Sequence[str], *, id: str, title: str) -> Chart:
    x, y = (round_significant([float(v) for v in points[:, axis_]]) for axis_ in (0, 1))
    names = [classes[label] if label < len(classes) else str(label) for label in labels]
    few = len(classes) <= len(COLOURS)
    color: Any = [COLOURS[label] for label in labels] if few else labels
    marker = {"size": 5, "opacity": 0.75, "color": color} | ({} if few else {"colorscale": "Viridis"})
    dots: dict[str, Any] = {"type": "scatter", "mode": "markers", "hoverinfo": "text"}
    cloud = dots | {"x": x, "y": y, "text": names, "marker": marker}
    cross = {"symbol": "cross-thin", "size": 16, "color": INK, "line": {"width": 2, "color": INK}}
    origin = dots | {"x": [0], "y": [0], "text": ["zero"], "marker": cross}
    layout = {"showlegend": False, "xaxis": axis("widest direction"), "hovermode": "closest"}
    layout["yaxis"] = axis("second widest", scaleanchor="x")
    note = "A point is a training example, coloured by class, along the two directions of largest spread; + is zero."
    return Chart(id, title, {"data": [cloud, origin], "layout": layout}, note=note, height=340)


def filters(arrays: Mapping[str, Any], title: str) -> Images | None:
    """First-layer weights, tiled."""
    tiles = arrays.get("filters")
    if tiles is None:
        return None
    columns = max(1, min(len(tiles), 16 if tiles.shape[1] < 20 else 12))
    rows = [strip(tiles[i : i + columns], fill=columns) for i in range(0, len(tiles), columns)]
    gap = np.zeros((1, *rows[0].shape[1:]), np.uint8)
    sheet = np.concatenate([part for row in rows for part in (row, gap)][:-1])
    scale = max(1.0, min(10.0, 440 / sheet.shape[1]))
    return Images(title, [("", picture(sheet, title, scale=scale))], note="Grey is zero.", wide=False)


def tiles(arrays: Mapping[str, Any]) -> list[PngImage]:
    """One picture per wrong answer."""
    pixels = arrays.get("mistakes")
    if pixels is None:
        return []
    scale = max(1.0, round(84 / max(pixels.shape[1:3])))
    return [picture(one, "a wrong answer", scale=scale) for one in pixels]
