"""The interface of a check: what every rule declares, and how it builds its finding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from pipeline.checks.finding import Finding, Severity
from pipeline.signals.schema import Signals


class Rule(ABC):
    """A pure function from the signals of one stage to a finding, or to None.

    A rule returns None where all is well, and where its signals were not measured. A subclass is a frozen dataclass
    whose fields are the thresholds; its docstring has the paragraphs `Anti-pattern: ...` and `Fires when ...`.
    docs/checks.md is generated from these declarations.
    """

    check: ClassVar[str]
    """Name of the check in findings."""
    reads: ClassVar[tuple[str, ...]]
    """Keys of `pipeline.signals.schema` that the rule looks at, the decisive one first."""
    severities: ClassVar[tuple[Severity, ...]]
    """Severities that a finding may have, the worst first."""
    why: ClassVar[str]
    """Why the training suffers from it."""
    source: ClassVar[str]
    """Where the rule comes from."""
    remedies: ClassVar[tuple[str, ...]] = ()
    """Overrides that a finding may propose; `...` stands for a value that is computed."""
    explains: ClassVar[tuple[str, ...]] = ()
    """Checks whose findings are consequences of this one; see `CheckSuite.evaluate`."""

    @abstractmethod
    def __call__(self, signals: Signals) -> Finding | None:
        """Return the finding of `signals`, if there is one."""

    def finding(
        self,
        severity: Severity,
        *,
        measured: dict[str, float],
        expected: str,
        message: str,
        remedy: tuple[str, ...] = (),
        where: str | None = None,
        step: int | None = None,
    ) -> Finding:
        """Build a finding with the declared name, reason and source."""
        return Finding(
            check=self.check,
            severity=severity,
            measured=measured,
            expected=expected,
            message=message,
            why=self.why,
            remedy=remedy,
            source=self.source,
            where=where,
            step=step,
        )


def list_names(names: Sequence[str], *, most: int = 3, separator: str = ", ") -> str:
    """Join the first `most` names; if there are more, say how many."""
    shown = separator.join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
