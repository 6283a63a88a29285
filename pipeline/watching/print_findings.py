"""Findings of `preflight` and `watch` as lines of a console."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.console import Console
from rich.text import Text

from pipeline.checks import Finding
from pipeline.checks.not_checked import NotChecked, group_by_reason
from pipeline.report.finding_printer import FindingPrinter

MAX_REASONS = 3
"""Reasons for which checks could not judge that are printed; those of the most checks."""


def print_findings(
    findings: Sequence[Finding],
    console: Console,
    *,
    not_checked: Sequence[NotChecked],
    summary: str,
    shown: Collection[tuple[str, str]] = (),
) -> None:
    """Print the findings in the order to fix them, the `summary`, and which checks could not judge and why.

    Of those that were `shown` before, by check and severity, only the title is printed.
    """
    printer = FindingPrinter(console)
    for finding in findings:
        if (finding.check, finding.severity) in shown:
            printer.print_indented(printer.title(finding) + Text(" (above)", "dim"))
        else:
            printer.print_finding(finding)
    console.print(Text(summary, "bold" if findings else ""))
    reasons = group_by_reason(not_checked)
    if reasons:
        named = [f"{reason} ({len(checks)})" for reason, checks in list(reasons.items())[:MAX_REASONS]]
        rest = len(reasons) - len(named)
        more = f"; {rest} more reason{'s' if rest > 1 else ''}" if rest else ""
        printer.print_indented(Text(f"not checked: {'; '.join(named)}{more} (.not_checked lists them)", "dim"))


def summarize(findings: Sequence[Finding], *, judged: int, not_judged: int) -> str:
    """Return one line: how many findings of which severity, and how many checks judged."""
    counts: dict[str, int] = {}
    for finding in findings:
        counts[finding.severity] = counts.get(finding.severity, 0) + 1
    found = ", ".join(f"{count} {severity}{'s' * (count > 1)}" for severity, count in counts.items()) or "no finding"
    return f"{found}; {judged} checks judged, {not_judged} could not"
