"""Signals that say when a rule asks for one that was not measured, as in the logs and loops of other programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.errors import UserError
from pipeline.signals.schema import Signals


class NotMeasured(KeyError):
    """A rule asked for a signal that no one measured."""


class _MeasuredSignals(dict[str, Any]):
    def __init__(self, signals: Mapping[str, Any], prefix: str = ""):
        super().__init__(signals)
        self.prefix = prefix
        if isinstance(signals.get("data"), Mapping):  # the one table of which a part alone may be measured
            self["data"] = _MeasuredSignals(signals["data"], "data.")

    def __missing__(self, key: str) -> Any:
        raise NotMeasured(self.prefix + key)


def apply_rule(rule: Rule, signals: Mapping[str, Any]) -> Finding | None:
    """Return the finding of `rule`, or None.

    Raises `NotMeasured` where it cannot judge for want of a signal, and `UserError` if it returns anything else.
    """
    finding = rule(cast(Signals, _MeasuredSignals(signals)))
    if finding is not None and not isinstance(finding, Finding):
        raise UserError(
            f"{type(rule).__name__} returned {finding!r}. Return self.finding(...), or None where all is well.",
            field=f"checks.rules.{rule.check}",
        )
    return finding
