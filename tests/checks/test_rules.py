"""Every rule against recorded signals: cases/<check>.yaml lists what must fire and what must stay silent.

The rules are built as conf/checks/default.yaml says, so a new entry there without a case file fails here.
"""

from __future__ import annotations

import copy
import json
import math
from dataclasses import fields
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
import yaml

import pipeline.checks
from pipeline.checks import Finding
from pipeline.checks.finding import Rule
from pipeline.config.compose import compose_config
from pipeline.errors import UserError

MENU = yaml.safe_load((Path(__file__).parents[2] / "conf" / "checks" / "default.yaml").read_text())["rules"]
FILES = Path(__file__).parent / "cases"
CASES = {name: yaml.safe_load((FILES / f"{name}.yaml").read_text()) for name in MENU}
FIRES = [
    pytest.param(check, case, id=f"{check}: {name}") for check in CASES for name, case in CASES[check]["fires"].items()
]
SILENT = [
    pytest.param(check, signals, id=f"{check}: {name}")
    for check in CASES
    for name, signals in CASES[check]["silent"].items()
]


def rule_of(check: str, **changes: Any) -> Rule:
    node = MENU[check] | changes
    cls = resolve_name(node["_target_"])
    return cls(**{key: value for key, value in node.items() if not key.startswith("_")})


def same(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-9) or (a != a and b != b)


@pytest.mark.parametrize(("check", "case"), FIRES)
def test_fires(check: str, case: dict[str, Any]) -> None:
    finding = rule_of(check)(case["signals"])
    assert finding is not None
    assert finding.severity == case["severity"]
    for words in case.get("says", ()):
        assert words in finding.message
    assert case.get("expects", "") in finding.expected
    assert finding.remedy == tuple(case.get("remedy", ()))
    assert finding.where == case.get("where")
    assert finding.step == case.get("step")
    assert finding.measured.keys() == case["measured"].keys()
    for name, value in case["measured"].items():
        assert same(finding.measured[name], value), name


@pytest.mark.parametrize(("check", "case"), FIRES)
def test_a_finding_is_whole_and_plain(check: str, case: dict[str, Any]) -> None:
    finding = rule_of(check)(case["signals"])
    assert finding is not None
    assert finding.check == check
    assert finding.stage == ""  # the judge knows it
    for words in (finding.message, finding.expected, finding.why, finding.source):
        assert words
        assert words.strip() == words
    assert all(type(value) is float for value in finding.measured.values())
    back = json.loads(json.dumps(finding.to_dict()))
    assert back.keys() == {field.name for field in fields(Finding)}
    assert str(Finding(**(back | {"remedy": tuple(back["remedy"])}))) == str(finding)  # NaN differs from itself


@pytest.mark.parametrize(("check", "signals"), SILENT)
def test_stays_silent(check: str, signals: dict[str, Any]) -> None:
    assert rule_of(check)(signals) is None


@pytest.mark.parametrize("check", MENU)
def test_nothing_measured_nothing_said(check: str) -> None:
    assert rule_of(check)({}) is None


@pytest.mark.parametrize(("check", "case"), FIRES)
def test_a_rule_is_pure(check: str, case: dict[str, Any]) -> None:
    rule, signals = rule_of(check), copy.deepcopy(case["signals"])
    assert str(rule(signals)) == str(rule(signals))
    assert str(signals) == str(case["signals"])


def test_remedies_can_be_appended_to_the_command() -> None:
    command = ["init=zeros", "activation=tanh", "batchnorm=none", "optimizer.lr=3", "stages.overfit.steps=2"]
    remedies = dict.fromkeys(
        word for file in CASES.values() for case in file["fires"].values() for word in case.get("remedy", ())
    )
    mended = compose_config([*command, *remedies])  # raises for what is not on the menu
    assert mended.init.weight["_target_"].endswith((".he", ".xavier"))
    assert mended.activation["_target_"] in ("torch.nn.ReLU", "torch.nn.LeakyReLU")
    assert mended.batchnorm.position == "before_activation"
    assert mended.stages.overfit.steps == 1600
    assert mended.optimizer.lr == float([r for r in remedies if r.startswith("optimizer.lr=")][-1].partition("=")[2])


@pytest.mark.parametrize("check", MENU)
def test_a_rule_belongs_to_the_room(check: str) -> None:
    rule = rule_of(check)
    name = type(rule).__name__
    assert MENU[check]["_target_"] == f"pipeline.checks.rules.{check}.{name}"
    assert type(rule).__module__ == f"pipeline.checks.rules.{check}"  # one rule a file, named like it


@pytest.mark.parametrize("check", MENU)
def test_a_rule_says_what_it_is_against_and_what_it_asks(check: str) -> None:
    said = type(rule_of(check)).__doc__ or ""
    assert said.startswith("Anti-pattern: ")
    assert "Rule: " in said


@pytest.mark.parametrize("check", MENU)
def test_a_rule_explains_only_checks_that_come_after_it(check: str) -> None:
    order = list(MENU)
    explains = rule_of(check).explains
    assert isinstance(explains, tuple)
    assert set(explains) <= set(order[order.index(check) + 1 :])


def test_every_rule_of_the_room_is_on_the_menu() -> None:
    shared = {"__init__"}
    files = {file.stem for file in (Path(pipeline.checks.__file__).parent / "rules").glob("*.py")} - shared
    assert files == set(MENU)
    assert {file.stem for file in FILES.iterdir()} == set(MENU)


@pytest.mark.parametrize(
    ("check", "changes", "field"),
    [
        ("initial_loss", {"warning": 0}, "warning"),
        ("initial_loss", {"warning": float("nan")}, "warning"),
        ("initial_loss", {"warning": 0.5, "failure": 0.4}, "failure"),
        ("initial_loss", {"warning_below": 0}, "warning_below"),
        ("input_ignored", {"min_margin": -0.1}, "min_margin"),
        ("input_ignored", {"min_margin": 1}, "min_margin"),
        ("input_ignored", {"min_margin": "0.1"}, "min_margin"),
    ],
)
def test_thresholds_are_validated_when_built(check: str, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(UserError) as error:
        rule_of(check, **changes)
    assert error.value.field == field


def test_the_bounds_themselves_are_allowed() -> None:
    signals = {"first_loss": 3.0, "expected_first_loss": 2.0, "logit_std": 1.0}  # off by exactly one half
    assert rule_of("initial_loss", warning=0.5, failure=0.5)(signals) is None
    finding = rule_of("initial_loss", warning=0.25, failure=0.5)(signals)
    assert finding is not None
    assert finding.severity == "warning"
    ignored = {"fit_loss": 2.0, "fit_loss_zeroed": 2.0, "fit_steps": 1}
    assert rule_of("input_ignored", min_margin=0)(ignored) is not None
    assert rule_of("input_ignored", min_margin=0)(ignored | {"fit_loss": 1.999}) is None
