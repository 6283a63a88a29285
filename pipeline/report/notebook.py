"""The result of a run in a notebook: its status, stages, findings, remedies, and its report.

Every text of the run is escaped. The colours are readable on light and on dark; everything else is inherited.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pipeline.checks import Finding, NotChecked
from pipeline.checks.not_checked import group_by_reason

if TYPE_CHECKING:
    from pipeline.workflow.attempt import FixAttempt
    from pipeline.workflow.outcome import Outcome

REPORT = "report.html"
_COLOURS = {"passed": "#2e8b57", "failure": "#d1495b", "warning": "#c77d0a", "info": "#3a86c8"}
_CELL_STYLE = "text-align:left;vertical-align:top"
_FRAME_STYLE = "width:100%;height:640px;border:1px solid #8888;border-radius:4px"


class Result(Protocol):
    """What is shown of a `RunResult`, which calls this module for its display."""

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
    @property
    def not_checked(self) -> Sequence[NotChecked]: ...
    @property
    def judged_checks(self) -> int: ...


def result_html(result: Result) -> str:
    """Return HTML for Jupyter's `_repr_html_`. It contains the report, about 2 MB, if the run has one."""
    parts = [
        f"<p>{_coloured(result.status)} in {result.seconds:.1f} s "
        f"<code>{escape(os.path.relpath(result.directory))}</code></p>",
        _table(("stage", "result", "seconds", ""), [_stage_cells(outcome) for outcome in result.outcomes]),
    ]
    if result.diagnosis:
        parts.append("<p><b>Findings, in the order to fix them</b></p>")
        parts.append(_table(("", "check", "layer", "finding", "try"), [_finding_cells(f) for f in result.diagnosis]))
    if result.fixes:
        parts.append("<p><b>Remedies that were tried</b></p>")
        parts.append(_table(("remedy", "finding", "result", "reason"), [_fix_cells(fix) for fix in result.fixes]))
    if result.not_checked:
        parts.append(_not_checked(result))
    return "\n".join([*parts, _report_frame(result.directory)])


def result_line(result: Result) -> str:
    """Return one line for `repr`."""
    stages = ", ".join(outcome.name + ("" if outcome.passed else " FAILED") for outcome in result.outcomes)
    return f"<RunResult {result.status} in {result.seconds:.1f} s: {stages}; {os.path.relpath(result.directory)}>"


def _report_frame(directory: Path) -> str:
    """Return the report in a frame, which keeps its styles and scripts apart from the notebook's; "" without one."""
    try:
        page = (directory / REPORT).read_text()
    except OSError:
        return ""
    return f'<iframe srcdoc="{escape(page)}" style="{_FRAME_STYLE}" sandbox="allow-scripts" loading="lazy"></iframe>'


def _coloured(status: str) -> str:
    return f'<b style="color:{_COLOURS.get(status, _COLOURS["failure"])}">{escape(status)}</b>'


def _stage_cells(outcome: Outcome) -> list[str]:
    status = _coloured("passed" if outcome.passed else "FAILED")
    return [f"<b>{escape(outcome.name)}</b>", status, f"{outcome.seconds:.1f}", escape(outcome.headline)]


def _finding_cells(finding: Finding) -> list[str]:
    reason = f'<br><span style="opacity:.7">expected {escape(finding.expected)}. {escape(finding.why)}</span>'
    return [
        _coloured(finding.severity),
        f"{escape(', '.join((finding.stage, *finding.also_in)))}: <b>{escape(finding.check)}</b>",
        escape(finding.where or ""),
        escape(finding.message) + reason,
        _cure(finding),
    ]


def _fix_cells(fix: FixAttempt) -> list[str]:
    result = "kept" if fix.kept else "not kept"
    return [_code(fix.remedy), f"{escape(fix.stage)}: {escape(fix.check)}", result, escape(fix.reason)]


def _not_checked(result: Result) -> str:
    """Return the checks that could not judge, folded."""
    total = result.judged_checks + len(result.not_checked)
    groups = group_by_reason(result.not_checked).items()
    lines = "".join(f"<li>{escape(reason)}: {escape(', '.join(checks))}</li>" for reason, checks in groups)
    summary = f"{result.judged_checks} of {total} checks judged; the others could not"
    return f"<details><summary>{summary}</summary><ul>{lines}</ul></details>"


def _cure(finding: Finding) -> str:
    """Return the overrides to try, and what to change in the code."""
    code = [_code([finding.code])] if finding.code else []
    return "<br>".join(part for part in (_code(finding.remedy), escape(finding.advice), *code) if part)


def _code(overrides: Sequence[str]) -> str:
    return f"<code>{escape(' '.join(overrides))}</code>" if overrides else ""


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of headers that need no escaping and of cells that are HTML."""
    head = "".join(f'<th style="{_CELL_STYLE}">{header}</th>' for header in headers)
    body = "".join("<tr>" + "".join(f'<td style="{_CELL_STYLE}">{cell}</td>' for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
