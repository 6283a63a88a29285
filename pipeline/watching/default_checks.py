"""The checks with their default thresholds, without Hydra."""

from __future__ import annotations

import functools

import yaml

from pipeline.checks import CheckSuite
from pipeline.config.instantiate import instantiate
from pipeline.config.options import CONF


@functools.cache
def default_checks() -> CheckSuite:
    """Return the checks of `conf/checks/default.yaml`."""
    node = yaml.safe_load((CONF / "checks" / "default.yaml").read_text())
    rules = {name: instantiate(rule, f"checks.rules.{name}") for name, rule in node["rules"].items()}
    return CheckSuite(fail_on="failure", rules=rules)
