"""Findings as lines of a console: whole lines in a pipe, indented paragraphs on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pipeline.report.console import SEVERITY_COLORS

if TYPE_CHECKING:
    from pipeline.checks import Finding

NARROW = 72
"""Columns below which a table of findings would break its words."""


class FindingPrinter:
    """Prints findings to a console. On a terminal, wrapped lines keep their indent."""

    def __init__(self, console: Console):
        self.console = console

    def print_finding(self, finding: Finding) -> None:
        """Print title, message, expectation, reason, and what should cure it: overrides, or a change of the code."""
        self.print_indented(self.title(finding))
        self.print_indented(Text(finding.message))
        self._print_labelled("expected", Text(finding.expected))
        self._print_labelled("why", Text(finding.why))
        if finding.remedy:
            self._print_labelled("try", Text(" ".join(finding.remedy), "bold"))
        if finding.advice:
            self._print_labelled("change", Text(finding.advice, "bold"))
        if finding.code:
            self._print_labelled("code", Text(finding.code, "cyan"))

    def print_ranking(self, findings: Sequence[Finding]) -> None:
        """Print ranked findings with their cures: a table, or on a narrow terminal one below the other."""
        self.console.print(Text(f"{len(findings)} findings, in the order to fix them:", "bold"))
        rows = [
            (
                str(rank),
                Text(f.severity, SEVERITY_COLORS[f.severity]),
                f"{', '.join((f.stage, *f.also_in))}: {f.check}",
                _cure(f),
            )
            for rank, f in enumerate(findings, start=1)
        ]
        if self.console.width < NARROW:
            for rank, severity, check, cure in rows:
                self.print_indented(Text.assemble(f"{rank} ", severity, f" {check}"))
                if cure:
                    self.print_indented(Text("  ") + cure)
            return
        table = Table.grid(padding=(0, 2, 0, 0))
        for _ in range(3):
            table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for rank, severity, check, cure in rows:
            table.add_row(rank, severity, Text(check), cure)
        self.console.print(Padding(table, (0, 0, 0, 2)))

    def print_columns(self, head: Text, rest: Text) -> None:
        """Print two parts of a line; on a terminal the second wraps below itself, on a narrow one below the first."""
        if self.console.soft_wrap:
            self.console.print(head + rest)
        elif self.console.width < NARROW:
            self.console.print(head)
            self.print_indented(rest)
        else:
            self.console.print(_two_columns(head, rest))

    def print_indented(self, line: Text) -> None:
        """Print a line with an indent of two."""
        if self.console.soft_wrap:
            self.console.print(Text("  ") + line)
        else:
            self.console.print(Padding(line, (0, 0, 0, 2), expand=False))

    def title(self, finding: Finding) -> Text:
        """Return severity, check and layer."""
        where = f" in {finding.where}" if finding.where else ""
        return Text.assemble(
            (f"{finding.severity}: {finding.check}", f"bold {SEVERITY_COLORS[finding.severity]}"), where
        )

    def _print_labelled(self, label: str, text: Text) -> None:
        head = Text(f"{label:<9}", "dim")
        if self.console.soft_wrap:
            self.print_indented(head + text)
        else:
            self.console.print(Padding(_two_columns(head, text), (0, 0, 0, 2), expand=False))


def _cure(finding: Finding) -> Text:
    """Return the overrides to try, or else what to change in the code; empty where the finding has neither."""
    if finding.remedy:
        return Text.assemble(("try ", "dim"), " ".join(finding.remedy))
    return Text.assemble(("change ", "dim"), finding.advice) if finding.advice else Text()


def _two_columns(head: Text, rest: Text) -> Table:
    table = Table.grid()
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(head, rest)
    return table
