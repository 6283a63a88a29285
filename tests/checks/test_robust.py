"""No rule breaks over NaN and infinities, nor over what was not measured."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.checks.rule_cases import MENU, rule_of, signals_of

ODD = [float("nan"), float("inf"), float("-inf"), 0.0, -1.0, 1e30]
SHARES = ("accuracies", "accuracy", "val_accuracy", "probe_accuracy", "eval_accuracy", "batch_accuracy",
          "constant_features")  # fmt: skip
"""Counts divided by counts, which cannot be odd."""
MEASURED_TOGETHER = {"exploded": "exploded_cost", "overfit_reached": "overfit_loss"}
"""Cases leave out what their own rule does not read; other rules need both or none."""
OPTIONAL = ("samples", "units", "epochs", "accuracies", "chance_loss", "probe_examples")
TRAININGS = [
    signals
    for check in MENU
    for signals in signals_of(check)
    if ("epochs_planned" in signals or "overfit_reached" in signals)
    and all(second in signals for first, second in MEASURED_TOGETHER.items() if first in signals)
]


def numbers(node: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of every float, except of what was configured or counted."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        if key in SHARES:
            continue
        if isinstance(value, float):
            yield node, key
        elif isinstance(value, (dict, list)):
            yield from numbers(value)


@pytest.mark.parametrize("check", MENU)
def test_odd_or_missing_signals_break_no_rule(check: str) -> None:
    generator = random.Random(check)
    rule = rule_of(check)
    for signals in generator.sample(TRAININGS, 25) + signals_of(check):
        changed = copy.deepcopy(signals)
        floats = list(numbers(changed))
        for container, key in generator.sample(floats, min(len(floats), generator.choice([1, 5, len(floats)]))):
            container[key] = generator.choice(ODD)
        finding = rule(changed)
        assert finding is None or finding.check == rule.check
    for signals in TRAININGS[::7]:
        for absent in OPTIONAL:
            rule({key: value for key, value in signals.items() if key != absent})
        rule({**signals, "probe_examples": 0})
