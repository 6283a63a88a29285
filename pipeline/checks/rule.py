"""The interface of a check: what every rule declares, and how it builds its finding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from pipeline.checks.finding import SEVERITIES, Finding, Severity
from pipeline.errors import UserError, did_you_mean
from pipeline.signals.schema import STAGES, Signals


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
        """Build a finding with the declared name, reason and source. Raises `UserError` for an unknown severity.

        Without overrides in `remedy` it has the declared `advice` and `code`, unless it gives its own.
        """
        if severity not in SEVERITIES:
            raise UserError(
                f"a finding is {' or '.join(SEVERITIES)}, not {severity!r}.", field=f"checks.rules.{self.check}"
            )
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


_DECLARATIONS = ("check", "reads", "severities", "why", "source")


def check_declarations(rule: object) -> None:
    """Raise `UserError` where a rule lacks what every rule declares, or reads a signal that no stage has."""
    title = type(rule).__name__
    if not isinstance(rule, Rule):
        raise UserError(f"{title} must be a class that derives from pipeline.checks.Rule.", field="")
    missing = [name for name in _DECLARATIONS if not hasattr(rule, name)]
    if missing:
        raise UserError(f"{title} must declare {', '.join(missing)} as class variables.", field="")
    for name in ("reads", "needs", "severities", "remedies", "explains"):
        if isinstance(getattr(rule, name), str):
            raise UserError(f"{title}.{name} must be a tuple, ({getattr(rule, name)!r},), not a string.", field="")
    if not rule.severities or set(rule.severities) - set(SEVERITIES):
        raise UserError(
            f"{title}.severities must be some of {', '.join(SEVERITIES)}, not {rule.severities!r}.", field=""
        )
    if not rule.reads:
        raise UserError(f"{title}.reads must name the signals that it looks at.", field="")
    known = {name for schema in STAGES.values() for name in schema.__annotations__}
    if unknown := [key for key in rule.reads if key not in known]:
        raise UserError(
            f"{title}.reads: no stage has a signal {unknown[0]!r}.{did_you_mean(unknown[0], sorted(known))}", field=""
        )
