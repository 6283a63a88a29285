"""Logs and loops of strangers lack signals: no rule raises where a key, or a column of a table, is missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.checks import CheckSuite
from tests.checks.rule_cases import MENU, rule_of, signals_of


def with_one_missing(signals: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, value in signals.items():
        yield key, {name: other for name, other in signals.items() if name != key}
        if key in ("data", "epochs", "samples") and isinstance(value, dict):
            for column in value:
                rest = {name: other for name, other in value.items() if name != column}
                yield f"{key}.{column}", signals | {key: rest}


@pytest.mark.parametrize("check", MENU)
def test_a_rule_is_silent_or_judges(check: str) -> None:
    rule, broken = rule_of(check), {}
    for signals in signals_of(check):
        for name, partial in with_one_missing(signals):
            try:
                CheckSuite("failure", {check: rule}).evaluate(partial, stage="train")
            except Exception as error:  # noqa: BLE001 - all offenders at once
                broken[name] = repr(error)
    assert broken == {}


def test_what_a_rule_asks_for_in_vain_is_told() -> None:
    """The needs of the rule are met, and it cannot judge all the same."""
    rule = rule_of("frozen_weights")
    signals = {"frozen_parameters": ["a"], "parameters": 3, "frozen_inside": ["a"]}
    checks = CheckSuite("failure", {"frozen_weights": rule})
    assert checks.evaluate(signals, stage="sanity") == []
    (entry,) = checks.not_checked({"sanity": signals})
    assert "trained_share" in entry.reason or "frozen_prefixes" in entry.reason
