"""What the trained network answered on the test split: confusions, confidence, and the surest of its mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.report.blocks import BLUE, GREEN, MUTED, ORANGE, SKY, Chart, Images, PlotlyMarkup, PngImage, escape_plotly
from pipeline.report.figures.traces import axis, bars

Metrics = Mapping[str, Any]
WRITTEN = 12
"""Classes up to which the counts stand in the cells of the confusion matrix."""


def confusion(metrics: Metrics, classes: Sequence[str]) -> Chart | None:
    """Rows: the true class. A cell's colour is its share of the row, the diagonal left out of the scale's top."""
    counts = metrics.get("confusion")
    if not counts:
        return None
    shares = [[n / max(1, sum(row)) for n in row] for row in counts]
    cells = [
        [
            PlotlyMarkup(f"{n} of {sum(row)} {escape_plotly(classes[i])}<br>taken for {escape_plotly(classes[j])}")
            for j, n in enumerate(row)
        ]
        for i, row in enumerate(counts)
    ]
    heat: dict[str, Any] = {
        "type": "heatmap",
        "z": shares,
        "x": list(classes),
        "y": list(classes),
        "zmin": 0,
        "zmax": 1,
    }
    heat |= {"text": cells, "hoverinfo": "text", "xgap": 1, "ygap": 1, "showscale": False}
    heat["colorscale"] = [[0, "rgba(0,114,178,0)"], [0.02, "rgba(0,114,178,.10)"], [0.3, "rgba(0,114,178,.65)"],
                          [1, "rgba(0,114,178,1)"]]  # fmt: skip
    layout: dict[str, Any] = {"xaxis": axis("given", type="category", showgrid=False, tickangle=-40)}
    layout["yaxis"] = axis("true", type="category", autorange="reversed", showgrid=False)
    if len(classes) <= WRITTEN:
        layout["annotations"] = [
            {"x": j, "y": i, "text": str(n), "showarrow": False, "font": {"size": 11, "color": _on(shares[i][j])}}
            for i, row in enumerate(counts)
            for j, n in enumerate(row)
            if n
        ]
    return Chart("confusion", "Confusion matrix", {"data": [heat], "layout": layout}, height=460)


def calibration(metrics: Metrics) -> Chart | None:
    """Accuracy against confidence; on the diagonal the network knows how sure it may be."""
    measured = metrics.get("calibration")
    if not measured:
        return None
    bins = [b for b in zip(measured["confidence"], measured["accuracy"], measured["count"], strict=True) if b[2]]
    confidence, accuracy, counts = (list(column) for column in zip(*bins, strict=True))
    sizes = [6 + 24 * (n / max(counts)) ** 0.5 for n in counts]
    told = [f"{n} examples: confidence {c:.3f}, accuracy {a:.3f}" for c, a, n in bins]
    data = [
        {"type": "scatter", "mode": "lines", "x": [0, 1], "y": [0, 1], "name": "as sure as right", "hoverinfo": "skip",
         "line": {"color": MUTED, "dash": "dot", "width": 1.5}},
        {"type": "scatter", "mode": "lines+markers", "x": confidence, "y": accuracy, "name": "network", "text": told,
         "hoverinfo": "text", "line": {"color": BLUE}, "marker": {"size": sizes, "color": BLUE, "opacity": 0.85}},
    ]  # fmt: skip
    word = {"xref": "paper", "yref": "paper", "x": 0.97, "y": 0.05, "xanchor": "right", "showarrow": False}
    word |= {"text": f"calibration error {100 * measured['ece']:.1f} points", "font": {"size": 14}}
    layout = {"xaxis": axis("confidence", range=[0, 1.03], tickformat=".0%"), "annotations": [word]}
    layout["yaxis"] = axis("accuracy", range=[0, 1.05], tickformat=".0%")
    note = "Above the line the network is less sure than it may be, below it surer. Larger dots are more examples."
    return Chart("calibration", "Calibration", {"data": data, "layout": layout}, note=note, height=460)


def per_class(metrics: Metrics) -> Chart | None:
    """Accuracy of each class, the worst first."""
    known = {name: score for name, score in metrics.get("per_class_accuracy", {}).items() if score is not None}
    if not known:
        return None
    names = sorted(known, key=lambda name: known[name])
    texts = [f"{100 * known[name]:.1f} %" for name in names]
    mean = metrics["test_accuracy"]
    data = [bars(names, [known[name] for name in names], "accuracy", BLUE, text=texts, textposition="inside",
                 insidetextanchor="start")]  # fmt: skip
    data[0]["textfont"] = {"color": "#ffffff"}
    upright = {"type": "line", "x0": mean, "x1": mean, "yref": "paper", "y0": 0, "y1": 1}
    shape = upright | {"line": {"color": ORANGE, "width": 2, "dash": "dash"}}
    layout = {"yaxis": {"type": "category", "autorange": "reversed"}, "shapes": [shape]}
    layout["xaxis"] = axis("accuracy", tickformat=".0%", range=[0, 1])
    return Chart("per-class", "Accuracy by class", {"data": data, "layout": layout}, height=110 + 26 * len(names))


def members(metrics: Metrics) -> Chart | None:
    """An ensemble on the validation split against each network in it, with one standard error either way."""
    scores = metrics.get("member_accuracies")
    if not scores or "ensemble_accuracy" not in metrics:
        return None
    whole, n = metrics["ensemble_accuracy"], metrics["ensemble_examples"]
    names = [*(f"member {i}" for i in range(1, len(scores) + 1)), "together"]
    values = [*scores, whole]
    spread = {"type": "data", "array": [(v * (1 - v) / n) ** 0.5 for v in values], "color": MUTED, "thickness": 1.2}
    data = bars(names, values, "accuracy", BLUE, error_x=spread)
    data["marker"] = {"color": [SKY] * len(scores) + [GREEN]}
    low = max(0.0, min(values) - 0.1)
    layout = {"yaxis": {"autorange": "reversed"}}
    layout["xaxis"] = axis("validation accuracy", tickformat=".0%", range=[low, min(1.02, max(values) + 0.06)])
    return Chart(
        "members", "Members, and all together", {"data": [data], "layout": layout}, height=130 + 30 * len(names)
    )


def mistakes(metrics: Metrics, pictures: Sequence[PngImage], classes: Sequence[str]) -> Images | None:
    if not pictures:
        return None
    told = [
        f"{classes[m['label']]}, taken for {classes[m['given']]} ({100 * m['confidence']:.0f}\u00a0%\u00a0sure)"
        for m in metrics["mistakes"]
    ]
    return Images("The most confident mistakes", list(zip(told, pictures, strict=False)), wide=False)


def _on(share: float) -> str:
    return "#ffffff" if share > 0.25 else "var(--ink)"
