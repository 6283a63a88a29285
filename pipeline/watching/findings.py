"""The findings of `preflight` and `watch`: a sequence that prints itself."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Sequence
from typing import overload

from rich.console import Console

from pipeline.checks import SEVERITIES, Finding, Severity
from pipeline.checks.not_checked import NotChecked
from pipeline.report.console import console as make_console
from pipeline.watching.errors import CheckFailed
from pipeline.watching.findings_html import findings_html
from pipeline.watching.print_findings import print_findings, summarize

TEXT_WIDTH = 100
"""Columns of `str(findings)`."""


class Findings(Sequence[Finding]):
    """Findings, ranked: the first is the first to fix.

    `not_checked` lists the checks that could not be evaluated, each with its reason, and `judged` counts the others.
    """

    def __init__(self, findings: Sequence[Finding], *, not_checked: Sequence[NotChecked] = (), judged: int = 0):
        self._findings = tuple(findings)
        self.not_checked = tuple(not_checked)
        self.judged = judged

    @overload
    def __getitem__(self, index: int) -> Finding: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Finding]: ...
    def __getitem__(self, index: int | slice) -> Finding | Sequence[Finding]:
        return self._findings[index]

    def __len__(self) -> int:
        return len(self._findings)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._findings)

    def at_least(self, severity: Severity) -> tuple[Finding, ...]:
        """Return the findings that are as severe as `severity`, or worse. Raises `ValueError` for another word."""
        if severity not in SEVERITIES:
            raise ValueError(f"severity is one of {', '.join(SEVERITIES)}, got {severity!r}.")
        limit = SEVERITIES.index(severity)
        return tuple(finding for finding in self._findings if SEVERITIES.index(finding.severity) <= limit)

    def raise_on(self, severity: Severity = "failure") -> Findings:
        """Raise `CheckFailed` with all findings in its message if one is as severe as `severity`; else return them."""
        if self.at_least(severity):
            raise CheckFailed(f"\n{self}")
        return self

    def ok(self, severity: Severity = "failure", *, allow: Collection[str] = ()) -> Findings:
        """Assert that no finding is as severe as `severity`, but for the checks in `allow`; return the findings."""
        wrong = [finding for finding in self.at_least(severity) if finding.check not in allow]
        if wrong:
            raise AssertionError(f"{', '.join(finding.check for finding in wrong)}\n{self}")
        return self

    @property
    def summary(self) -> str:
        """One line: how many findings of which severity, and how many checks judged."""
        return summarize(self, judged=self.judged, not_judged=len(self.not_checked))

    def print(self, *, shown: Collection[tuple[str, str]] = ()) -> None:
        """Print the findings to the terminal; of those that were `shown`, by check and severity, the title alone."""
        print_findings(self, make_console(), not_checked=self.not_checked, summary=self.summary, shown=shown)

    def __str__(self) -> str:
        text = io.StringIO()
        console = Console(file=text, width=TEXT_WIDTH, highlight=False, color_system=None)
        print_findings(self, console, not_checked=self.not_checked, summary=self.summary)
        return text.getvalue().rstrip()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return findings_html(self, not_checked=self.not_checked, summary=self.summary)
