"""`fix=true`: which remedy comes next, which stages run again with it, and whether it is kept."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from pipeline.checks import Finding, rank_findings
from pipeline.config.override_keys import override_key
from pipeline.errors import UserError
from pipeline.loggers import MultiLogger
from pipeline.workflow.attempt import FixAttempt, StageSummary, has_finding, is_improvement, summarize
from pipeline.workflow.components import Components, RunContext
from pipeline.workflow.outcome import Outcome, all_findings
from pipeline.workflow.reporter import Reporter
from pipeline.workflow.result import diagnose_outcomes
from pipeline.workflow.stage_loop import run_stages

MAX_ATTEMPTS = 3
"""Remedies that a run tries at most. One that changes nothing, or that cannot be built, costs no time and is free."""
ATTEMPT_DIR = "fixes"
"""Folder of an attempt under way, inside the run's directory."""
TRAIN_ONLY_GROUPS = {"schedule", "augmentation"}
PROTECTED_KEYS = {"checks", "seed", "name", "tags", "outputs", "resume"}
"""Keys that no remedy may change: a remedy changes the training, not what judges it."""


class AutoFixer:
    """Tries remedies one at a time, and remembers what came of each.

    Fixed is a stage that failed, and a training that passed with warnings; never `evaluate`, since the test split must
    choose nothing. `rebuild(overrides)` returns the components of the run's command with `overrides` appended.
    `on_applied(components, overrides)` is called when the run continues with a remedy. `fixes` are the attempts of the
    run that is resumed.
    """

    def __init__(
        self,
        rebuild: Callable[[Sequence[str]], Components],
        *,
        on_applied: Callable[[Components, Sequence[str]], None] = lambda components, overrides: None,
        fixes: Iterable[FixAttempt] = (),
    ):
        self.rebuild, self.on_applied = rebuild, on_applied
        self.fixes = list(fixes)
        self._tried = {attempt.remedy for attempt in self.fixes}
        self._queued: tuple[Finding, ...] = ()

    @property
    def applied_overrides(self) -> list[str]:
        """The overrides of all remedies that are kept, to append to the command."""
        return [override for attempt in self.fixes if attempt.kept for override in attempt.remedy]

    def fix(
        self,
        components: Components,
        context: RunContext,
        outcomes: list[Outcome],
        reporter: Reporter,
        on_attempt: Callable[[Components, list[Outcome]], None],
    ) -> tuple[Components, list[Outcome]]:
        """Try remedies until none is left, and return the components and outcomes to continue with.

        `on_attempt(components, outcomes)` is called after each attempt.
        """
        while finding := self.next_finding(components, outcomes):
            fixed = self.try_fix(finding, components, context, outcomes, reporter)
            components, outcomes = fixed or (components, outcomes)
            on_attempt(components, outcomes)
        if not outcomes[-1].passed:
            reporter.on_fix_exhausted(self.reason_for_stopping(components, outcomes))
        return components, outcomes

    def next_finding(self, components: Components, outcomes: Sequence[Outcome]) -> Finding | None:
        """Return the first finding whose remedy was not tried yet, or None at the end.

        If an attempt did not make things worse (a rate that is still too high), the next one builds on it: its findings
        come first, with a remedy that contains the one before. A failure without a remedy ends the search, since no
        override cures it, and the remedy of a milder finding would not let the stage pass. What a warning without a
        remedy explains is not tried either: with the symptom gone the cause would still be there.
        """
        last = outcomes[-1]
        stage = components.stages[last.name]
        warned = stage.fixes_warnings and any(f.severity != "info" and f.remedy for f in last.findings)
        if not stage.is_fixable or (last.passed and not warned) or self._count >= MAX_ATTEMPTS:
            return None
        checks, incurable = components.checks, list[Finding]()
        for finding in (*self._queued, *rank_findings(all_findings(outcomes), checks.explains)):
            if finding.severity == "info":
                continue
            if not finding.remedy:
                if checks.has_failure([finding]):
                    return None
                incurable.append(finding)
            elif finding.remedy not in self._tried and not checks.is_explained(finding, incurable):
                return finding
        return None

    def reason_for_stopping(self, components: Components, outcomes: Sequence[Outcome]) -> str:
        """Return why a stage that failed stays as it is."""
        if self._count >= MAX_ATTEMPTS:
            return f"{MAX_ATTEMPTS} remedies were tried"
        serious = (f for f in diagnose_outcomes(outcomes, components.checks) if f.severity != "info")
        if (first := next(serious, None)) is not None and not first.remedy:
            return f"no override cures {first.check}"
        return "no remedy is left to try"

    @property
    def _count(self) -> int:
        """Attempts that ran."""
        return sum(attempt.after is not None for attempt in self.fixes)

    def try_fix(
        self,
        finding: Finding,
        components: Components,
        context: RunContext,
        outcomes: Sequence[Outcome],
        reporter: Reporter,
    ) -> tuple[Components, list[Outcome]] | None:
        """Try the remedy of `finding`. Return the components and outcomes to continue with; None if it is not kept."""
        self._tried.add(finding.remedy)
        self._queued = ()
        stage = outcomes[-1].name
        key_metric = components.stages[stage].key_metric
        before = summarize(outcomes, key_metric)
        after: StageSummary | None = None
        reporter.on_fix_start(finding, stage)
        attempt_dir = context.directory / ATTEMPT_DIR
        kept, reason, new_outcomes = False, "", list[Outcome]()
        try:
            changed = self._apply(finding.remedy, components)
            start = first_stage_to_rerun(components, changed, stage=stage, source_stage=finding.stage)
            new_outcomes = run_stages(
                changed,
                dataclasses.replace(context, directory=attempt_dir, resume_from=None, log=MultiLogger()),
                reporter,
                earlier=outcomes[:start],
                stop_after=lambda reached: reached[-1].name == stage,
            )
            after = summarize(new_outcomes, key_metric)
            remaining = finding.check if has_finding(new_outcomes, finding) else None
            kept, reason = is_improvement(before, after, new_outcomes[-1].name, stage, remaining=remaining)
            if kept:
                _promote_attempt(attempt_dir, context.directory)
        except (UserError, RuntimeError) as error:  # RuntimeError: torch's own, out of memory among them
            reason = f"it cannot be tried: {error}"
        finally:
            shutil.rmtree(attempt_dir, ignore_errors=True)
        self.fixes.append(FixAttempt(finding.check, finding.remedy, stage, kept, before, after, reason))
        reporter.on_fix_end(self.fixes[-1])
        if kept:
            self.on_applied(changed, self.applied_overrides)
            return changed, new_outcomes
        if after is not None and new_outcomes[-1].name == stage and after.score <= before.score:
            found = diagnose_outcomes(new_outcomes, changed.checks)
            self._queued = tuple(_with_remedy_before(finding.remedy, f) for f in found if f.remedy)
        return None

    def _apply(self, remedy: Sequence[str], components: Components) -> Components:
        changed = self.rebuild([*self.applied_overrides, *remedy])
        keys = _changed_keys(components.config, changed.config)
        if not keys:
            raise UserError("the configuration has these values already.")
        if (forbidden := keys & PROTECTED_KEYS) or list(changed.stages) != list(components.stages):
            raise UserError(f"it would change {', '.join(sorted(forbidden)) or 'the stages'}.")
        return changed


def _with_remedy_before(first: Sequence[str], finding: Finding) -> Finding:
    """Return `finding` with the overrides of `first` before its own; of two values for a key the later stays."""
    overrides = {override_key(override): override for override in first}
    for override in finding.remedy:
        overrides.pop(override_key(override), None)
        overrides[override_key(override)] = override
    return dataclasses.replace(finding, remedy=tuple(overrides.values()))


def first_stage_to_rerun(before: Components, after: Components, *, stage: str, source_stage: str) -> int:
    """Return the index of the first stage that may measure something else now, `source_stage` at the latest.

    Only the schedule, the augmentation and a stage's own keys leave the stages before it as they are. Everything else
    is read from the first stage on, and the outcomes must be those of the command with the remedy.
    """
    names = list(before.stages)
    changed = _changed_keys(before.config, after.config)
    indices = [names.index(name) for name in (stage, source_stage) if name in names]
    if changed & TRAIN_ONLY_GROUPS and "train" in names:
        indices.append(names.index("train"))
    old, new = before.config.get("stages", {}), after.config.get("stages", {})
    indices += [index for index, name in enumerate(names) if old.get(name) != new.get(name)]
    return 0 if changed - TRAIN_ONLY_GROUPS - {"stages"} else min(indices)


def _changed_keys(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    return {key for key in {*before, *after} if before.get(key) != after.get(key)}


def _promote_attempt(attempt_dir: Path, run_dir: Path) -> None:
    """Replace the files of the run by those of the attempt, each entry in one move."""
    if attempt_dir.is_dir():
        for new in sorted(attempt_dir.iterdir()):
            old = run_dir / new.name
            if old.is_dir():  # a folder that is not empty cannot be replaced in one move
                old.rename(attempt_dir / f".{new.name}.before")
            new.replace(old)
