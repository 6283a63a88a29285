"""A training judged relative to a good one: pure functions of the signals of both.

Two runs that differ in their seed alone also differ, so each check allows for what seeds do (docs/diagnose.md has what
was measured) beside four standard errors of the curves' own noise.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.checks.baseline.docs import DOCS, STAGE, Check, Signals
from pipeline.checks.baseline.scores import compare_length, compare_speed, compare_validation
from pipeline.checks.baseline.training import compare_gradients, compare_losses, compare_rates
from pipeline.checks.finding import Finding
from pipeline.checks.not_checked import NotChecked

__all__ = ["CHECKS", "DOCS", "EXPLAINS", "STAGE", "compare_signals"]

CHECKS: Mapping[str, Check] = {
    "baseline_rate": compare_rates,
    "baseline_gradients": compare_gradients,
    "baseline_loss": compare_losses,
    "baseline_validation": compare_validation,
    "baseline_speed": compare_speed,
    "baseline_length": compare_length,
}
EXPLAINS: Mapping[str, tuple[str, ...]] = {
    "baseline_rate": ("baseline_gradients", "baseline_loss", "baseline_validation"),
    "baseline_gradients": ("baseline_loss", "baseline_validation"),
    "baseline_loss": ("baseline_validation",),
    "baseline_validation": (),
    "baseline_speed": (),
    "baseline_length": (),
}


def compare_signals(new: Signals, good: Signals) -> tuple[list[Finding], list[NotChecked]]:
    """Return the findings on `new` relative to `good`, causes first, and the checks that could not judge."""
    findings, not_checked = [], []
    for name, check in CHECKS.items():
        result = check(new, good)
        if isinstance(result, str):
            not_checked.append(NotChecked(name, result))
        elif result is not None:
            findings.append(result)
    return findings, not_checked
