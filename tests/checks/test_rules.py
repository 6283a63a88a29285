"""Every rule on recorded signals: cases/<check>.yaml lists what must fire and what must stay silent.

The rules are those of conf/checks/default.yaml, so a new entry there without a case file fails here.
"""

from __future__ import annotations

import copy
import json
import math
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import pipeline.checks
from pipeline.checks import SEVERITIES, Finding, Rule, Signals
from pipeline.config.compose import compose_config
from tests.checks.rule_cases import CASES, FOLDER, MENU, rule_of, signals_of

FIRES = [
    pytest.param(check, case, id=f"{check}: {name}") for check in CASES for name, case in CASES[check]["fires"].items()
]
ALIASES = {"lr_range_flat": "rate_too_low"}
"""Rules whose findings have the name of another check."""
FILES = {"update_ratio_high": "update_ratio", "update_ratio_low": "update_ratio"}
"""Rules that share a file."""


@pytest.mark.parametrize(("check", "case"), FIRES)
def test_fires(check: str, case: dict[str, Any]) -> None:
    """The finding is the expected one, is complete plain JSON, and the rule is pure."""
    rule, signals = rule_of(check), copy.deepcopy(case["signals"])
    finding = rule(signals)
    assert finding is not None
    assert_expected(finding, case)
    assert_complete(finding, rule)
    assert str(rule(signals)) == str(finding)
    assert str(signals) == str(case["signals"])


def assert_expected(finding: Finding, case: dict[str, Any]) -> None:
    assert finding.severity == case["severity"]
    assert finding.remedy == tuple(case.get("remedy", ()))
    assert (finding.where, finding.step) == (case.get("where"), case.get("step"))
    assert finding.measured == {name: Same(value) for name, value in case["measured"].items()}
    assert [word for word in case.get("in_message", ()) if word not in finding.message] == []
    assert [word for word in case.get("in_expected", ()) if word not in finding.expected] == []


def assert_complete(finding: Finding, rule: Rule) -> None:
    assert finding.check == rule.check
    assert finding.stage == ""  # which `CheckSuite.evaluate` fills in
    texts = (finding.message, finding.expected, finding.why, finding.source)
    assert all(text and text.strip() == text for text in texts)
    assert all(type(value) is float for value in finding.measured.values())
    assert finding.severity in rule.severities
    assert [remedy for remedy in finding.remedy if not is_declared(remedy, rule)] == []
    plain = json.loads(json.dumps(finding.to_dict()))
    assert plain.keys() == {field.name for field in fields(Finding)}
    assert str(Finding.from_dict(plain)) == str(finding)  # NaN differs from itself


def is_declared(remedy: str, rule: Rule) -> bool:
    return any(re.fullmatch(re.escape(template).replace(r"\.\.\.", ".+"), remedy) for template in rule.remedies)


class Same(float):
    """A number that equals another up to rounding; NaN equals NaN."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, float) and (math.isclose(self, other, rel_tol=1e-9) or (self != other != other))

    __hash__ = float.__hash__


@pytest.mark.parametrize("check", MENU)
def test_stays_silent(check: str) -> None:
    silent = CASES[check]["silent"] | {"nothing measured": {}}
    assert [name for name, signals in silent.items() if rule_of(check)(signals) is not None] == []


class Recording(dict[str, Any]):
    """Signals that note which keys are read."""

    def __init__(self, signals: dict[str, Any], keys: set[str]):
        super().__init__(signals)
        self.keys_read = keys

    def __getitem__(self, key: str) -> Any:
        self.keys_read.add(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self.keys_read.add(str(key))
        return super().__contains__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.keys_read.add(key)
        return super().get(key, default)


@pytest.mark.parametrize("check", MENU)
def test_a_rule_reads_what_it_declares(check: str) -> None:
    rule, keys_read = rule_of(check), set[str]()
    for signals in [{}, *signals_of(check)]:
        rule(Recording(signals, keys_read))
    assert keys_read == set(rule.reads)
    assert len(rule.reads) == len(set(rule.reads))
    assert keys_read <= Signals.__annotations__.keys()


def test_declarations() -> None:
    """Each rule lies in the file of its name, documents itself, and explains only checks that come after it."""
    order = list(MENU)
    for check in MENU:
        rule = rule_of(check)
        assert type(rule).__module__ == f"pipeline.checks.rules.{FILES.get(check, check)}"
        assert rule.check == ALIASES.get(check, check)
        first, _, second = (type(rule).__doc__ or "").partition("\n\n")
        assert first.startswith("Anti-pattern: "), check
        assert second.strip().startswith("Fires "), check
        assert isinstance(rule.explains, tuple)
        assert set(rule.explains) <= set(order[order.index(check) + 1 :]), check
        assert list(rule.severities) == [severity for severity in SEVERITIES if severity in rule.severities]
        severities = {case["severity"] for case in CASES[check]["fires"].values()}
        assert severities == set(rule.severities), f"{check}: every declared severity needs a case"


def test_every_file_of_rules_is_on_the_menu() -> None:
    files = {file.stem for file in (Path(pipeline.checks.__file__).parent / "rules").glob("*.py")} - {"__init__"}
    assert files == {FILES.get(check, check) for check in MENU}
    assert {file.stem for file in FOLDER.iterdir()} == set(MENU)


def test_remedies_can_be_appended_to_the_command() -> None:
    stages = "stage=[sanity,overfit,lr_range,train,evaluate]"
    command = [
        stages,
        "data=image_folder",
        "init=zeros",
        "activation=tanh",
        "batchnorm=none",
        "optimizer.lr=3",
        "stages.overfit.steps=2",
    ]
    remedies = dict.fromkeys(
        override for file in CASES.values() for case in file["fires"].values() for override in case.get("remedy", ())
    )
    of_schedules = [remedy for remedy in remedies if remedy.lstrip("+").startswith("schedule.scheduler.")]
    for remedy in of_schedules:  # each is a key of one schedule
        compose_config(["schedule=exponential" if ".gamma=" in remedy else "schedule=plateau", remedy])
    config = compose_config([*command, *(remedy for remedy in remedies if remedy not in of_schedules)])
    assert config.init.weight["_target_"].endswith((".he", ".xavier"))
    assert config.activation["_target_"] in ("torch.nn.ReLU", "torch.nn.LeakyReLU")
    assert config.batchnorm.position == "before_activation"
    assert config.stages.overfit.steps == 1600
    assert config.optimizer.lr == float([r for r in remedies if r.startswith("optimizer.lr=")][-1].partition("=")[2])


def test_thresholds_themselves_are_allowed() -> None:
    signals: Signals = {"first_loss": 3.0, "expected_first_loss": 2.0, "logit_std": 1.0}  # off by exactly one half
    assert rule_of("initial_loss", warning=0.5, failure=0.5)(signals) is None
    finding = rule_of("initial_loss", warning=0.25, failure=0.5)(signals)
    assert finding is not None
    assert finding.severity == "warning"
    ignored: Signals = {"fit_loss": 2.0, "fit_loss_zeroed": 2.0, "fit_steps": 1}
    assert rule_of("input_ignored", min_margin=0)(ignored) is not None
    assert rule_of("input_ignored", min_margin=0)({**ignored, "fit_loss": 1.999}) is None
