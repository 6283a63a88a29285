"""The shape of a loss curve, on the cases of the rules that read curves and on curves of closed form."""

from __future__ import annotations

import math
from typing import Any, get_args

import pytest

from pipeline.checks.curve_shape import (
    BROKEN_SHAPE_OF_CHECK,
    HEALTHY_SHAPES,
    SHAPE_OF_CHECK,
    CurveShape,
    ShapeName,
    classify_curve,
)
from tests.checks.rule_cases import CASES, MENU, rule_of

RULES = {check: rule_of(check) for check in MENU}
FIRES = {
    check: {name: case["signals"] for name, case in CASES[check]["fires"].items() if "epochs" in case["signals"]}
    for check in SHAPE_OF_CHECK
}
GOOD = [0.1 + 2.2 * math.exp(-step / 100) for step in range(400)]


def curve(losses: list[float], **changes: Any) -> dict[str, Any]:
    """A training of 400 steps at one rate, whose accuracy is far better than chance."""
    ends = [100, 200, 300, 400]
    columns = {"step": ends, "lr": [0.01] * 4, "loss": [losses[end - 1] for end in ends]}
    accuracies = {name: [0.5, 0.7, 0.8, 0.9] for name in ("accuracy", "probe_accuracy", "val_accuracy")}
    config = {"classes": 10, "train_examples": 1000, "val_examples": 400, "batch_size": 10, "epochs_planned": 4}
    return config | {"losses": losses, "accuracies": [0.9] * 400, "epochs": columns | accuracies, "lr": 0.01} | changes


@pytest.mark.parametrize("check", SHAPE_OF_CHECK)
def test_the_first_rule_that_fires_names_the_curve(check: str) -> None:
    order = list(SHAPE_OF_CHECK)
    for name, signals in FIRES[check].items():
        if "classes" not in signals:  # a log of another program, whose curve has no name
            continue
        shape = classify_curve(signals, RULES)
        assert shape is not None, name
        first, finding = next((rule, f) for rule in order if (f := RULES[rule](signals)) is not None)
        assert order.index(first) <= order.index(check), name
        never_left_chance = first == "loss_plateau" and finding.severity == "failure"
        assert shape.name == ("flat" if never_left_chance else SHAPE_OF_CHECK[first]), name
        last = len(signals["losses"]) * signals.get("steps_per_entry", 1)
        assert shape.steps, name
        assert all(1 <= step <= last for step in shape.steps), name


def test_steps_that_show_a_plateau_or_an_oscillation() -> None:
    """A plateau is marked after a quarter of the run and at the end, an oscillation at start, middle and end."""

    def fire(signals: Any) -> Any:
        return RULES["loss_plateau"](next(iter(FIRES["loss_plateau"].values())))

    assert classify_curve(curve(GOOD), {"loss_plateau": fire}) == CurveShape("plateau", (100, 400))
    assert classify_curve(curve(GOOD), {"oscillating_loss": fire}) == CurveShape("oscillating", (1, 200, 400))


def test_an_exponential_is_good_and_marked_at_nine_tenths_of_its_drop() -> None:
    shape = classify_curve(curve(GOOD), RULES)
    assert shape is not None
    assert shape.name == "good"
    assert shape.steps[0] == pytest.approx(100 * math.log(10), abs=25)  # smoothed over a tenth of the run


def test_without_rules_a_curve_is_good_or_flat() -> None:
    at_chance = curve(GOOD)
    at_chance["epochs"] |= {name: [0.1] * 4 for name in ("accuracy", "probe_accuracy")}
    shapes = [classify_curve(signals, {}) for signals in (curve(GOOD), at_chance)]
    assert [shape.name for shape in shapes if shape is not None] == ["good", "flat"]


@pytest.mark.parametrize(
    ("changes", "shape"),
    [
        ({"exploded": True, "exploded_step": 7}, CurveShape("exploding", (7,))),
        (
            {"exploded": True, "exploded_step": 7, "nonfinite": ["a"], "nonfinite_step": 9},
            CurveShape("not finite", (9,)),
        ),
        ({"epochs": {}, "losses": GOOD[:3]}, CurveShape("cut short", (3,))),
    ],
)
def test_a_broken_training(changes: dict[str, Any], shape: CurveShape) -> None:
    assert classify_curve(curve(GOOD) | changes, RULES) == shape


def test_other_stages_have_no_curve() -> None:
    assert classify_curve({"classes": 10, "first_loss": 2.3}, RULES) is None


def test_the_vocabulary_is_closed() -> None:
    """Constants that are keyed by checks, or that select shapes, use only names of the vocabulary."""
    vocabulary = set(get_args(ShapeName))
    assert {*SHAPE_OF_CHECK.values(), *BROKEN_SHAPE_OF_CHECK.values(), *HEALTHY_SHAPES} < vocabulary
    assert {*SHAPE_OF_CHECK, *BROKEN_SHAPE_OF_CHECK} <= set(MENU)
