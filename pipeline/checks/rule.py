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
    needs: ClassVar[tuple[str, ...]] = ()
    """Signals without which the rule cannot judge, where the first of `reads` alone does not say it: `key`, `key.part`,
    `one|another` for either of two, `key.part>=threshold` for so many entries as a field of the rule says, or `not key`
    for one that must be absent, false or empty."""
    severities: ClassVar[tuple[Severity, ...]]
    """Severities that a finding may have, the worst first."""
    why: ClassVar[str]
    """Why the training suffers from it."""
    source: ClassVar[str]
    """Where the rule comes from."""
    remedies: ClassVar[tuple[str, ...]] = ()
    """Overrides that a finding may propose; `...` stands for a value that is computed."""
    advice: ClassVar[str] = ""
    """What to change in the code, in words, where no override cures it; a finding may say it more exactly."""
    code: ClassVar[str] = ""
    """The same as one line of code."""
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
        advice: str | None = None,
        code: str | None = None,
    ) -> Finding:
        """Build a finding with the declared name, reason and source.

        Without overrides in `remedy` it has the declared `advice` and `code`, unless it gives its own.
        """
        declared = ("", "") if remedy else (self.advice, self.code)
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
            advice=declared[0] if advice is None else advice,
            code=declared[1] if code is None else code,
        )


def list_names(names: Sequence[str], *, most: int = 3, separator: str = ", ") -> str:
    """Join the first `most` names; if there are more, say how many."""
    shown = separator.join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
