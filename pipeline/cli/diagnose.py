"""A run judged again from its files alone: `python -m pipeline diagnose outputs/latest [checks=strict ...]`.

Nothing is trained and no torch is loaded: rules are pure, and signals.json holds all that they look at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from pipeline.checks import CheckSuite, Finding
from pipeline.checks.finding import rank_findings
from pipeline.config.compose import compose_config
from pipeline.config.instantiate import call_with_path, instantiate
from pipeline.errors import FAILED, PASSED, UserError
from pipeline.report.terminal import Terminal
from pipeline.runs.json_files import read_outcome, read_signals


@dataclass(frozen=True)
class RejudgedStage:
    """A stage as it was recorded, with what the checks say of its signals now."""

    name: str
    passed: bool
    seconds: float
    headline: str
    findings: tuple[Finding, ...]
    metrics: Mapping[str, Any] = field(default_factory=dict)


def diagnose(arguments: Sequence[str]) -> int:
    """Judge the run in the folder that is the first argument, print its findings as the run did, and return 0 or 3.

    The thresholds are those that the run was configured with, changed by the arguments that follow: `checks=...`
    takes an option of today's menu, `checks.rules.dead_units.share=0.2` changes one value. Raises `UserError` for a
    folder that is no run and for arguments that are no keys of `checks`.
    """
    if not arguments:
        raise UserError("give the folder of a run: python -m pipeline diagnose outputs/latest")
    folder, overrides = Path(arguments[0]), list(arguments[1:])
    record, signals = read_outcome(folder), read_signals(folder)
    if record is None or signals is None:
        missing = "outcome.json" if record is None else "signals.json"
        raise UserError(f"{str(folder)!r} is no run's folder (it has no readable {missing}).")
    checks = checks_for_run(folder, overrides)
    stages = rejudge(record, signals, checks)
    terminal = Terminal(verbose=1)
    for stage in stages:
        terminal.on_stage_end(stage)
    findings = [finding for stage in stages for finding in stage.findings]
    terminal.summary(rank_findings(findings, checks.explains))
    passed = all(stage.passed for stage in stages)
    terminal.verdict("passed" if passed else "failed", folder.resolve())
    return PASSED if passed else FAILED


def rejudge(
    record: Mapping[str, Any], signals: Mapping[str, Mapping[str, Any]], checks: CheckSuite
) -> tuple[RejudgedStage, ...]:
    """Every stage of the record; one that left no signals keeps the findings and the verdict that it had."""
    judged: list[RejudgedStage] = []
    for stage in record["stages"]:
        name = stage["name"]
        if name in signals:
            earlier = [finding for before in judged for finding in before.findings]
            findings = checks.evaluate(signals[name], stage=name, earlier=earlier)
            passed = not checks.has_failure(findings)
        else:
            findings = [Finding.from_dict(fields) for fields in stage["findings"]]
            passed = stage["status"] == "passed"
        judged.append(RejudgedStage(name, passed, stage["seconds"], stage["headline"], tuple(findings)))
    return tuple(judged)


def checks_for_run(folder: Path, overrides: Sequence[str]) -> CheckSuite:
    """The checks that the run in `folder` was configured with, changed by `overrides`."""
    parsed = OverridesParser.create().parse_overrides(_only_checks(overrides))
    menu = compose_config(overrides).checks  # also refuses what is not on the menu
    if any(override.key_or_group == "checks" for override in parsed):
        node = menu
    else:
        node = _stored_checks(folder)
        for override in parsed:
            key = override.key_or_group.removeprefix("checks.")
            rule = ".".join(key.split(".")[:2])  # one that is younger than the run comes whole
            chosen = key if OmegaConf.select(node, rule) is not None else rule
            with open_dict(node):
                OmegaConf.update(node, chosen, OmegaConf.select(menu, chosen))
    plain: Any = OmegaConf.to_container(node, resolve=True)
    try:
        rules = {name: instantiate(rule, f"checks.rules.{name}") for name, rule in plain["rules"].items()}
        return call_with_path(CheckSuite, "checks", fail_on=plain["fail_on"], rules=rules)
    except UserError as error:
        if overrides:
            raise
        hint = "If the run is older than this version: checks=default judges it by today's rules."
        raise UserError(f"{error.message} {hint}", field=error.field) from error


def _only_checks(overrides: Sequence[str]) -> list[str]:
    for override in overrides:
        key = override.lstrip("+").partition("=")[0]
        if key != "checks" and not key.startswith("checks."):
            raise UserError(
                "a finished run cannot be changed, only judged otherwise: checks=strict, checks.fail_on=never, "
                "checks.rules.<check>.<threshold>=...",
                field=key,
            )
    return list(overrides)


def _stored_checks(folder: Path) -> DictConfig:
    try:
        config = OmegaConf.load(folder / ".hydra" / "config.yaml")
        node = config.checks
        if not isinstance(node.rules, DictConfig):
            raise TypeError("checks.rules is no node")
    except (OSError, ValueError, TypeError, AttributeError, YAMLError, OmegaConfBaseException) as error:
        raise UserError(
            f"{str(folder)!r} is no run's folder (its .hydra/config.yaml cannot be read: {type(error).__name__})."
        ) from error
    return node
