"""A check that could not judge is told apart from one that found nothing."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.checks import CheckSuite, NotChecked, Signals
from pipeline.checks.not_checked import group_by_reason, list_not_checked
from tests.checks.rule_cases import CASES, MENU, rule_of

SUITE = CheckSuite("failure", {check: rule_of(check) for check in MENU})
TRAINING: dict[str, Any] = {
    "epochs_planned": 6,
    "classes": 10,
    "losses": [2.0] * 60,
    "epochs": {"loss": [2.0] * 6, "step": [10 * i for i in range(1, 7)]},
}


def reasons(**stages: dict[str, Any]) -> dict[str, str]:
    return {entry.check: entry.reason for entry in SUITE.not_checked(stages)}


@pytest.mark.parametrize("check", MENU)
def test_what_fires_was_checked(check: str) -> None:
    """Its needs are met in every case that fires, and without one of them it stays silent."""
    rule = rule_of(check)
    for case in CASES[check]["fires"].values():
        signals = case["signals"]
        assert list_not_checked({check: rule}, {"train": signals}) == ()
        for need in rule.needs or rule.reads[:1]:
            if not need.startswith("not "):
                less = without(need.partition(">=")[0], signals)
                assert list_not_checked({check: rule}, {"train": less}) != (), need


def without(need: str, signals: dict[str, Any]) -> dict[str, Any]:
    for choice in need.split("|"):
        key, _, part = choice.partition(".")
        table = signals.get(key)
        signals = {name: value for name, value in signals.items() if name != key}
        if part and table:
            signals[key] = {name: value for name, value in table.items() if name != part}
    return signals


def test_needs_are_signals() -> None:
    for check in MENU:
        rule = rule_of(check)
        for need in rule.needs:
            name, _, threshold = need.removeprefix("not ").partition(">=")
            keys = {choice.partition(".")[0] for choice in name.split("|")}
            assert keys <= Signals.__annotations__.keys(), f"{check}: {need}"
            assert not threshold or hasattr(rule, threshold), f"{check}: {need}"


def test_nothing_ran() -> None:
    assert [entry.check for entry in SUITE.not_checked({})] == list(MENU)
    found = reasons()
    assert found["initial_loss"] == "sanity did not run"
    assert found["rate_too_low"] == "train did not run"
    assert reasons(sanity={"first_loss": 1.0})["rate_falls_early"] == "train did not run"
    assert "learning rates" in reasons(sanity={}, train=TRAINING)["rate_falls_early"]


def test_a_check_judges_where_one_stage_has_its_signals() -> None:
    assert "rate_too_low" not in reasons(overfit={"overfit_reached": True})
    assert "rate_too_low" not in reasons(train=TRAINING)
    layer = {"name": ["1"], "kind": ["relu"], "units": [16], "dead": [0.0]}
    assert "dead_units" not in reasons(sanity={"activations": layer}, train=TRAINING)
    assert "frozen_weights" not in reasons(sanity={"frozen_parameters": []})  # measured, and nothing found


@pytest.mark.parametrize(
    ("check", "stages", "word"),
    [
        ("loss_plateau", {"train": TRAINING | {"exploded": True}}, "broken off"),
        ("loss_plateau", {"train": TRAINING | {"nonfinite": ["loss"]}}, "finite"),
        ("loss_plateau", {"train": TRAINING | {"running": True}}, "not over"),
        ("loss_plateau", {"train": TRAINING | {"losses": [2.0] * 10}}, "50 steps"),
        ("oscillating_loss", {"train": TRAINING | {"epochs": {"loss": [2.0]}}}, "5 epochs"),
        ("overtrained", {"train": TRAINING | {"epochs": {"loss": [2.0], "probe_accuracy": [1.0]}}}, "validation"),
        ("update_ratio_high", {"train": TRAINING}, "inside the network"),
        ("undertrained", {"train": {key: TRAINING[key] for key in TRAINING if key != "classes"}}, "classes"),
        ("initial_loss", {"sanity": {"first_loss": 1.0, "expected_first_loss": None}}, "guess"),
        ("initial_loss", {"sanity": {"output_shape": [1, 2]}}, "shape"),
        ("eager_steps", {"train": TRAINING}, "GPU"),
    ],
)
def test_reasons(check: str, stages: dict[str, Any], word: str) -> None:
    assert word in reasons(**stages)[check]


def test_groups() -> None:
    entries = [NotChecked("a", "one"), NotChecked("b", "two"), NotChecked("c", "two")]
    assert list(group_by_reason(entries).items()) == [("two", ("b", "c")), ("one", ("a",))]
    assert entries[0].to_dict() == {"check": "a", "reason": "one"}
