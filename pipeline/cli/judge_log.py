"""The checks of a training that another program logged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from pipeline.checks import CheckSuite, Finding, NotChecked, Signals
from pipeline.checks.not_checked import REASONS
from pipeline.checks.remedies import in_code
from pipeline.cli.diagnosis import Diagnosis
from pipeline.cli.rejudge import RejudgedStage
from pipeline.log_readers import MIN_POINTS, LogFacts, Reading, read_log, to_signals

STAGE = "train"
UNKNOWN = {
    "classes": "the number of classes is unknown (--classes N)",
    "train_examples": "the number of training examples is unknown (--train-examples N)",
    "val_examples": "the number of validation examples is unknown (--val-examples N)",
    "losses": "the log counts epochs and no steps (--steps-per-epoch N)",
}
"""Why a signal is missing that a flag can give."""
NEEDS_LOSS = ("loss_exploding", "loss_not_falling", "nonfinite")
"""Checks that any training with a loss can be judged by; without one of them there is no verdict."""
MAX_STEPS = 1000
"""Steps that a flag is taken to bring, to see which checks it would allow."""
MAX_NAMES = 8
"""Columns that are named in a line."""


def diagnose_log(
    path: Path, checks: CheckSuite, facts: LogFacts, typed: Mapping[str, str]
) -> tuple[Diagnosis, Reading]:
    """Return the verdict on the log at `path`, and what was read from it. `typed` maps roles to columns."""
    reading = to_signals(read_log(path, typed), typed, facts)
    findings, not_checked = judge(reading.signals, checks)
    unmet = {entry.check for entry in not_checked}
    judged = [name for name in checks.rules if name not in unmet]
    seconds = (reading.signals.get("epochs", {}).get("seconds") or (0.0,))[-1]
    stage = RejudgedStage(STAGE, not checks.has_failure(findings), seconds, headline(reading), tuple(findings))
    can_judge = reading.points >= MIN_POINTS and any(name in judged for name in NEEDS_LOSS)
    return (
        Diagnosis(
            path=reading.path,
            kind=reading.kind,
            stages=(stage,),
            findings=findings,
            judged=judged,
            not_checked=not_checked,
            fail_on=checks.fail_on,
            explains=checks.explains,
            can_judge=can_judge or not checks.rules,
            read=_describe(reading),
        ),
        reading,
    )


def judge(signals: Mapping[str, Any], checks: CheckSuite) -> tuple[list[Finding], list[NotChecked]]:
    """Return the findings of the checks that the signals suffice for, and why the others could not judge.

    Remedies are changes of code, since overrides mean nothing to the program that wrote the log.
    """
    reasons, rules = _unmet(signals, checks), {}
    for name, rule in checks.rules.items():
        if name in reasons:
            continue
        try:
            rule(cast(Signals, signals))
            rules[name] = rule
        except KeyError as missing:
            key = str(missing.args[0])
            reasons[name] = UNKNOWN.get(key, f"the log does not say {key}")
    found = CheckSuite(checks.fail_on, rules).evaluate(signals, stage=STAGE)
    entries = [NotChecked(name, reasons[name]) for name in checks.rules if name in reasons]
    return [_with_advice(finding, checks) for finding in found], entries


def _unmet(signals: Mapping[str, Any], checks: CheckSuite) -> dict[str, str]:
    """Return why each check cannot judge. A flag is named only where nothing else is missing."""
    reasons = {entry.check: entry.reason for entry in checks.not_checked({STAGE: signals})}
    with_flags = dict.fromkeys(UNKNOWN, 1) | {"losses": [0.0] * MAX_STEPS} | dict(signals)
    still_unmet = {entry.check: entry.reason for entry in checks.not_checked({STAGE: with_flags})}
    worded = {REASONS[key]: text for key, text in UNKNOWN.items() if key in REASONS}
    return {check: still_unmet.get(check, worded.get(reason, reason)) for check, reason in reasons.items()}


def headline(reading: Reading) -> str:
    """Return one line of numbers: how long, and from where to where."""
    signals, epochs = reading.signals, reading.signals.get("epochs", {})
    losses, count = signals.get("losses") or epochs.get("loss") or (), len(epochs.get("epoch", ()))
    parts = []
    if "losses" in signals:
        parts.append(f"{len(losses) * signals['steps_per_entry']:,} steps")
    if count and reading.has_epochs:
        parts.append(f"{count} epochs")
    if losses:
        parts.append(f"loss {losses[0]:.4g} -> {losses[-1]:.4g}")
    for key, best in (("val_loss", min), ("val_accuracy", max)):
        values = [value for value in epochs.get(key, ()) if value is not None and math.isfinite(value)]
        if values:
            parts.append(f"{key} {values[-1]:.4g} (best {best(values):.4g})")
    return "; ".join(parts) or "no losses"


def _with_advice(finding: Finding, checks: CheckSuite) -> Finding:
    in_words = in_code(finding)
    rule = next((rule for rule in checks.rules.values() if rule.check == finding.check), None)
    return in_words if in_words.advice or rule is None else replace(in_words, advice=rule.advice, code=rule.code)


def _describe(reading: Reading) -> list[str]:
    """Return what was read, which column became which signal, and what was passed over."""
    lines = [f"{reading.kind}: {reading.path}"]
    if reading.columns:
        lines.append(", ".join(f"{name} -> {signal}" for name, signal in reading.columns.items()))
    by_reason: dict[str, list[str]] = {}
    for name, reason in reading.passed_over.items():
        by_reason.setdefault(reason, []).append(name)
    for reason, names in by_reason.items():
        more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
        lines.append(f"passed over ({reason}): {', '.join(names[:MAX_NAMES])}{more}")
    return [*lines, *reading.notes]
