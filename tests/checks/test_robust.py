"""Whatever was measured, also NaN and infinities and their words in signals.json: no rule may break over it."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.checks.test_rules import CASES, MENU, rule_of

ODD = [float("nan"), float("inf"), float("-inf"), 0.0, -1.0, 1e30]
SHARES = ("accuracies", "accuracy", "val_accuracy", "probe_accuracy", "eval_accuracy", "batch_accuracy",
          "constant_features")  # fmt: skip
"""Counts divided by counts: they are what they are."""
RECORDED = [
    case["signals"] if kind == "fires" else case
    for file in CASES.values()
    for kind in ("fires", "silent")
    for case in file[kind].values()
]
WHOLE = {"exploded": "exploded_cost", "overfit_reached": "overfit_loss"}
"""Cases leave out what their own rule does not read; what is measured together comes together."""
TRAININGS = [
    signals
    for signals in RECORDED
    if ("epochs_planned" in signals or "overfit_reached" in signals)
    and all(second in signals for first, second in WHOLE.items() if first in signals)
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
def test_odd_numbers_break_no_rule(check: str) -> None:
    generator = random.Random(check)
    rule = rule_of(check)
    own = [s.get("signals", s) for kind in CASES[check].values() for s in kind.values()]
    for signals in generator.sample(TRAININGS, 25) + own:
        changed = copy.deepcopy(signals)
        places = list(numbers(changed))
        for container, key in generator.sample(places, min(len(places), generator.choice([1, 5, len(places)]))):
            container[key] = generator.choice(ODD)
        finding = rule(changed)
        assert finding is None or finding.check == check


@pytest.mark.parametrize("check", MENU)
@pytest.mark.parametrize("absent", ["samples", "units", "epochs", "accuracies", "chance_loss", "probe_examples"])
def test_what_was_not_recorded_breaks_no_rule(check: str, absent: str) -> None:
    rule = rule_of(check)
    for signals in TRAININGS[::7]:
        rule({key: value for key, value in signals.items() if key != absent})
        rule(signals | {"probe_examples": 0})
