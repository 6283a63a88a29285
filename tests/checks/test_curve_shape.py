"""The name of a loss curve, over the cases of the rules that read curves, and over curves of closed form."""

from __future__ import annotations

import math
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
import yaml

from pipeline.checks.curve_shape import SHAPE_OF_CHECK, CurveShape, classify_curve
from pipeline.checks.finding import Rule

FOLDER = Path(__file__).parents[2]
MENU = yaml.safe_load((FOLDER / "conf" / "checks" / "default.yaml").read_text())["rules"]
RULES: dict[str, Rule] = {
    name: resolve_name(node["_target_"])(**{key: value for key, value in node.items() if not key.startswith("_")})
    for name, node in MENU.items()
}
FIRES = [
    pytest.param(check, case, id=f"{check}: {name}")
    for check in SHAPE_OF_CHECK
    for name, case in yaml.safe_load((FOLDER / "tests/checks/cases" / f"{check}.yaml").read_text())["fires"].items()
    if "epochs" in case["signals"]
]


def curve(losses: list[float], **changes: Any) -> dict[str, Any]:
    """A training of 400 steps at one rate, whose answers are far better than chance."""
    ends = [100, 200, 300, 400]
    columns = {"step": ends, "lr": [0.01] * 4, "loss": [losses[end - 1] for end in ends]}
    rights = {name: [0.5, 0.7, 0.8, 0.9] for name in ("accuracy", "probe_accuracy", "val_accuracy")}
    about = {"classes": 10, "train_examples": 1000, "val_examples": 400, "batch_size": 10, "epochs_planned": 4}
    return about | {"losses": losses, "accuracies": [0.9] * 400, "epochs": columns | rights, "lr": 0.01} | changes


PLATEAU = next(case.values[1]["signals"] for case in FIRES if case.values[0] == "loss_plateau")
"""Any signals for which a rule finds something."""
GOOD = [0.1 + 2.2 * math.exp(-step / 100) for step in range(400)]


@pytest.mark.parametrize(("check", "case"), FIRES)
def test_the_first_rule_that_holds_names_the_curve(check: str, case: dict[str, Any]) -> None:
    signals = case["signals"]
    found = classify_curve(signals, RULES)
    assert found is not None
    first, finding = next((name, held) for name in SHAPE_OF_CHECK if (held := RULES[name](signals)) is not None)
    assert list(SHAPE_OF_CHECK).index(first) <= list(SHAPE_OF_CHECK).index(check)
    never_left_chance = first == "loss_plateau" and finding.severity == "failure"
    assert found.name == ("flat" if never_left_chance else SHAPE_OF_CHECK[first])
    assert found.steps
    assert all(1 <= step <= len(signals["losses"]) * signals.get("steps_per_entry", 1) for step in found.steps)


def test_a_plateau_is_marked_after_a_quarter_of_the_way_and_at_the_end() -> None:
    class Plateau:
        explains = ()

        def __call__(self, signals: Any) -> Any:
            return RULES["loss_plateau"](PLATEAU)

    assert classify_curve(curve(GOOD), {"loss_plateau": Plateau()}) == CurveShape("plateau", (100, 400))
    assert classify_curve(curve(GOOD), {"oscillating_loss": Plateau()}) == CurveShape("oscillating", (1, 200, 400))


def test_an_exponential_is_good_and_marked_where_nine_tenths_of_the_fall_are_done() -> None:
    found = classify_curve(curve(GOOD), RULES)
    assert found is not None
    assert found.name == "good"
    assert found.steps[0] == pytest.approx(100 * math.log(10), abs=25)  # smoothed over a tenth of the run


def test_without_rules_a_curve_is_good_or_flat_or_broken() -> None:
    flat = curve(GOOD)
    for name in ("accuracy", "probe_accuracy"):
        flat["epochs"] = flat["epochs"] | {name: [0.1] * 4}
    names = [found.name for signals in (curve(GOOD), flat) if (found := classify_curve(signals, {})) is not None]
    assert names == ["good", "flat"]


def test_a_broken_curve_is_named_by_how_it_broke() -> None:
    exploded = curve(GOOD, exploded=True, exploded_step=7)
    assert (found := classify_curve(exploded, {})) is not None
    assert (found.name, found.steps) == ("exploding", (7,))
    assert (found := classify_curve(exploded | {"nonfinite": ["the loss"], "nonfinite_step": 9}, RULES)) is not None
    assert (found.name, found.steps) == ("not finite", (9,))
    assert (found := classify_curve(curve(GOOD) | {"epochs": {}, "losses": GOOD[:3]}, RULES)) is not None
    assert (found.name, found.steps) == ("cut short", (3,))


def test_other_stages_have_no_curve() -> None:
    assert classify_curve({"classes": 10, "first_loss": 2.3}, RULES) is None
