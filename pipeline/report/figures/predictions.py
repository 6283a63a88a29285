"""The predictions of a trained network: confusion, calibration, accuracy by class, mistakes, members of an ensemble."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.report.blocks import BLUE, GREEN, MUTED, ORANGE, SKY, Chart, Images, PlotlyMarkup, PngImage, escape_plotly
from pipeline.report.figures.traces import axis, bars

Metrics = Mapping[str, Any]
MAX_BARS = 30
"""Most classes whose accuracy is drawn."""
MAX_WRITTEN = 12
"""Most classes whose counts are written into the cells of the confusion matrix."""


def confusion(metrics: Metrics, classes: Sequence[str]) -> Chart | None:
    """Return the confusion matrix: a row is a true class, and the colour of a cell is its fraction of the examples.

    Of many classes, records have those that are confused most.
    """
    counts = metrics.get("confusion")
    if not counts:
        return None
    totals = metrics.get("confusion_examples") or [sum(row) for row in counts]
    shown = metrics.get("confusion_classes") or range(len(counts))
    note = f"The {len(shown)} most confused of {len(classes)} classes." if len(shown) < len(classes) else ""
    classes = [classes[label] for label in shown]
    fractions = [[n / max(1, total) for n in row] for row, total in zip(counts, totals, strict=True)]
    hover_texts = [
        [
            PlotlyMarkup(f"{n} of {totals[i]} {escape_plotly(classes[i])}<br>predicted as {escape_plotly(classes[j])}")
            for j, n in enumerate(row)
        ]
        for i, row in enumerate(counts)
    ]
    heat: dict[str, Any] = {
        "type": "heatmap", "z": fractions, "x": list(classes), "y": list(classes), "zmin": 0, "zmax": 1,
        "text": hover_texts, "hoverinfo": "text", "xgap": 1, "ygap": 1, "showscale": False,
        "colorscale": [[0, "rgba(0,114,178,0)"], [0.02, "rgba(0,114,178,.10)"], [0.3, "rgba(0,114,178,.65)"],
                       [1, "rgba(0,114,178,1)"]],
    }  # fmt: skip
    layout: dict[str, Any] = {"xaxis": axis("predicted", type="category", showgrid=False, tickangle=-40)}
    layout["yaxis"] = axis("true", type="category", autorange="reversed", showgrid=False)
    if len(classes) <= MAX_WRITTEN:
        layout["annotations"] = [
            {"x": j, "y": i, "text": str(n), "showarrow": False,
             "font": {"size": 11, "color": _readable_color(fractions[i][j])}}
            for i, row in enumerate(counts)
            for j, n in enumerate(row)
            if n
        ]  # fmt: skip
    return Chart("confusion", "Confusion matrix", {"data": [heat], "layout": layout}, note=note, height=460)


def calibration(metrics: Metrics) -> Chart | None:
    """Return accuracy against confidence. On the diagonal, the confidence is the probability of being right."""
    measured = metrics.get("calibration")
    if not measured:
        return None
    bins = [b for b in zip(measured["confidence"], measured["accuracy"], measured["count"], strict=True) if b[2]]
    confidence, accuracy, counts = (list(column) for column in zip(*bins, strict=True))
    sizes = [6 + 24 * (n / max(counts)) ** 0.5 for n in counts]
    texts = [f"{n} examples: confidence {c:.3f}, accuracy {a:.3f}" for c, a, n in bins]
    data = [
        {"type": "scatter", "mode": "lines", "x": [0, 1], "y": [0, 1], "name": "perfect calibration",
         "hoverinfo": "skip", "line": {"color": MUTED, "dash": "dot", "width": 1.5}},
        {"type": "scatter", "mode": "lines+markers", "x": confidence, "y": accuracy, "name": "network", "text": texts,
         "hoverinfo": "text", "line": {"color": BLUE}, "marker": {"size": sizes, "color": BLUE, "opacity": 0.85}},
    ]  # fmt: skip
    error = {
        "xref": "paper", "yref": "paper", "x": 0.97, "y": 0.05, "xanchor": "right", "showarrow": False,
        "text": f"calibration error {100 * measured['ece']:.1f} points", "font": {"size": 14},
    }  # fmt: skip
    layout = {"xaxis": axis("confidence", range=[0, 1.03], tickformat=".0%"), "annotations": [error]}
    layout["yaxis"] = axis("accuracy", range=[0, 1.05], tickformat=".0%")
    note = "Above the line the network is underconfident, below it overconfident. Larger dots are more examples."
    return Chart("calibration", "Calibration", {"data": data, "layout": layout}, note=note, height=460)


def per_class(metrics: Metrics) -> Chart | None:
    """Return the accuracy of each class, the worst first and of many only these, with the mean as a line."""
    scores = {name: score for name, score in metrics.get("per_class_accuracy", {}).items() if score is not None}
    if not scores:
        return None
    names = sorted(scores, key=lambda name: scores[name])[:MAX_BARS]
    note = f"The {len(names)} worst of {len(scores)} classes." if len(names) < len(scores) else ""
    texts = [f"{100 * scores[name]:.1f} %" for name in names]
    mean = metrics["test_accuracy"]
    data = [bars(names, [scores[name] for name in names], "accuracy", BLUE, text=texts, textposition="inside",
                 insidetextanchor="start")]  # fmt: skip
    data[0]["textfont"] = {"color": "#ffffff"}
    mean_line = {"type": "line", "x0": mean, "x1": mean, "yref": "paper", "y0": 0, "y1": 1,
                 "line": {"color": ORANGE, "width": 2, "dash": "dash"}}  # fmt: skip
    layout = {"yaxis": {"type": "category", "autorange": "reversed"}, "shapes": [mean_line]}
    layout["xaxis"] = axis("accuracy", tickformat=".0%", range=[0, 1])
    figure = {"data": data, "layout": layout}
    return Chart("per-class", "Accuracy by class", figure, note=note, height=110 + 26 * len(names))


def members(metrics: Metrics) -> Chart | None:
    """Return the validation accuracy of an ensemble and of each member, with one standard error either way."""
    scores = metrics.get("member_accuracies")
    if not scores or "ensemble_accuracy" not in metrics:
        return None
    n = metrics["ensemble_examples"]
    names = [*(f"member {i}" for i in range(1, len(scores) + 1)), "ensemble"]
    values = [*scores, metrics["ensemble_accuracy"]]
    errors = {"type": "data", "array": [(v * (1 - v) / n) ** 0.5 for v in values], "color": MUTED, "thickness": 1.2}
    data = bars(names, values, "accuracy", BLUE, error_x=errors)
    data["marker"] = {"color": [SKY] * len(scores) + [GREEN]}
    low = max(0.0, min(values) - 0.1)
    layout = {"yaxis": {"autorange": "reversed"}}
    layout["xaxis"] = axis("validation accuracy", tickformat=".0%", range=[low, min(1.02, max(values) + 0.06)])
    return Chart("members", "Members and ensemble", {"data": [data], "layout": layout}, height=130 + 30 * len(names))


def mistakes(metrics: Metrics, images: Sequence[PngImage], classes: Sequence[str]) -> Images | None:
    """Return the images of the most confident mistakes with true class, predicted class and confidence."""
    if not images:
        return None
    captions = [
        f"{classes[m['label']]}, predicted {classes[m['given']]} (confidence\u00a0{100 * m['confidence']:.0f}\u00a0%)"
        + (f" {m['file']}" if "file" in m else "")
        for m in metrics["mistakes"]
    ]
    return Images("The most confident mistakes", list(zip(captions, images, strict=False)), wide=False)


def _readable_color(fraction: float) -> str:
    """Return a colour that can be read on a cell of the confusion matrix."""
    return "#ffffff" if fraction > 0.25 else "var(--ink)"
