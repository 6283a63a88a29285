"""The stages one after another, each only if all before it passed, and the record that a run leaves."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pipeline.checks import CheckSuite, Finding
from pipeline.checks.finding import rank_findings
from pipeline.data import Splits
from pipeline.errors import CRASHED, FAILED, PASSED, Interrupted
from pipeline.loggers import LoggedRun, MultiLogger, open_loggers
from pipeline.report.notebook import result_html, result_line
from pipeline.runs.images import write_pictures
from pipeline.runs.json_files import SCHEMA, command_line, config_hash, write_outcome, write_signals
from pipeline.workflow.attempt import FixAttempt
from pipeline.workflow.autofix import AutoFixer
from pipeline.workflow.components import Components, Outcome
from pipeline.workflow.memory import run_stage_with_memory


class Reporter:
    """What is said while stages run; this one says nothing."""

    def on_stage_start(self, name: str) -> None: ...

    def progress(self, done: float, total: float, *, unit: str = "steps", **numbers: float) -> None: ...

    def on_finding(self, finding: Finding) -> None: ...

    def on_stage_end(self, outcome: Outcome, *, resumed: bool = False) -> None: ...

    def on_fix_start(self, finding: Finding, stage: str) -> None: ...

    def on_fix_end(self, fix: FixAttempt) -> None: ...

    def on_fix_exhausted(self, reason: str) -> None: ...


@dataclass(frozen=True, repr=False)
class RunResult:
    """How a run ended. `status`: passed, failed, error or interrupted; `directory` holds all it left."""

    status: str
    exit_code: int
    seconds: float
    directory: Path
    outcomes: tuple[Outcome, ...]
    diagnosis: tuple[Finding, ...] = ()
    """All findings, the first to mend first (`pipeline.checks.finding.ranked`)."""
    fixes: tuple[FixAttempt, ...] = ()
    """Remedies that `fix=true` tried, in order."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, in the order of the stages."""
        return tuple(finding for outcome in self.outcomes for finding in outcome.findings)

    @property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """Each stage's measurements, by the stage's name."""
        return {outcome.name: outcome.metrics for outcome in self.outcomes}

    def __repr__(self) -> str:
        return result_line(self)

    def _repr_html_(self) -> str:
        return result_html(self)


def run_stages(
    parts: Components,
    *,
    arguments: Sequence[str],
    reporter: Reporter | None = None,
    completed: Sequence[Outcome] = (),
    autofixer: AutoFixer | None = None,
    config_hash_as_typed: str | None = None,
    report: Callable[[Path], None] | None = None,
) -> RunResult:
    """Run `parts.stages` in order, stopping at the first that fails; write signals.json and outcome.json after each.

    `words`: flags and overrides of the command that repeats the run.
    `earlier` are outcomes of stages that a resumed run had passed already; those stages are not run again. A `mender`
    tries remedies where a stage is to be mended, and the run goes on with what it keeps. `typed_hash`: of the
    configuration as typed, where a resumed run begins with another.
    `report` is called with the run's directory once the record is complete, before the logs end, which may want a copy.
    Raises `Stopped` when the user or the machine asked for an end, after the record is written.
    """
    reporter = reporter or Reporter()
    record = OutcomeWriter(parts, arguments, typed_hash=config_hash_as_typed, mender=autofixer)
    log = _start_loggers(parts, before=parts.resume.parent.parent if parts.resume else None)
    parts = dataclasses.replace(parts, progress=reporter.progress, on_finding=reporter.on_finding, log=log)
    done = {outcome.name: outcome for outcome in completed if outcome.passed}
    outcomes: list[Outcome] = []
    record.write(parts, outcomes, "running", None)

    def end(status: str, exit_code: int) -> float:
        seconds = record.write(parts, outcomes, status, exit_code)
        if report:
            report(parts.directory)
        parts.log.close(status)
        return seconds

    try:
        for name in list(parts.stages):
            resumed = name in done
            if not resumed:
                reporter.on_stage_start(name)
            outcomes.append(done[name] if resumed else run_stage_with_memory(parts, name, outcomes))
            reporter.on_stage_end(outcomes[-1], resumed=resumed)
            parts.log.log_stage(name, outcomes[-1].metrics, outcomes[-1].signals, passed=outcomes[-1].passed)
            record.write(parts, outcomes, "running", None)
            while autofixer and not resumed and (finding := autofixer.next_finding(parts, outcomes)):
                if mended := autofixer.try_fix(finding, parts, outcomes, reporter):
                    parts, outcomes = _restart_loggers(parts.log, mended[0], mended[1]), mended[1]
                record.write(parts, outcomes, "running", None)
            if not outcomes[-1].passed:
                if autofixer:
                    reporter.on_fix_exhausted(autofixer.reason_for_stopping(parts, outcomes))
                break
    except Interrupted as stop:
        end("interrupted", 128 + stop.signal)
        raise
    except BaseException:
        with contextlib.suppress(OSError):
            end("error", CRASHED)
        raise
    passed = all(outcome.passed for outcome in outcomes)
    status, code = ("passed", PASSED) if passed else ("failed", FAILED)
    seconds = end(status, code)
    return RunResult(
        status,
        code,
        seconds,
        parts.directory,
        tuple(outcomes),
        diagnosis(outcomes, parts.checks),
        tuple(autofixer.fixes) if autofixer else (),
    )


def _start_loggers(parts: Components, *, before: Path | None = None) -> MultiLogger:
    """The logs that were chosen, with what a resumed run has in them already."""
    run = LoggedRun(parts.name, parts.directory, parts.config, classes=parts.data.classes, resumed_from=before)
    return open_loggers(parts.loggers, run)


def _restart_loggers(log: MultiLogger, mended: Components, outcomes: Sequence[Outcome]) -> Components:
    """A mended run has other hyperparameters: its logs begin anew, with all that its stages have come to."""
    log.close("mended")
    log = _start_loggers(mended)
    for outcome in outcomes:
        if (history := outcome.metrics.get("history")) and outcome.signals:
            signals = outcome.signals
            log.log_training(history, signals.get("samples"), signals.get("units"))
        log.log_stage(outcome.name, outcome.metrics, outcome.signals, passed=outcome.passed)
    return dataclasses.replace(mended, log=log)


def diagnosis(outcomes: Sequence[Outcome], checks: CheckSuite) -> tuple[Finding, ...]:
    """The findings of all stages, the first to mend first."""
    return rank_findings([finding for outcome in outcomes for finding in outcome.findings], checks.explains)


def outcomes_from_record(
    record: dict[str, Any],
    signals: dict[str, dict[str, Any]] | None = None,
    pictures: dict[str, dict[str, Any]] | None = None,
) -> list[Outcome]:
    """The stages of an outcome.json as `Outcome`s again, each with its part of signals.json and pictures.npz."""
    return [
        Outcome(
            name=stage["name"],
            passed=stage["status"] == "passed",
            seconds=stage["seconds"],
            headline=stage["headline"],
            memory=stage.get("memory"),
            metrics=stage["metrics"],
            findings=tuple(Finding.from_dict(fields) for fields in stage["findings"]),
            signals=(signals or {}).get(stage["name"]),
            images=(pictures or {}).get(stage["name"]),
        )
        for stage in record["stages"]
    ]


class OutcomeWriter:
    """outcome.json: what was run, on what, and how it ended; whole at any time, `running` until the end is known."""

    def __init__(
        self,
        parts: Components,
        words: Sequence[str],
        *,
        typed_hash: str | None = None,
        mender: AutoFixer | None = None,
    ):
        self.words, self.mender = words, mender
        self.started = time.perf_counter()
        self.fixed = {
            "schema": SCHEMA,
            "name": parts.name,
            "tags": list(parts.config.get("tags", [])),
            "seed": parts.seed,
            "typed_hash": typed_hash or config_hash(parts.config),
            "resumed_from": str(parts.resume) if parts.resume else None,
            "versions": versions(),
        }
        self._pictures: dict[str, Any] = {}
        self._data: tuple[Splits, dict[str, Any]] | None = None

    def write(self, parts: Components, outcomes: Sequence[Outcome], status: str, exit_code: int | None) -> float:
        """signals.json first, so that no stage stands in the record whose signals do not."""
        write_signals(parts.directory, {o.name: o.signals for o in outcomes if o.signals is not None})
        self._write_pictures(parts.directory, {o.name: o.images for o in outcomes if o.images})
        content = self.to_dict(parts, outcomes, status, exit_code)
        write_outcome(parts.directory, content)
        return content["seconds"]

    def to_dict(
        self, parts: Components, outcomes: Sequence[Outcome], status: str, exit_code: int | None
    ) -> dict[str, Any]:
        return self.fixed | {
            "status": status,
            "exit_code": exit_code,
            "seconds": round(time.perf_counter() - self.started, 3),
            "command": command_line(self._words()),
            "config_hash": config_hash(parts.config),
            "data": self._data_summary(parts.data),
            "stages": [outcome.to_dict() for outcome in outcomes],
            "diagnosis": [
                {"check": f.check, "severity": f.severity, "stage": f.stage, "where": f.where}
                for f in diagnosis(outcomes, parts.checks)
            ],
            "fixes": [fix.to_dict() for fix in self.mender.fixes] if self.mender else [],
        }

    def _write_pictures(self, folder: Path, stages: dict[str, Any]) -> None:
        known = self._pictures
        if stages.keys() != known.keys() or any(stages[name] is not known[name] for name in stages):
            write_pictures(folder, stages)
            self._pictures = stages

    def _words(self) -> list[str]:
        """As typed; of a mended run those that give it as it is now, with nothing left to try."""
        kept = self.mender.applied_overrides if self.mender else []
        typed = [word for word in self.words if not kept or word.lstrip("+").partition("=")[0] != "fix"]
        return [*typed, *kept]

    def _data_summary(self, data: Splits) -> dict[str, Any]:
        if self._data is None or self._data[0] is not data:
            about = {
                "name": data.name,
                "fingerprint": data.fingerprint(),
                "sizes": data.sizes,
                "classes": list(data.classes),
                "class_counts": data.class_counts(),
            }
            self._data = data, about
        return self._data[1]


@functools.cache
def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("torch", "torchvision", "pytorch-lightning", "hydra-core", "staged-training-pipeline"):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
