"""How findings are gathered, ranked over the stages of a run, and turned into a verdict."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import pytest

from pipeline.checks import CheckSuite, Finding
from pipeline.checks.finding import rank_findings
from pipeline.errors import UserError


def finding(check: str, severity: Any = "failure", **more: Any) -> Finding:
    texts: dict[str, Any] = {"expected": "less", "message": "too much", "why": "because", "source": "a paper"}
    return Finding(check=check, severity=severity, measured={"loss": 3.0}, remedy=("init=he",), **texts, **more)


@dataclass
class FakeRule:
    """A rule that finds what the signal of its name says."""

    check: str
    explains: tuple[str, ...] = ()

    def __call__(self, signals: Any) -> Finding | None:
        severity = signals.get(self.check)
        return None if severity is None else finding(self.check, severity)


def judged(rules: list[FakeRule], signals: dict[str, str]) -> list[str]:
    return [
        f.check for f in CheckSuite("failure", {rule.check: rule for rule in rules}).evaluate(signals, stage="sanity")
    ]


def test_only_what_fires_is_told_with_its_stage() -> None:
    checks = CheckSuite("failure", {"a": FakeRule("a"), "b": FakeRule("b")})
    assert checks.evaluate({}, stage="sanity") == []
    assert checks.evaluate({"b": "info"}, stage="train") == [finding("b", "info", stage="train")]


def test_worst_first_and_among_equals_the_order_of_the_rules() -> None:
    rules = [FakeRule(name) for name in "abcdef"]
    signals = {"a": "info", "b": "warning", "c": "failure", "d": "info", "e": "failure", "f": "warning"}
    assert judged(rules, signals) == ["c", "e", "b", "f", "a", "d"]


CAUSE, EFFECT, THIRD = (
    FakeRule("cause", explains=("effect",)),
    FakeRule("effect", explains=("third",)),
    FakeRule("third"),
)
CHAIN = CheckSuite("failure", {rule.check: rule for rule in (CAUSE, EFFECT, THIRD, FakeRule("other"))})


@pytest.mark.parametrize(
    ("cause", "effect", "told"),
    [
        ("failure", "failure", ["cause"]),
        ("failure", "warning", ["cause"]),
        ("warning", "warning", ["cause"]),
        ("warning", "info", ["cause"]),
        ("warning", "failure", ["cause", "effect"]),  # worse than its cause: kept, right behind it
        ("info", "info", ["cause", "effect"]),
        ("info", "failure", ["effect", "cause"]),  # info explains nothing
        (None, "failure", ["effect"]),
    ],
)
def test_a_consequence_that_is_no_worse_than_its_cause_is_dropped(cause: Any, effect: Any, told: list[str]) -> None:
    assert judged([CAUSE, EFFECT], {"cause": cause, "effect": effect}) == told
    assert sorted(judged([EFFECT, CAUSE], {"cause": cause, "effect": effect})) == sorted(told)  # whatever the order


def test_causes_explain_the_consequences_of_their_consequences() -> None:
    rules = list(CHAIN.rules.values())
    fails = dict.fromkeys(("cause", "effect", "third", "other"), "failure")
    assert judged(rules, fails) == ["cause", "other"]
    del fails["effect"]
    assert judged(rules, fails) == ["cause", "other"]  # also where the one in between was not measured
    assert judged(rules, fails | {"cause": "warning"}) == ["cause", "third", "other"]
    assert judged(rules, fails | {"effect": "failure", "cause": "warning"}) == ["cause", "effect", "other"]


def test_findings_of_earlier_stages_explain_too() -> None:
    def told(severity: Any, **found: str) -> list[str]:
        return [
            f.check for f in CHAIN.evaluate(found, stage="train", earlier=[finding("cause", severity, stage="sanity")])
        ]

    assert told("warning", third="warning", other="warning") == ["other"]
    assert told("warning", third="failure", other="warning") == ["third", "other"]
    assert told("info", third="warning") == ["third"]
    assert told("failure", effect="failure", third="failure", cause="warning") == ["cause"]  # no check explains itself


def test_a_cause_counts_as_much_as_the_worst_that_it_explains() -> None:
    rules = [FakeRule("early"), CAUSE, FakeRule("between"), EFFECT, FakeRule("late")]
    signals = {"early": "warning", "cause": "warning", "between": "failure", "effect": "failure", "late": "failure"}
    assert judged(rules, signals) == ["cause", "effect", "between", "late", "early"]


def run_order(*found: tuple[str, str, str]) -> list[str]:
    findings = [finding(check, severity, stage=stage) for stage, check, severity in found]
    return [f"{f.stage}.{f.check}" for f in rank_findings(findings, CHAIN.explains)]


def test_the_findings_of_a_run_are_ranked_over_its_stages() -> None:
    assert run_order() == []
    assert run_order(("sanity", "other", "warning"), ("train", "cause", "failure")) == ["train.cause", "sanity.other"]
    # among equals the earlier stage, then the order of the rules
    assert run_order(("sanity", "other", "warning"), ("train", "third", "warning"), ("train", "cause", "info")) == [
        "sanity.other",
        "train.third",
        "train.cause",
    ]
    # a warning of sanity behind which training fails
    assert run_order(("sanity", "other", "warning"), ("sanity", "cause", "warning"), ("train", "third", "failure")) == [
        "sanity.cause",
        "train.third",
        "sanity.other",
    ]
    # what happened later explains nothing that was found before
    assert run_order(("sanity", "third", "failure"), ("sanity", "other", "warning"), ("train", "cause", "warning")) == [
        "sanity.third",
        "sanity.other",
        "train.cause",
    ]
    # a milder consequence does not stand before a failure of another cause
    assert run_order(("sanity", "cause", "failure"), ("train", "third", "warning"), ("train", "other", "failure")) == [
        "sanity.cause",
        "train.other",
        "train.third",
    ]
    # a check that no rule knows, such as a stage's own, stands last among equals
    assert run_order(("a", "unknown", "failure"), ("a", "other", "failure")) == ["a.other", "a.unknown"]


@pytest.mark.parametrize(
    ("fail_on", "failing"), [("failure", {"failure"}), ("warning", {"failure", "warning"}), ("never", set())]
)
def test_the_severity_that_fails_a_stage(fail_on: str, failing: set[str]) -> None:
    checks = CheckSuite(fail_on, {})
    assert not checks.has_failure([])
    for severity in ("failure", "warning", "info"):
        assert checks.has_failure([finding("a", severity)]) is (severity in failing)
    assert checks.has_failure([finding("a", "info"), finding("b", "failure")]) is (fail_on != "never")


@pytest.mark.parametrize("wrong", ["Failure", "info", "", None, True])
def test_fail_on_is_one_of_three_words(wrong: Any) -> None:
    with pytest.raises(UserError, match="failure, warning, never") as error:
        CheckSuite(wrong, {})
    assert error.value.field == "fail_on"


def test_a_finding_is_plain_json_and_comes_back() -> None:
    told = finding("a", "warning", where="hidden.0", step=3, stage="train")
    back = json.loads(json.dumps(told.to_dict()))
    assert told.to_dict()["remedy"] == ["init=he"]
    assert back.keys() == {field.name for field in dataclasses.fields(Finding)}
    assert Finding.from_dict(back) == told


def test_findings_and_rules_never_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        finding("a").check = "b"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        CheckSuite("never", {}).fail_on = "failure"  # type: ignore[misc]
