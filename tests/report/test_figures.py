"""Charts from numbers whose picture is known."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pipeline.report.expected_values import table
from pipeline.report.figures import curves, layers, predictions
from pipeline.report.figures.traces import depth_colors, downsample, log_axis, round_significant, short_names

SAMPLES = {
    "step": [1, 10],
    "lr": [0.1, 0.2],
    "weights": {"name": ["a.weight", "b.weight"], "gradient": [[1.0, 0.0], [2.0, 3.0]], "weight": [[10.0, 1.0]] * 2,
                "update": [[0.01, 0.0], [0.02, 0.003]]},
}  # fmt: skip


def train(losses: list[float], **more: Any) -> dict[str, Any]:
    return {"losses": losses, "steps_per_entry": 1, "chance_loss": 2.3, **more}


def named(chart: Any) -> dict[str, Any]:
    return {trace["name"]: trace for trace in chart.figure["data"]}


def test_names_without_what_all_share() -> None:
    names = [*(f"hidden.conv{i}.linear.weight" for i in range(4)), "output.weight"]
    assert short_names(names) == ["conv0", "conv1", "conv2", "conv3", "output"]
    assert short_names(["a.x", "a.x#2"]) == ["x", "x#2"]
    assert short_names(["0", "1"]) == ["0", "1"]
    assert short_names(["relu"]) == ["relu"]


def test_many_points_become_means_of_neighbours() -> None:
    places, values = downsample([float(i) for i in range(10)], most=5)
    assert values == [0.5, 2.5, 4.5, 6.5, 8.5]
    assert places == [1.5, 3.5, 5.5, 7.5, 9.5]
    assert downsample([7.0]) == ([1.0], [7.0])


def test_digits() -> None:
    assert round_significant([1.23456789, 3, None, "a"]) == [1.2346, 3, None, "a"]
    assert math.isnan(round_significant([math.nan])[0])


def test_ticks_over_few_decades() -> None:
    assert log_axis("x", [0.01, 0.5, None])["dtick"] == "D2"
    assert "dtick" not in log_axis("x", [1e-9, 1.0])
    assert "dtick" not in log_axis("x", [])


def test_colours_by_depth_differ() -> None:
    assert len(set(depth_colors(12))) == 12
    assert depth_colors(1) == ["rgb(62,73,137)"]


def test_the_ratio_is_update_by_weight_with_its_band() -> None:
    chart = layers.updates(SAMPLES)
    assert chart
    assert named(chart)["a"]["y"] == [0.001, 0.002]
    assert named(chart)["b"]["y"] == [None, 0.003], "zero has no place on a logarithmic axis"
    [band] = chart.figure["layout"]["shapes"]
    assert (band["y0"], band["y1"]) == (3e-4, 3e-3)


def test_what_was_not_measured_is_no_chart() -> None:
    assert layers.updates({}) is None
    assert layers.gradients({}) is None
    assert layers.activation_ridgeline({}, id="x", title="", ill=False) is None
    assert layers.inactive_units({}, {}) is None
    assert layers.first_gradients({}) is None
    assert curves.accuracy({}) is None
    assert curves.rate({}) is None
    assert curves.lr_range({}) is None
    assert curves.overfit_curve({}) is None


@pytest.mark.parametrize(
    ("shape", "colour"), [("good", "var(--green)"), ("still falling", "var(--green)"), ("plateau", "var(--red)")]
)
def test_the_shape_stands_on_the_curve_with_its_evidence(shape: str, colour: str) -> None:
    chart = curves.loss(train([3.0, 2.0, 1.0, 1.0]), shape=shape, at=[2, 4])
    [word] = chart.figure["layout"]["annotations"]
    assert word["text"] == shape
    assert word["font"]["color"] == colour
    assert (named(chart)["evidence"]["x"], named(chart)["evidence"]["y"]) == ([2, 4], [2.0, 1.0])


def test_evidence_of_a_loss_that_is_not_finite_stands_at_the_top() -> None:
    chart = curves.loss(train([1.0, 5.0, math.nan]), shape="not finite", at=[3])
    assert named(chart)["evidence"]["y"] == [5.0]


def test_without_a_recorded_shape_findings_name_it() -> None:
    finding = {"check": "loss_plateau", "severity": "warning", "step": 2}
    chart = curves.loss(train([2.0, 2.0]), findings=[finding], shape=None, at=())
    assert chart.figure["layout"]["annotations"][0]["text"] == "plateau"
    assert named(chart)["evidence"]["x"] == [2]
    assert curves.loss(train([2.0, 1.0]), shape=None, at=()).figure["layout"]["annotations"] == []


def test_a_hill_is_as_high_as_its_layer_is_alive() -> None:
    rows = {"name": ["a", "b"], "low": [0.0, 0.0], "high": [1.0, 1.0], "zero": [0.5, 1.0], "counts": [[1, 2], [0, 0]]}
    chart = layers.activation_ridgeline(rows, id="h", title="", ill=False)
    assert chart
    first, needle, flat, bar = chart.figure["data"]
    assert max(first["y"]) == pytest.approx(1 + layers.ROW * 0.5)
    assert needle["y"] == pytest.approx([1, 1 + layers.ROW * 0.5])
    assert set(flat["y"]) == {0.0}
    assert bar["y"] == pytest.approx([0, layers.ROW])


def test_deep_networks_show_some_layers_the_first_and_last_among_them() -> None:
    assert layers.sample_layers(5) == [0, 1, 2, 3, 4]
    some = layers.sample_layers(100)
    assert (len(some), some[0], some[-1]) == (layers.LAYERS, 0, 99)


def test_an_ensemble_stands_beside_its_members() -> None:
    metrics = {"member_accuracies": [0.8, 0.9], "ensemble_accuracy": 0.91, "ensemble_examples": 100}
    chart = predictions.members(metrics)
    assert chart
    [bars] = chart.figure["data"]
    assert (bars["y"], bars["x"]) == (["member 1", "member 2", "together"], [0.8, 0.9, 0.91])
    assert bars["error_x"]["array"][0] == pytest.approx(0.04)
    assert predictions.members({}) is None


def test_a_tick_stands_only_where_the_numbers_hold() -> None:
    """A finding's consequences are not told again, so silence of a check is no tick."""
    overfit = {"overfit_best_loss": math.nan, "overfit_wrong": 0, "overfit_target": 0.01, "overfit_examples": 32}
    told = table("overfit", overfit, {})
    assert told
    assert [row[0] for row in told.rows] == ["", "✓"]
    told = table("overfit", overfit, {"cannot_overfit": "failure"})
    assert told
    assert {row[0] for row in told.rows} == {"✕ failure"}
    assert table("overfit", {}, {}) is None
