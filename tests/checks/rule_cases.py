"""The rules as conf/checks/default.yaml builds them, and the cases in cases/<check>.yaml that they are tested with."""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import yaml

from pipeline.checks import Rule
from pipeline.config.options import CONF

FOLDER = Path(__file__).parent / "cases"
MENU: dict[str, dict[str, Any]] = yaml.safe_load((CONF / "checks" / "default.yaml").read_text())["rules"]
CASES: dict[str, dict[str, Any]] = {name: yaml.safe_load((FOLDER / f"{name}.yaml").read_text()) for name in MENU}


def thresholds(check: str) -> dict[str, Any]:
    return {key: value for key, value in MENU[check].items() if not key.startswith("_")}


def rule_of(check: str, **changes: Any) -> Rule:
    rule: Rule = resolve_name(MENU[check]["_target_"])(**thresholds(check) | changes)
    return rule


def signals_of(check: str) -> list[dict[str, Any]]:
    """The signals of all cases of a check, those that fire and those that stay silent."""
    return [*(case["signals"] for case in CASES[check]["fires"].values()), *CASES[check]["silent"].values()]
