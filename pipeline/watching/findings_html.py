"""Findings as HTML for Jupyter. Every text is escaped; the colours are readable on light and on dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from pipeline.checks import Finding
from pipeline.checks.not_checked import NotChecked, group_by_reason

_COLOURS = {"failure": "#d1495b", "warning": "#c77d0a", "info": "#3a86c8"}
_CELL = "text-align:left;vertical-align:top"


def findings_html(findings: Sequence[Finding], *, not_checked: Sequence[NotChecked], summary: str) -> str:
    """Return a table of the findings, and a folded list of what was not checked."""
    rows = [
        (
            f'<b style="color:{_COLOURS[f.severity]}">{escape(f.severity)}</b>',
            f"<b>{escape(f.check)}</b>" + (f"<br>{escape(f.where)}" if f.where else ""),
            f'{escape(f.message)}<br><span style="opacity:.7">expected {escape(f.expected)}. {escape(f.why)}</span>',
            escape(f.advice) + (f"<br><code>{escape(f.code)}</code>" if f.code else ""),
        )
        for f in findings
    ]
    parts = [f"<p>{escape(summary)}</p>"]
    if rows:
        parts.append(_table(("", "check", "finding", "what to change"), rows))
    reasons = group_by_reason(not_checked)
    if reasons:
        lines = [(escape(reason), escape(", ".join(checks))) for reason, checks in reasons.items()]
        parts.append(f"<details><summary>not checked</summary>{_table(('why', 'checks'), lines)}</details>")
    return "\n".join(parts)


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th style="{_CELL}">{header}</th>' for header in headers)
    body = "".join("<tr>" + "".join(f'<td style="{_CELL}">{cell}</td>' for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
