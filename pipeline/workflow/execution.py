"""Executes the stages of a run, keeps its record up to date, and tries remedies where they are asked for."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.errors import CRASHED, FAILED, PASSED, USER_ERROR, Interrupted, UserError
from pipeline.loggers import LoggedRun, MultiLogger, open_loggers
from pipeline.workflow.autofix import AutoFixer
from pipeline.workflow.components import Components, RunContext
from pipeline.workflow.outcome import Outcome
from pipeline.workflow.outcome_writer import OutcomeWriter
from pipeline.workflow.process_setup import deterministic_algorithms
from pipeline.workflow.reporter import NullReporter, Reporter
from pipeline.workflow.result import RunResult, diagnose_outcomes, list_not_checked
from pipeline.workflow.stage_loop import run_stages


def execute(
    components: Components,
    context: RunContext,
    *,
    arguments: Sequence[str],
    reporter: Reporter | None = None,
    completed: Sequence[Outcome] = (),
    autofixer: AutoFixer | None = None,
    config_hash_as_typed: str | None = None,
    write_report: Callable[[Path], None] = lambda directory: None,
) -> RunResult:
    """Run the stages of `components` in order, and write signals.json and outcome.json after each.

    `arguments` are flags and overrides of the command that repeats the run. `completed` are the outcomes of stages that
    a resumed run had passed; those stages are not run again. An `autofixer` tries remedies where a stage fails, and the
    run continues with those it keeps. `config_hash_as_typed` is the hash of the configuration as typed, where a resumed
    run begins with another. `write_report` is called with the run's directory once the record is complete, before the
    loggers close, since they may want a copy.

    Raises `Interrupted` when the user or the machine asked for an end, after the record is written.
    """
    reporter = reporter or NullReporter()
    fixes: Callable[[], Sequence] = (lambda: autofixer.fixes) if autofixer else tuple
    writer = OutcomeWriter(components, context, arguments, config_hash_as_typed=config_hash_as_typed, fixes=fixes)
    log = _start_loggers(components, context)
    context = dataclasses.replace(context, progress=reporter.progress, on_finding=reporter.on_finding, log=log)
    run = _Execution(components, context, reporter, writer, {o.name: o for o in completed if o.passed}, autofixer)
    try:
        with deterministic_algorithms(components.device_config.deterministic):
            run.run()
    except Interrupted as stop:
        run.finish("interrupted", 128 + stop.signal, write_report)
        raise
    except BaseException as error:
        with contextlib.suppress(OSError):
            run.finish("error", USER_ERROR if isinstance(error, UserError) else CRASHED, write_report)
        raise
    passed = all(outcome.passed for outcome in run.outcomes)
    status, code = ("passed", PASSED) if passed else ("failed", FAILED)
    seconds = run.finish(status, code, write_report)
    checks = run.components.checks
    not_checked = list_not_checked(run.outcomes, checks)
    return RunResult(
        status,
        code,
        seconds,
        context.directory,
        tuple(run.outcomes),
        diagnose_outcomes(run.outcomes, checks),
        tuple(fixes()),
        not_checked,
        len(checks.rules) - len(not_checked),
    )


@dataclasses.dataclass
class _Execution:
    """The state of a run that changes as it goes on: remedies replace `components` and `outcomes`."""

    components: Components
    context: RunContext
    reporter: Reporter
    writer: OutcomeWriter
    completed: dict[str, Outcome]
    autofixer: AutoFixer | None
    outcomes: list[Outcome] = dataclasses.field(default_factory=list)

    def run(self) -> None:
        """Run the stages up to the last or the first that fails for good."""
        self.writer.write(self.components, self.outcomes)
        while len(self.outcomes) < len(self.components.stages) and all(o.passed for o in self.outcomes):
            self.outcomes = run_stages(
                self.components,
                self.context,
                self.reporter,
                earlier=self.outcomes,
                completed=self.completed,
                on_outcome=self._note_outcome,
                stop_after=self._needs_fix,
            )
            if self.autofixer:
                self._fix(self.autofixer)

    def finish(self, status: str, exit_code: int, write_report: Callable[[Path], None]) -> float:
        """Write the final record, the report and the loggers' end. Return the seconds since the run began."""
        seconds = self.writer.write(self.components, self.outcomes, status, exit_code)
        write_report(self.context.directory)
        self.context.log.close(status)
        return seconds

    def _note_outcome(self, outcomes: list[Outcome]) -> None:
        self.outcomes = outcomes
        last = outcomes[-1]
        self.context.log.log_stage(last.name, last.metrics, last.signals, passed=last.passed)
        self.writer.write(self.components, outcomes)

    def _needs_fix(self, outcomes: list[Outcome]) -> bool:
        return self.autofixer is not None and self.autofixer.next_finding(self.components, outcomes) is not None

    def _fix(self, autofixer: AutoFixer) -> None:
        """Let `autofixer` try its remedies, and continue with what it keeps: new loggers, and no older checkpoint."""
        before = self.components
        self.components, self.outcomes = autofixer.fix(
            self.components, self.context, self.outcomes, self.reporter, self._note_attempt
        )
        if self.components is not before:
            self.context.log.close("superseded")
            context = dataclasses.replace(self.context, resume_from=None)
            log = _restart_loggers(self.components, context, self.outcomes)
            self.context = dataclasses.replace(context, log=log)

    def _note_attempt(self, components: Components, outcomes: list[Outcome]) -> None:
        self.components, self.outcomes = components, outcomes
        self.writer.write(components, outcomes)


def _start_loggers(components: Components, context: RunContext) -> MultiLogger:
    """Open the chosen loggers; those of a resumed run continue with what they have."""
    resumed_from = context.resume_from.parent.parent if context.resume_from else None
    run = LoggedRun(
        components.name,
        context.directory,
        components.config,
        classes=components.data.classes,
        resumed_from=resumed_from,
        logged_metrics={name: stage.logged_metrics for name, stage in components.stages.items()},
    )
    return open_loggers(components.loggers, run)


def _restart_loggers(components: Components, context: RunContext, outcomes: Sequence[Outcome]) -> MultiLogger:
    """Open the loggers again with everything logged so far: a run with a remedy has other hyperparameters."""
    log = _start_loggers(components, context)
    for outcome in outcomes:
        if (history := outcome.metrics.get("history")) and outcome.signals:
            log.log_training(history, outcome.signals.get("samples"), outcome.signals.get("units"))
        log.log_stage(outcome.name, outcome.metrics, outcome.signals, passed=outcome.passed)
    return log
