"""A run's result as a notebook shows it: the verdict, what each stage came to, what to mend, and the run's report.

Every word of the data is escaped. Colours are chosen to be read on light and on dark; all else is inherited.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Protocol

from pipeline.checks import Finding
from pipeline.workflow.attempt import FixAttempt
from pipeline.workflow.outcome import Outcome

REPORT = "report.html"
_COLOURS = {"passed": "#2e8b57", "failure": "#d1495b", "warning": "#c77d0a", "info": "#3a86c8"}
_LEFT = "text-align:left;vertical-align:top"


class Result(Protocol):
    """The fields of `pipeline.workflow.result.RunResult` that are shown."""

    @property
    def status(self) -> str: ...
    @property
    def seconds(self) -> float: ...
    @property
    def directory(self) -> Path: ...
    @property
    def outcomes(self) -> Sequence[Outcome]: ...
    @property
    def diagnosis(self) -> Sequence[Finding]: ...
    @property
    def fixes(self) -> Sequence[FixAttempt]: ...


def result_html(result: Result) -> str:
    """For Jupyter's `_repr_html_`. The report, about 2 MB, is part of it where the run left one."""
    parts = [
        f"<p>{_verdict(result.status)} in {result.seconds:.1f} s "
        f"<code>{escape(os.path.relpath(result.directory))}</code></p>",
        _table(("stage", "verdict", "seconds", ""), [_stage_cells(outcome) for outcome in result.outcomes]),
    ]
    if result.diagnosis:
        parts.append("<p><b>Findings, the first to mend first</b></p>")
        parts.append(_table(("", "check", "where", "what", "try"), [_finding_cells(f) for f in result.diagnosis]))
    if result.fixes:
        parts.append("<p><b>Remedies that were tried</b></p>")
        parts.append(_table(("remedy", "against", "", "why"), [_fix_cells(fix) for fix in result.fixes]))
    return "\n".join([*parts, _report(result.directory)])


def result_line(result: Result) -> str:
    """In one line, for `repr`."""
    stages = ", ".join(outcome.name + ("" if outcome.passed else " FAILED") for outcome in result.outcomes)
    return f"<RunResult {result.status} in {result.seconds:.1f} s: {stages}; {os.path.relpath(result.directory)}>"


def _report(directory: Path) -> str:
    """The whole page inside a frame of its own: its styles and scripts do not meet the notebook's."""
    try:
        page = (directory / REPORT).read_text()
    except OSError:
        return ""
    frame = "width:100%;height:640px;border:1px solid #8888;border-radius:4px"
    return f'<iframe srcdoc="{escape(page)}" style="{frame}" sandbox="allow-scripts" loading="lazy"></iframe>'


def _verdict(word: str) -> str:
    return f'<b style="color:{_COLOURS.get(word, _COLOURS["failure"])}">{escape(word)}</b>'


def _stage_cells(outcome: Outcome) -> list[str]:
    verdict = _verdict("passed" if outcome.passed else "FAILED")
    return [f"<b>{escape(outcome.name)}</b>", verdict, f"{outcome.seconds:.1f}", escape(outcome.headline)]


def _finding_cells(finding: Finding) -> list[str]:
    why = f'<br><span style="opacity:.7">expected {escape(finding.expected)}. {escape(finding.why)}</span>'
    return [
        _verdict(finding.severity),
        f"{escape(finding.stage)}: <b>{escape(finding.check)}</b>",
        escape(finding.where or ""),
        escape(finding.message) + why,
        _code(finding.remedy),
    ]


def _fix_cells(fix: FixAttempt) -> list[str]:
    kept = "kept" if fix.kept else "not kept"
    return [_code(fix.remedy), f"{escape(fix.stage)}: {escape(fix.check)}", kept, escape(fix.reason)]


def _code(overrides: Sequence[str]) -> str:
    return f"<code>{escape(' '.join(overrides))}</code>" if overrides else ""


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th style="{_LEFT}">{header}</th>' for header in headers)
    body = "".join("<tr>" + "".join(f'<td style="{_LEFT}">{cell}</td>' for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
