"""Findings of signals where there is no configuration: remedies are words and code."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from pipeline.checks import CheckSuite, rank_findings
from pipeline.checks.not_checked import NotChecked
from pipeline.checks.remedies import in_code
from pipeline.errors import did_you_mean
from pipeline.watching.default_checks import default_checks
from pipeline.watching.errors import PreflightError
from pipeline.watching.findings import Findings


def judge(signals: Mapping[str, Any], *, stage: str, ignore: Collection[str] = ()) -> Findings:
    """Return the findings of the signals of one stage, ranked, and the checks that could not be evaluated.

    Checks in `ignore` are left out. Raises `PreflightError` for one that does not exist.
    """
    checks = without(default_checks(), ignore)
    found = [in_code(finding) for finding in checks.evaluate(signals, stage=stage)]
    not_checked = [_in_words_of_loops(one) for one in checks.not_checked({stage: signals})]
    return Findings(
        rank_findings(found, checks.explains), not_checked=not_checked, judged=len(checks.rules) - len(not_checked)
    )


def _in_words_of_loops(entry: NotChecked) -> NotChecked:
    """Return the entry with a reason for those who run no stages of the pipeline."""
    reason = entry.reason
    if reason.startswith("sanity did not measure data"):
        reason = "no data was given"
    elif reason.startswith("sanity did not measure optimizer"):
        reason = "no optimizer was given"
    elif reason.endswith((" ran", " did not run")):
        if "train" in reason:
            reason = "it takes a training: pipeline.watch"
        elif "sanity" in reason:
            reason = "it is judged before training: pipeline.preflight"
        else:
            reason = "it belongs to a stage that only the pipeline has"
    return replace(entry, reason=reason.replace("sanity did", "preflight did").replace("train did", "the loop did"))


def without(checks: CheckSuite, ignore: Collection[str]) -> CheckSuite:
    """Return the suite without some checks. Raises `PreflightError` for one that does not exist."""
    known = {rule.check for rule in checks.rules.values()}
    for name in ignore:
        if name not in known:
            raise PreflightError(f"there is no check {name!r}.{did_you_mean(name, known)}", field="ignore")
    return replace(checks, rules={key: rule for key, rule in checks.rules.items() if rule.check not in ignore})
