"""Remedies propose only what changes something, and can be said as a change of code."""

from __future__ import annotations

import ast
import dataclasses
from typing import Any

import pytest

from pipeline.checks import CheckSuite, Finding
from pipeline.checks.remedies import CHANGES, change_of, in_code, is_in_force
from tests.checks.rule_cases import CASES, MENU, rule_of

DECLARED = sorted({remedy for check in MENU for remedy in rule_of(check).remedies})
OPTIONS: dict[str, Any] = {
    "init": "he", "activation": "relu", "optimizer.lr": 0.01, "stages.train.epochs": 400, "batchnorm.recompute": True,
    "stages.train.patience": None, "model.frozen": ["a", "b"], "regularization.dropout": 0.0,
}  # fmt: skip


def is_one_line_of_code(text: str) -> bool:
    ast.parse(text)
    return "\n" not in text and text.strip() == text != ""


def is_sentence(text: str) -> bool:
    return text[:1].isupper() and text.endswith(".") and "{" not in text


@pytest.mark.parametrize("check", MENU)
def test_every_rule_says_what_to_change(check: str) -> None:
    rule = rule_of(check)
    assert is_sentence(rule.advice)
    assert is_one_line_of_code(rule.code)


@pytest.mark.parametrize("remedy", DECLARED)
def test_every_remedy_is_a_change_of_code(remedy: str) -> None:
    change = change_of(remedy.replace("...", "3"))
    assert change is not None
    assert is_sentence(change.advice)
    assert is_one_line_of_code(change.code)
    assert "..." not in remedy or "3" in change.advice + change.code


def test_no_change_is_left_over() -> None:
    declared = [remedy.lstrip("+") for remedy in DECLARED]
    keys = {remedy.removesuffix("=...") for remedy in declared} | {remedy.partition("=")[0] for remedy in declared}
    assert set(CHANGES) - keys == set()


@pytest.mark.parametrize(
    ("override", "holds"),
    [
        ("init=he", True),
        ("init=xavier", False),
        ("batchnorm=none", False),
        ("optimizer.lr=0.01", True),
        ("++optimizer.lr=1e-2", True),
        ("optimizer.lr=0.001", False),
        ("optimizer.lr=fast", False),
        ("stages.train.epochs=400", True),
        ("stages.train.epochs=401", False),
        ("batchnorm.recompute=true", True),
        ("batchnorm.recompute=false", False),
        ("stages.train.patience=null", True),
        ("stages.train.patience=5", False),
        ("model.frozen=[a,b]", True),
        ("model.frozen=[a]", False),
        ("regularization.dropout=0", True),
    ],
)
def test_is_in_force(override: str, holds: bool) -> None:
    assert is_in_force(override, OPTIONS) is holds


def evaluated(remedy: tuple[str, ...], **signals: Any) -> Finding:
    """Return the finding of a rule that proposes `remedy`, as the suite reports it."""

    class Proposes(type(rule_of("symmetric_units"))):  # type: ignore[misc]
        def __call__(self, signals: Any) -> Finding:
            return self.finding("failure", measured={}, expected="e", message="m", remedy=remedy)

    suite = CheckSuite("failure", {"symmetric_units": Proposes()})
    return suite.evaluate(signals, stage="sanity")[0]


def test_what_is_in_force_is_not_proposed() -> None:
    rule = rule_of("symmetric_units")
    found = evaluated(("init=he", "optimizer.lr=0.001"), options=OPTIONS)
    assert (found.remedy, found.advice, found.code) == (("optimizer.lr=0.001",), "", "")
    found = evaluated(("init=he", "activation=relu"), options=OPTIONS)
    assert (found.remedy, found.advice, found.code) == ((), rule.advice, rule.code)


def test_what_the_network_ignores_is_said_as_code() -> None:
    """Also what the configuration has and the network does not."""
    for remedy in ("activation=leaky_relu", "activation=relu"):
        found = evaluated((remedy, "init=xavier"), options=OPTIONS, ignored_keys=["activation"])
        change = CHANGES[remedy]
        assert (found.remedy, found.advice, found.code) == (("init=xavier",), change.advice, change.code)


def test_without_options_every_remedy_stays() -> None:
    assert evaluated(("init=he",)).remedy == ("init=he",)
    assert evaluated(()).advice == rule_of("symmetric_units").advice


def test_in_code() -> None:
    found = in_code(evaluated(("optimizer.lr=0.001", "activation=relu")))
    assert found.remedy == ()
    assert found.code == 'for group in optimizer.param_groups: group["lr"] = 0.001'
    assert "0.001" in found.advice
    assert "nn.ReLU" in found.advice
    assert in_code(found) == found
    exact = dataclasses.replace(evaluated(("optimizer.lr=0.001",)), advice="Divide the rate by ten.", code="lr /= 10")
    assert in_code(exact) == dataclasses.replace(exact, remedy=())  # what the finding says itself is more exact


@pytest.mark.parametrize("check", MENU)
def test_every_finding_has_a_cure(check: str) -> None:
    """Overrides, or a change of the code; in somebody else's training always the latter. An info may need none."""
    for case in CASES[check]["fires"].values():
        found = rule_of(check)(case["signals"])
        if found is not None and (found.severity != "info" or found.remedy):
            assert found.remedy or found.advice
            assert in_code(found).advice
