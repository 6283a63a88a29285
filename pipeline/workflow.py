"""The stages one after another, each only if all before it passed, and the record that a run leaves."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pipeline.checks import Checks, Finding
from pipeline.checks.finding import ranked
from pipeline.errors import Stopped
from pipeline.parts import Outcome, Parts
from pipeline.record import SCHEMA, write_outcome, write_signals

PASSED, CRASHED, USER_ERROR, FAILED = 0, 1, 2, 3


class Teller:
    """What is said while stages run; this one says nothing."""

    def stage_begins(self, name: str) -> None: ...

    def progress(self, done: float, total: float, **numbers: float) -> None: ...

    def finding(self, finding: Finding) -> None: ...

    def stage_ends(self, outcome: Outcome, *, resumed: bool = False) -> None: ...


@dataclass(frozen=True)
class RunResult:
    """How a run ended. `status`: passed, failed, error or interrupted; `directory` holds all it left."""

    status: str
    exit_code: int
    seconds: float
    directory: Path
    outcomes: tuple[Outcome, ...]
    diagnosis: tuple[Finding, ...] = ()
    """All findings, the first to mend first (`pipeline.checks.finding.ranked`)."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, in the order of the stages."""
        return tuple(finding for outcome in self.outcomes for finding in outcome.findings)

    @property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """Each stage's measurements, by the stage's name."""
        return {outcome.name: outcome.metrics for outcome in self.outcomes}


def run_stages(
    parts: Parts, *, command: str, teller: Teller | None = None, earlier: Sequence[Outcome] = ()
) -> RunResult:
    """Run `parts.stages` in order, stopping at the first that fails; write signals.json and outcome.json after each.

    `earlier` are outcomes of stages that a resumed run had passed already; those stages are not run again.
    Raises `Stopped` when the user or the machine asked for an end, after the record is written.
    """
    teller = teller or Teller()
    record = _Record(parts, command)
    parts = dataclasses.replace(parts, progress=teller.progress, found=teller.finding)
    done = {outcome.name: outcome for outcome in earlier if outcome.passed}
    outcomes: list[Outcome] = []
    record.write(outcomes, "running", None)
    try:
        for name, stage in parts.stages.items():
            resumed = name in done
            if not resumed:
                teller.stage_begins(name)
            outcome = done[name] if resumed else stage(parts, outcomes)
            outcomes.append(outcome)
            record.write_signals(outcomes)
            teller.stage_ends(outcome, resumed=resumed)
            if not outcome.passed:
                break
            record.write(outcomes, "running", None)
    except Stopped as stop:
        record.write(outcomes, "interrupted", 128 + stop.signal)
        raise
    except BaseException:
        with contextlib.suppress(OSError):
            record.write(outcomes, "error", CRASHED)
        raise
    passed = all(outcome.passed for outcome in outcomes)
    status, code = ("passed", PASSED) if passed else ("failed", FAILED)
    seconds = record.write(outcomes, status, code)
    return RunResult(status, code, seconds, parts.directory, tuple(outcomes), diagnosis(outcomes, parts.checks))


def diagnosis(outcomes: Sequence[Outcome], checks: Checks) -> tuple[Finding, ...]:
    """The findings of all stages, the first to mend first."""
    return ranked([finding for outcome in outcomes for finding in outcome.findings], checks.explains)


def read_outcomes(record: dict[str, Any], signals: dict[str, dict[str, Any]] | None = None) -> list[Outcome]:
    """The stages of an outcome.json as `Outcome`s again, each with its part of signals.json."""
    return [
        Outcome(
            name=stage["name"],
            passed=stage["status"] == "passed",
            seconds=stage["seconds"],
            headline=stage["headline"],
            metrics=stage["metrics"],
            findings=tuple(Finding.from_dict(fields) for fields in stage["findings"]),
            signals=(signals or {}).get(stage["name"]),
        )
        for stage in record["stages"]
    ]


class _Record:
    """outcome.json: what was run, on what, and how it ended; whole at any time, `running` until the end is known."""

    def __init__(self, parts: Parts, command: str):
        self.folder, self.checks = parts.directory, parts.checks
        self.started = time.perf_counter()
        self.fixed = {
            "schema": SCHEMA,
            "command": command,
            "name": parts.name,
            "tags": list(parts.config.get("tags", [])),
            "seed": parts.seed,
            "config_hash": config_hash(parts.config),
            "resumed_from": str(parts.resume) if parts.resume else None,
            "versions": versions(),
            "data": {
                "name": parts.data.name,
                "fingerprint": parts.data.fingerprint(),
                "sizes": parts.data.sizes,
                "classes": list(parts.data.classes),
                "class_counts": parts.data.class_counts(),
            },
        }

    def write(self, outcomes: Sequence[Outcome], status: str, exit_code: int | None) -> float:
        seconds = round(time.perf_counter() - self.started, 3)
        content = self.fixed | {
            "status": status,
            "exit_code": exit_code,
            "seconds": seconds,
            "stages": [outcome.as_dict() for outcome in outcomes],
            "diagnosis": [
                {"check": f.check, "severity": f.severity, "stage": f.stage, "where": f.where}
                for f in diagnosis(outcomes, self.checks)
            ],
        }
        write_outcome(self.folder, content)
        return seconds

    def write_signals(self, outcomes: Sequence[Outcome]) -> None:
        write_signals(self.folder, {o.name: o.signals for o in outcomes if o.signals is not None})


def config_hash(config: dict[str, Any]) -> str:
    """Of all that decides a run's result: two runs with one hash compute the same thing."""
    import hashlib

    apart = ("resume", "verbose", "outputs", "name", "tags")
    decisive = {key: value for key, value in config.items() if key not in apart}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True, default=str).encode()).hexdigest()[:16]


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("torch", "torchvision", "pytorch-lightning", "hydra-core", "staged-training-pipeline"):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
