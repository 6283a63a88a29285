"""The data: class counts, examples after each step of preprocessing, and their principal components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.report.blocks import BLUE, COLOURS, GREEN, INK, ORANGE, Cell, Chart, Images, PngImage, Table
from pipeline.report.figures.png_images import png_image, tile_grid, tile_row
from pipeline.report.figures.traces import axis, round_significant

SPLITS = (("train", "training", BLUE), ("val", "validation", ORANGE), ("test", "test", GREEN))
MAX_CLASSES = 40


def class_counts(classes: Sequence[str], by_split: Mapping[str, Sequence[int]]) -> Chart:
    """Return the number of examples of each class in every split."""
    shown = min(len(classes), MAX_CLASSES)
    data = [
        {"type": "bar", "x": list(classes)[:shown], "y": list(by_split[key])[:shown], "name": name,
         "marker": {"color": color}}
        for key, name, color in SPLITS
        if key in by_split
    ]  # fmt: skip
    note = f"The first {shown} of {len(classes)} classes." if shown < len(classes) else ""
    figure = {"data": data, "layout": {"xaxis": {"type": "category"}, "yaxis": axis("examples")}}
    return Chart("class-counts", "Examples per class", figure, note=note, height=300)


def examples(images: Mapping[str, Any], classes: Sequence[str]) -> Table | None:
    """Return training examples after each step of preprocessing: a row per class, a column per step."""
    sheets = images.get("examples")
    if sheets is None:
        return None
    steps = [str(step) for step in images["steps"]]
    scale = 1.0 if sheets.shape[3] >= 32 else 1.5 if sheets.shape[3] >= 20 else 3.0
    rows: list[list[Cell]] = [
        [classes[label], *(png_image(tile_row(sheet[label]), f"{classes[label]}, {step}", scale=scale)
                           for sheet, step in zip(sheets, steps, strict=True))]
        for label in range(min(sheets.shape[1], len(classes)))
    ]  # fmt: skip
    if "mixed_with" in images:
        steps = [*steps, "mixed with"]
        for row, partners, shares in zip(rows, images["mixed_with"], images["mixed_share"], strict=False):
            row.append(_list_partners(partners, shares, classes))
    part = f", of the first {len(rows)} of {len(classes)} classes" if len(rows) < len(classes) else ""
    caption = f"Training examples after each step of preprocessing{part}. Where values have a sign, grey is zero."
    return Table(["class", *steps], rows, caption=caption, sortable=False)


def _list_partners(partners: Sequence[int], shares: Sequence[float], classes: Sequence[str]) -> str:
    """Return the class of the other image in each mixed tile of a row, and its share."""
    pairs = [(int(label), float(share)) for label, share in zip(partners, shares, strict=True) if label >= 0]
    return ", ".join(f"{classes[label] if label < len(classes) else label} {share:.0%}" for label, share in pairs)


def mean(images: Mapping[str, Any]) -> Images | None:
    """Return the mean of the training images."""
    if images.get("mean") is None:
        return None
    pixels = images["mean"]
    scale = max(1.0, round(196 / max(pixels.shape[:2])))
    image = png_image(pixels, "the mean image", scale=scale)
    return Images("Mean image", [("", image)], note="The mean of the training images.", wide=False)


def pca_scatter(images: Mapping[str, Any], classes: Sequence[str]) -> list[Chart]:
    """Return training examples along their two principal components, before preprocessing and after it."""
    point_sets = images.get("plane")
    if point_sets is None:
        return []
    labels = [int(label) for label in images["plane_labels"]]
    charts = (("pca-before", "Pixels"), ("pca-after", "After preprocessing"))
    return [
        _scatter(points, labels, classes, chart_id=chart_id, title=title)
        for points, (chart_id, title) in zip(point_sets, charts, strict=True)
    ]


def _scatter(points: Any, labels: Sequence[int], classes: Sequence[str], *, chart_id: str, title: str) -> Chart:
    x, y = (round_significant([float(v) for v in points[:, column]]) for column in (0, 1))
    names = [classes[label] if label < len(classes) else str(label) for label in labels]
    has_few_classes = len(classes) <= len(COLOURS)
    color: Any = [COLOURS[label] for label in labels] if has_few_classes else labels
    marker = {"size": 5, "opacity": 0.75, "color": color} | ({} if has_few_classes else {"colorscale": "Viridis"})
    dots: dict[str, Any] = {"type": "scatter", "mode": "markers", "hoverinfo": "text"}
    cloud = dots | {"x": x, "y": y, "text": names, "marker": marker}
    cross = {"symbol": "cross-thin", "size": 16, "color": INK, "line": {"width": 2, "color": INK}}
    origin = dots | {"x": [0], "y": [0], "text": ["zero"], "marker": cross}
    layout = {"showlegend": False, "xaxis": axis("first principal component"), "hovermode": "closest"}
    layout["yaxis"] = axis("second principal component", scaleanchor="x")
    note = "A point is a training example, coloured by class, along the two directions of largest spread; + is zero."
    return Chart(chart_id, title, {"data": [cloud, origin], "layout": layout}, note=note, height=340)


def filters(images: Mapping[str, Any], title: str) -> Images | None:
    """Return the weights of the first layer, tiled."""
    tiles = images.get("filters")
    if tiles is None:
        return None
    sheet = tile_grid(tiles, columns=max(1, min(len(tiles), 16 if tiles.shape[1] < 20 else 12)))
    scale = max(1.0, min(10.0, 440 / sheet.shape[1]))
    return Images(title, [("", png_image(sheet, title, scale=scale))], note="Grey is zero.", wide=False)


def mistake_images(images: Mapping[str, Any]) -> list[PngImage]:
    """Return an image for each mistake that the stage kept."""
    pixels = images.get("mistakes")
    if pixels is None:
        return []
    scale = max(1.0, round(84 / max(pixels.shape[1:3])))
    return [png_image(one, "a mistake", scale=scale) for one in pixels]
