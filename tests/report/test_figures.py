"""Charts from numbers whose picture is known."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pipeline.report.figures import curves, layers, predictions, short_runs
from pipeline.report.figures.traces import depth_colors, downsample, log_axis, round_significant, short_names

SAMPLES = {
    "step": [1, 10],
    "lr": [0.1, 0.2],
    "weights": {"name": ["a.weight", "b.weight"], "gradient": [[1.0, 0.0], [2.0, 3.0]], "weight": [[10.0, 1.0]] * 2,
                "update": [[0.01, 0.0], [0.02, 0.003]]},
}  # fmt: skip


def train(losses: list[float], **more: Any) -> dict[str, Any]:
    return {"losses": losses, "steps_per_entry": 1, "chance_loss": 2.3, **more}


def traces(chart: Any) -> dict[str, Any]:
    """Return the traces of a chart by name."""
    return {trace["name"]: trace for trace in chart.figure["data"]}


@pytest.mark.parametrize(
    ("names", "short"),
    [
        ([*(f"hidden.conv{i}.linear.weight" for i in range(4)), "output.weight"],
         ["conv0", "conv1", "conv2", "conv3", "output"]),
        (["a.x", "a.x#2"], ["x", "x#2"]),
        (["0", "1"], ["0", "1"]),
        (["relu"], ["relu"]),
    ],
)  # fmt: skip
def test_short_names(names: list[str], short: list[str]) -> None:
    assert short_names(names) == short


def test_downsample() -> None:
    """Many points become means of neighbours, at the mean of their positions."""
    assert downsample([float(i) for i in range(10)], most=5) == ([1.5, 3.5, 5.5, 7.5, 9.5], [0.5, 2.5, 4.5, 6.5, 8.5])
    assert downsample([7.0]) == ([1.0], [7.0])


def test_round_significant() -> None:
    assert round_significant([1.23456789, 3, None, "a"]) == [1.2346, 3, None, "a"]
    assert math.isnan(round_significant([math.nan])[0])


@pytest.mark.parametrize(("values", "dtick"), [([0.01, 0.5, None], "D2"), ([1e-9, 1.0], None), ([], None)])
def test_log_ticks(values: list[Any], dtick: str | None) -> None:
    assert log_axis("x", values).get("dtick") == dtick


def test_depth_colors_differ() -> None:
    assert len(set(depth_colors(12))) == 12
    assert depth_colors(1) == ["rgb(62,73,137)"]


def test_update_ratio() -> None:
    chart = layers.updates(SAMPLES)
    assert chart
    assert traces(chart)["a"]["y"] == [0.001, 0.002]
    assert traces(chart)["b"]["y"] == [None, 0.003], "a logarithmic axis has no zero"
    [band] = chart.figure["layout"]["shapes"]
    assert (band["y0"], band["y1"]) == layers.RATIO_BAND


def test_many_classes() -> None:
    """Only the most confused and the worst are drawn, and the page says so."""
    names = [f"c{i}" for i in range(200)]
    metrics: dict[str, Any] = {
        "confusion": [[1, 3], [0, 4]],
        "confusion_classes": [7, 90],
        "confusion_examples": [8, 4],
        "per_class_accuracy": dict.fromkeys(names, 1.0) | {"c7": 0.125},
        "test_accuracy": 0.9,
    }
    chart = predictions.confusion(metrics, names)
    assert chart
    [heat] = chart.figure["data"]
    assert (heat["x"], heat["z"]) == (["c7", "c90"], [[1 / 8, 3 / 8], [0, 1]])
    assert "1 of 8" in str(heat["text"][0][0])
    assert "2" in chart.note
    assert "200" in chart.note
    bars = predictions.per_class(metrics)
    assert bars
    assert len(bars.figure["data"][0]["y"]) == predictions.MAX_BARS
    assert bars.figure["data"][0]["y"][0] == "c7"
    assert "200" in bars.note


def test_nothing_measured_no_chart() -> None:
    assert layers.activation_ridgeline({}, chart_id="x", title="", ill=False) is None
    assert layers.inactive_units({}, {}) is None
    assert predictions.confusion({}, []) is None
    for draw in (
        layers.updates, layers.gradients, layers.first_gradients, curves.accuracy, curves.rate, short_runs.lr_range,
        short_runs.overfit_curve, predictions.members, predictions.calibration, predictions.per_class,
    ):  # fmt: skip
        assert draw({}) is None


@pytest.mark.parametrize(("shape", "colour"), [("good", "var(--green)"), ("plateau", "var(--red)")])
def test_shape_of_loss(shape: str, colour: str) -> None:
    """The chart names the shape, and rings the steps that show it."""
    chart = curves.loss(train([3.0, 2.0, 1.0, 1.0]), shape=shape, at=[2, 4])
    [label] = chart.figure["layout"]["annotations"]
    assert (label["text"], label["font"]["color"]) == (shape, colour)
    assert (traces(chart)["evidence"]["x"], traces(chart)["evidence"]["y"]) == ([2, 4], [2.0, 1.0])


def test_evidence_of_nonfinite_loss_is_at_the_top() -> None:
    chart = curves.loss(train([1.0, 5.0, math.nan]), shape="nonfinite", at=[3])
    assert traces(chart)["evidence"]["y"] == [5.0]


def test_findings_name_the_shape() -> None:
    """A record without a shape, such as that of an interrupted training, has the one of its findings."""
    finding = {"check": "loss_plateau", "severity": "warning", "step": 2}
    chart = curves.loss(train([2.0, 2.0]), findings=[finding], shape=None, at=())
    assert chart.figure["layout"]["annotations"][0]["text"] == "plateau"
    assert traces(chart)["evidence"]["x"] == [2]
    assert curves.loss(train([2.0, 1.0]), shape=None, at=()).figure["layout"]["annotations"] == []


def test_ridgeline_heights() -> None:
    """The histogram of a layer is as high as its fraction of values that are not zero, and a bar shows the others."""
    rows = {"name": ["a", "b"], "low": [0.0, 0.0], "high": [1.0, 1.0], "zero": [0.5, 1.0], "counts": [[1, 2], [0, 0]]}
    chart = layers.activation_ridgeline(rows, chart_id="h", title="", ill=False)
    assert chart
    first, needle, flat, bar = chart.figure["data"]
    assert max(first["y"]) == pytest.approx(1 + layers.ROW_HEIGHT * 0.5)
    assert needle["y"] == pytest.approx([1, 1 + layers.ROW_HEIGHT * 0.5])
    assert set(flat["y"]) == {0.0}
    assert bar["y"] == pytest.approx([0, layers.ROW_HEIGHT])


def test_sample_layers() -> None:
    """Deep networks show some layers, the first and the last among them."""
    assert layers.sample_layers(5) == [0, 1, 2, 3, 4]
    some = layers.sample_layers(100)
    assert (len(some), some[0], some[-1]) == (layers.MAX_LAYERS, 0, 99)


def test_ensemble_beside_members() -> None:
    metrics = {"member_accuracies": [0.8, 0.9], "ensemble_accuracy": 0.91, "ensemble_examples": 100}
    chart = predictions.members(metrics)
    assert chart
    [bars] = chart.figure["data"]
    assert (bars["y"], bars["x"]) == (["member 1", "member 2", "ensemble"], [0.8, 0.9, 0.91])
    assert bars["error_x"]["array"][0] == pytest.approx(0.04)
