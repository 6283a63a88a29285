"""The checks of a finished run, evaluated again from its files alone.

Nothing is trained and no torch is loaded: a check is a function of the signals, which signals.json has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from pipeline.checks import CheckSuite, Finding, check_declarations
from pipeline.config.compose import compose_config
from pipeline.config.instantiate import call_with_path, instantiate
from pipeline.config.options import CONF
from pipeline.config.options import keys as keys_of_file
from pipeline.config.override_keys import override_key
from pipeline.config.overrides import parse_overrides
from pipeline.config.retired import refuse_renamed_keys
from pipeline.errors import UserError
from pipeline.runs.json_files import config_dir_of, read_outcome

HINT_OLDER_RUN = "If the run is older than this version, checks=default evaluates the checks of today."


@dataclass(frozen=True)
class RejudgedStage:
    """A stage as it was recorded, with the findings of its checks now."""

    name: str
    passed: bool
    seconds: float
    headline: str
    findings: tuple[Finding, ...]
    metrics: Mapping[str, Any] = field(default_factory=dict)


def rejudge(
    record: Mapping[str, Any], signals: Mapping[str, Mapping[str, Any]], checks: CheckSuite
) -> tuple[RejudgedStage, ...]:
    """Return every stage of the record with its findings now.

    A stage without signals keeps the findings and the verdict of the record.
    """
    stages: list[RejudgedStage] = []
    for stage in record["stages"]:
        name = stage["name"]
        if name in signals:
            earlier = [finding for previous in stages for finding in previous.findings]
            findings = checks.evaluate(signals[name], stage=name, earlier=earlier)
            passed = not checks.has_failure(findings)
        else:
            findings = [Finding.from_dict(fields) for fields in stage["findings"]]
            passed = stage["status"] == "passed"
        stages.append(RejudgedStage(name, passed, stage["seconds"], stage["headline"], tuple(findings)))
    return tuple(stages)


def checks_for_run(directory: Path, overrides: Sequence[str]) -> CheckSuite:
    """Return the checks with which the run was configured, changed by `overrides`."""
    keys = _keys_of_checks(overrides)
    config_dir = config_dir_of(read_outcome(directory)) if overrides else None
    if "checks" in keys:
        node = compose_config(overrides, config_dir=config_dir).checks
    else:
        node = _recorded_checks(directory)
        own = [override for override in overrides if _is_own_key(override_key(override), node)]
        if others := [override for override in overrides if override not in own]:
            today = compose_config(others, config_dir=config_dir).checks  # raises for what does not exist
            node = _change_checks(node, [override_key(override) for override in others], today)
        for override in parse_overrides(own):
            OmegaConf.update(node, override.key_or_group.removeprefix("checks."), override.value())
    try:
        return _build(node)
    except UserError as error:
        if overrides:
            raise
        raise UserError(f"{error.message} {HINT_OLDER_RUN}", field=error.field) from error


def checks_for_log(overrides: Sequence[str]) -> CheckSuite:
    """Return the checks of today, changed by `overrides`, for a log that has none. Without any, nothing is composed."""
    _keys_of_checks(overrides)
    node: Any = compose_config(overrides).checks if overrides else OmegaConf.load(CONF / "checks" / "default.yaml")
    return _build(node)


def _build(node: DictConfig) -> CheckSuite:
    plain: Any = OmegaConf.to_container(node, resolve=True)
    rules = {name: instantiate(rule, f"checks.rules.{name}") for name, rule in plain["rules"].items()}
    for name, rule in rules.items():
        call_with_path(check_declarations, f"checks.rules.{name}", rule)
    suite: CheckSuite = call_with_path(CheckSuite, "checks", fail_on=plain["fail_on"], rules=rules)
    return suite


def _keys_of_checks(overrides: Sequence[str]) -> list[str]:
    """Return the keys of `overrides`. Raises `UserError` for a key that is not about checks."""
    keys = [override_key(override) for override in overrides]
    for key in keys:
        if key != "checks" and not key.startswith("checks."):
            raise UserError(
                "only the checks of a finished run can be changed: checks=strict, checks.fail_on=never, "
                "checks.rules.<check>.<threshold>=...",
                field=key,
            )
    return keys


def _is_own_key(key: str, node: DictConfig) -> bool:
    """Return whether the key is one of a check of the user's: the recorded checks have it, the program has not."""
    path = key.removeprefix("checks.")
    rule = ".".join(path.split(".")[:2])
    return OmegaConf.select(node, path) is not None and rule not in keys_of_file(CONF / "checks" / "default.yaml")


def _change_checks(node: DictConfig, keys: Sequence[str], today: DictConfig) -> DictConfig:
    """Return the recorded checks with the values of `keys` from the composed ones of today."""
    for key in keys:
        path = key.removeprefix("checks.")
        rule = ".".join(path.split(".")[:2])  # a rule that is younger than the run is taken with all its keys
        changed = path if OmegaConf.select(node, rule) is not None else rule
        with open_dict(node):
            OmegaConf.update(node, changed, OmegaConf.select(today, changed))
    return node


def _recorded_checks(directory: Path) -> DictConfig:
    """Return the node `checks` of the run's configuration."""
    try:
        config = OmegaConf.load(directory / ".hydra" / "config.yaml")
        node = config.checks
        if not isinstance(node.rules, DictConfig):
            raise TypeError("checks.rules is no mapping")
    except (OSError, ValueError, TypeError, AttributeError, YAMLError, OmegaConfBaseException) as error:
        raise UserError(
            f"{str(directory)!r} is not a run's directory: its .hydra/config.yaml cannot be read "
            f"({type(error).__name__})."
        ) from error
    try:
        refuse_renamed_keys({"checks": node})
    except UserError as error:
        raise UserError(f"{error.message} {HINT_OLDER_RUN}", field=error.field) from error
    return node
