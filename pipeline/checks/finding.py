"""What a check reports: a finding, and how severe it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Severity = Literal["failure", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""All severities, the worst first. Whatever orders or colours severities uses this list."""


@dataclass(frozen=True)
class Finding:
    """A diagnosis with its evidence: an entry of `findings` in outcome.json."""

    check: str
    severity: Severity
    measured: dict[str, float]
    expected: str
    message: str
    why: str
    remedy: tuple[str, ...]
    """Overrides that can be appended to the command as it was typed; empty where no configuration is the cure."""
    source: str
    where: str | None = None
    step: int | None = None
    stage: str = ""
    advice: str = ""
    """What to change in the code, in words; empty where `remedy` says it all."""
    code: str = ""
    """The same as one line of code."""
    also_in: tuple[str, ...] = ()
    """Other stages with a finding of this check, where the findings of a whole run are ranked."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {**asdict(self), "remedy": list(self.remedy), "also_in": list(self.also_in)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Finding:
        """Rebuild the finding of which `to_dict` returned `fields`."""
        lists = {"remedy": tuple(fields["remedy"]), "also_in": tuple(fields.get("also_in", ()))}
        return cls(**{**fields, **lists})
