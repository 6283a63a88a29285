"""How the findings of one stage are gathered, ranked and turned into a verdict."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import pytest

from pipeline.checks import Checks, Finding
from pipeline.errors import UserError


def finding(check: str, severity: Any = "failure", **more: Any) -> Finding:
    texts: dict[str, Any] = {"expected": "less", "message": "too much", "why": "because", "source": "a paper"}
    return Finding(check=check, severity=severity, measured={"loss": 3.0}, remedy=("init=he",), **texts, **more)


@dataclass
class Says:
    """A rule that finds what the signal of its name says."""

    check: str
    explains: tuple[str, ...] = ()

    def __call__(self, signals: Any) -> Finding | None:
        severity = signals.get(self.check)
        return None if severity is None else finding(self.check, severity)


def judged(rules: list[Says], signals: dict[str, str]) -> list[str]:
    return [f.check for f in Checks("failure", {rule.check: rule for rule in rules}).judge(signals, stage="sanity")]


def test_only_what_fires_is_told_with_its_stage() -> None:
    checks = Checks("failure", {"a": Says("a"), "b": Says("b")})
    assert checks.judge({}, stage="sanity") == []
    assert checks.judge({"b": "info"}, stage="train") == [finding("b", "info", stage="train")]


def test_worst_first_and_among_equals_the_order_of_the_rules() -> None:
    rules = [Says(name) for name in "abcdef"]
    signals = {"a": "info", "b": "warning", "c": "failure", "d": "info", "e": "failure", "f": "warning"}
    assert judged(rules, signals) == ["c", "e", "b", "f", "a", "d"]


def test_a_failure_drops_its_consequences() -> None:
    rules = [Says("cause", explains=("effect",)), Says("effect"), Says("other")]
    assert judged(rules, {"cause": "failure", "effect": "failure", "other": "failure"}) == ["cause", "other"]
    assert judged(rules, {"effect": "failure"}) == ["effect"]


@pytest.mark.parametrize("severity", ["warning", "info"])
def test_less_than_a_failure_explains_nothing(severity: str) -> None:
    rules = [Says("cause", explains=("effect",)), Says("effect")]
    assert judged(rules, {"cause": severity, "effect": "failure"}) == ["effect", "cause"]


def test_consequences_are_dropped_whatever_the_order() -> None:
    rules = [Says("effect"), Says("cause", explains=("effect",))]
    assert judged(rules, {"cause": "failure", "effect": "failure"}) == ["cause"]


def test_a_dropped_consequence_explains_nothing_itself() -> None:
    rules = [Says("cause", explains=("effect",)), Says("effect", explains=("third",)), Says("third")]
    assert judged(rules, {"cause": "failure", "effect": "failure", "third": "failure"}) == ["cause", "third"]


@pytest.mark.parametrize(
    ("fail_on", "failing"), [("failure", {"failure"}), ("warning", {"failure", "warning"}), ("never", set())]
)
def test_the_severity_that_fails_a_stage(fail_on: str, failing: set[str]) -> None:
    checks = Checks(fail_on, {})
    assert not checks.fails([])
    for severity in ("failure", "warning", "info"):
        assert checks.fails([finding("a", severity)]) is (severity in failing)
    assert checks.fails([finding("a", "info"), finding("b", "failure")]) is (fail_on != "never")


@pytest.mark.parametrize("wrong", ["Failure", "info", "", None, True])
def test_fail_on_is_one_of_three_words(wrong: Any) -> None:
    with pytest.raises(UserError, match="failure, warning, never") as error:
        Checks(wrong, {})
    assert error.value.field == "fail_on"


def test_a_finding_is_plain_json_and_comes_back() -> None:
    told = finding("a", "warning", where="hidden.0", step=3, stage="train")
    back = json.loads(json.dumps(told.as_dict()))
    assert told.as_dict()["remedy"] == ["init=he"]
    assert back.keys() == {field.name for field in dataclasses.fields(Finding)}
    assert Finding(**(back | {"remedy": tuple(back["remedy"])})) == told


def test_findings_and_rules_never_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        finding("a").check = "b"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        Checks("never", {}).fail_on = "failure"  # type: ignore[misc]
