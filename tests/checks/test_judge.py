"""How findings are gathered, ranked over the stages of a run, and when they fail a stage."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import pytest

from pipeline.checks import SEVERITIES, CheckSuite, Finding, rank_findings
from pipeline.errors import UserError


def finding(check: str, severity: Any = "failure", **more: Any) -> Finding:
    texts: dict[str, Any] = {"expected": "less", "message": "too much", "why": "because", "source": "a paper"}
    return Finding(check=check, severity=severity, measured={"loss": 3.0}, remedy=("init=he",), **texts, **more)


@dataclass
class FakeRule:
    """A rule whose finding has the severity that the signal of its name holds."""

    check: str
    explains: tuple[str, ...] = ()

    def __call__(self, signals: Any) -> Finding | None:
        severity = signals.get(self.check)
        return None if severity is None else finding(self.check, severity)


def suite(*rules: FakeRule) -> CheckSuite:
    return CheckSuite("failure", {rule.check: rule for rule in rules})


def evaluated(rules: list[FakeRule], signals: dict[str, str]) -> list[str]:
    return [f.check for f in suite(*rules).evaluate(signals, stage="sanity")]


def test_only_rules_that_fire_are_reported_with_their_stage() -> None:
    checks = suite(FakeRule("a"), FakeRule("b"))
    assert checks.evaluate({}, stage="sanity") == []
    assert checks.evaluate({"b": "info"}, stage="train") == [finding("b", "info", stage="train")]


def test_worst_first_and_among_equals_the_order_of_the_rules() -> None:
    rules = [FakeRule(name) for name in "abcdef"]
    signals = {"a": "info", "b": "warning", "c": "failure", "d": "info", "e": "failure", "f": "warning"}
    assert evaluated(rules, signals) == ["c", "e", "b", "f", "a", "d"]


CAUSE, EFFECT, THIRD = (
    FakeRule("cause", explains=("effect",)),
    FakeRule("effect", explains=("third",)),
    FakeRule("third"),
)
CHAIN = suite(CAUSE, EFFECT, THIRD, FakeRule("other"))


@pytest.mark.parametrize(
    ("cause", "effect", "reported"),
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
def test_a_consequence_that_is_no_worse_than_its_cause_is_dropped(cause: Any, effect: Any, reported: list[str]) -> None:
    assert evaluated([CAUSE, EFFECT], {"cause": cause, "effect": effect}) == reported
    assert sorted(evaluated([EFFECT, CAUSE], {"cause": cause, "effect": effect})) == sorted(reported)  # in any order


def test_causes_explain_the_consequences_of_their_consequences() -> None:
    rules: list[Any] = list(CHAIN.rules.values())
    fails = dict.fromkeys(("cause", "effect", "third", "other"), "failure")
    assert evaluated(rules, fails) == ["cause", "other"]
    del fails["effect"]
    assert evaluated(rules, fails) == ["cause", "other"]  # also where the one in between was not measured
    assert evaluated(rules, fails | {"cause": "warning"}) == ["cause", "third", "other"]
    assert evaluated(rules, fails | {"effect": "failure", "cause": "warning"}) == ["cause", "effect", "other"]


def test_findings_of_earlier_stages_explain_too() -> None:
    def reported(severity: Any, **signals: str) -> list[str]:
        cause = finding("cause", severity, stage="sanity")
        return [f.check for f in CHAIN.evaluate(signals, stage="train", earlier=[cause])]

    assert reported("warning", third="warning", other="warning") == ["other"]
    assert reported("warning", third="failure", other="warning") == ["third", "other"]
    assert reported("info", third="warning") == ["third"]
    assert reported("failure", effect="failure", third="failure", cause="warning") == [
        "cause"
    ]  # no check explains itself


def test_a_cause_counts_as_much_as_the_worst_that_it_explains() -> None:
    rules = [FakeRule("early"), CAUSE, FakeRule("between"), EFFECT, FakeRule("late")]
    signals = {"early": "warning", "cause": "warning", "between": "failure", "effect": "failure", "late": "failure"}
    assert evaluated(rules, signals) == ["cause", "effect", "between", "late", "early"]


def run_order(*rows: tuple[str, str, str]) -> list[str]:
    findings = [finding(check, severity, stage=stage) for stage, check, severity in rows]
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
    # a warning of sanity that explains a failure of training
    assert run_order(("sanity", "other", "warning"), ("sanity", "cause", "warning"), ("train", "third", "failure")) == [
        "sanity.cause",
        "train.third",
        "sanity.other",
    ]
    # a later finding explains no earlier one
    assert run_order(("sanity", "third", "failure"), ("sanity", "other", "warning"), ("train", "cause", "warning")) == [
        "sanity.third",
        "sanity.other",
        "train.cause",
    ]
    # a milder consequence does not come before a failure of another cause
    assert run_order(("sanity", "cause", "failure"), ("train", "third", "warning"), ("train", "other", "failure")) == [
        "sanity.cause",
        "train.other",
        "train.third",
    ]
    # a check that is not in the configuration comes last among equals
    assert run_order(("a", "unknown", "failure"), ("a", "other", "failure")) == ["a.other", "a.unknown"]


def test_a_check_of_several_stages_is_one_entry() -> None:
    """The worst counts, else the first, at the place of the one that ranks first; the other stages are named."""
    found = [
        finding("cause", "info", stage="overfit"),
        finding("other", "warning", stage="overfit"),
        finding("cause", "failure", stage="train", where="layer"),
        finding("other", "warning", stage="train"),
        finding("other", "info", stage="evaluate"),
    ]
    shown = [(f.check, f.severity, f.stage, f.also_in) for f in CHAIN.diagnose(found)]
    assert shown == [
        ("cause", "failure", "train", ("overfit",)),
        ("other", "warning", "overfit", ("train", "evaluate")),
    ]
    late = [
        finding("cause", "warning", stage="sanity"),
        finding("effect", stage="train"),
        finding("cause", stage="train"),
    ]
    assert [(f.check, f.stage, f.also_in) for f in CHAIN.diagnose(late)] == [
        ("cause", "train", ("sanity",)),
        ("effect", "train", ()),
    ]
    assert CHAIN.diagnose([]) == ()
    assert [f.also_in for f in CHAIN.diagnose(found[:2])] == [(), ()]


@pytest.mark.parametrize(
    ("fail_on", "failing"), [("failure", {"failure"}), ("warning", {"failure", "warning"}), ("never", set())]
)
def test_the_severity_that_fails_a_stage(fail_on: str, failing: set[str]) -> None:
    checks = CheckSuite(fail_on, {})
    assert not checks.has_failure([])
    for severity in SEVERITIES:
        assert checks.has_failure([finding("a", severity)]) is (severity in failing)
    assert checks.has_failure([finding("a", "info"), finding("b", "failure")]) is (fail_on != "never")


@pytest.mark.parametrize("wrong", ["Failure", "info", "", None, True])
def test_fail_on_is_one_of_three_words(wrong: Any) -> None:
    with pytest.raises(UserError) as error:
        CheckSuite(wrong, {})
    assert error.value.field == "fail_on"


def test_a_finding_is_plain_json_and_comes_back() -> None:
    original = finding("a", "warning", where="hidden.0", step=3, stage="train")
    plain = json.loads(json.dumps(original.to_dict()))
    assert plain["remedy"] == ["init=he"]
    assert plain.keys() == {field.name for field in dataclasses.fields(Finding)}
    assert Finding.from_dict(plain) == original


def test_findings_and_rules_never_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        finding("a").check = "b"
    with pytest.raises(dataclasses.FrozenInstanceError):
        CheckSuite("never", {}).fail_on = "failure"
