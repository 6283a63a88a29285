"""The search for remedies: which comes next, what runs again with it, and what becomes of its outcome."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.checks import Finding
from pipeline.checks.finding import rank_findings
from pipeline.errors import UserError
from pipeline.workflow.attempt import FixAttempt, StageSummary, is_improvement, summarize
from pipeline.workflow.components import Components, Outcome
from pipeline.workflow.memory import run_stage_with_memory

if TYPE_CHECKING:
    from pipeline.workflow.sequence import Reporter

MAX_ATTEMPTS = 3
"""Remedies that a run tries at most; one that changes nothing or does not compose costs no time and is not counted."""
ATTEMPT_DIR = "fixes"
"""Inside the run's directory, while an attempt is under way."""
TRAIN_ONLY_GROUPS = {"schedule", "augmentation"}
PROTECTED_KEYS = {"checks", "seed", "name", "tags", "outputs", "resume"}
"""A remedy mends the training, not its judges."""


class AutoFixer:
    """Tries remedies, one at a time, and remembers what came of each.

    A stage that failed is to be mended, and a training that passed with warnings; never `evaluate`, since nothing may
    be chosen by the test split. `recompose` gives the parts for the run's command with overrides appended; `note` is
    told the parts that a run goes on with, and those overrides. `fixes`: what a run that is resumed has tried.
    """

    def __init__(
        self,
        recompose: Callable[[Sequence[str]], Components],
        *,
        note: Callable[[Components, Sequence[str]], None] = lambda parts, overrides: None,
        fixes: Iterable[FixAttempt] = (),
    ):
        self.rebuild, self.on_applied = recompose, note
        self.fixes = list(fixes)
        self._tried = {fix.remedy for fix in self.fixes}
        self._queued: tuple[Finding, ...] = ()

    @property
    def applied_overrides(self) -> list[str]:
        """The overrides to append to the command."""
        return [override for fix in self.fixes if fix.kept for override in fix.remedy]

    def next_finding(self, parts: Components, outcomes: Sequence[Outcome]) -> Finding | None:
        """The first finding with a remedy that was not tried yet; None where the end is reached.

        An attempt that was no worse than before it (a rate that is still too high) is followed by what it found; such
        a finding's remedy contains those before it. A failure without a remedy ends the search: no override is its
        cure, and a milder finding's would not let the stage pass.
        """
        last = outcomes[-1]
        warned = last.name == "train" and any(f.severity != "info" and f.remedy for f in last.findings)
        if last.name == "evaluate" or (last.passed and not warned) or self._attempts >= MAX_ATTEMPTS:
            return None
        for finding in (*self._queued, *_diagnosis(outcomes, parts)):
            if finding.severity == "info":
                continue
            if not finding.remedy and parts.checks.has_failure([finding]):
                return None
            if finding.remedy and finding.remedy not in self._tried:
                return finding
        return None

    def reason_for_stopping(self, parts: Components, outcomes: Sequence[Outcome]) -> str:
        """Why a stage that failed stays as it is."""
        if self._attempts >= MAX_ATTEMPTS:
            return f"{MAX_ATTEMPTS} remedies were tried"
        first = next(iter(_diagnosis(outcomes, parts)), None)
        if first is not None and not first.remedy:
            return f"no override is the cure of {first.check}"
        return "no remedy is left to try"

    @property
    def _attempts(self) -> int:
        return sum(fix.after is not None for fix in self.fixes)

    def try_fix(
        self, finding: Finding, parts: Components, outcomes: Sequence[Outcome], teller: Reporter
    ) -> tuple[Components, list[Outcome]] | None:
        """Try the finding's remedy. Returns the parts and the outcomes to go on with, or None if it was not kept."""
        self._tried.add(finding.remedy)
        self._queued = ()
        stage, before = outcomes[-1].name, summarize(outcomes)
        teller.on_fix_start(finding, stage)
        folder = parts.directory / ATTEMPT_DIR
        after: StageSummary | None = None
        new: list[Outcome] = []
        kept, reason = False, ""
        try:
            mended = self._mended(finding.remedy, parts, folder)
            start = first_stage_to_rerun(parts, mended, stage=stage, carrier=finding.stage)
            new = _run(mended, outcomes[:start], last=stage, teller=teller)
            after = summarize(new)
            kept, reason = is_improvement(before, after, new[-1].name, stage)
            if kept:
                _promote_attempt(folder, parts.directory)
        except (UserError, RuntimeError) as error:  # RuntimeError: torch's, out of memory among them
            reason = f"it cannot be tried: {error}"
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self.fixes.append(FixAttempt(finding.check, finding.remedy, stage, kept, before, after, reason))
        teller.on_fix_end(self.fixes[-1])
        if kept:
            parts = dataclasses.replace(mended, directory=parts.directory)
            self.on_applied(parts, self.applied_overrides)
            return parts, new
        if after is not None and new[-1].name == stage and after.score <= before.score:
            self._queued = tuple(_after(finding.remedy, f) for f in _diagnosis(new, mended) if f.remedy)
        return None

    def _mended(self, remedy: Sequence[str], parts: Components, folder: Path) -> Components:
        mended = self.rebuild([*self.applied_overrides, *remedy])
        changed = _changed(parts.config, mended.config)
        if not changed:
            raise UserError("the configuration says so already.")
        if (forbidden := changed & PROTECTED_KEYS) or list(mended.stages) != list(parts.stages):
            raise UserError(f"it would change {', '.join(sorted(forbidden)) or 'the stages'}.")
        return dataclasses.replace(mended, directory=folder, progress=parts.progress, on_finding=parts.on_finding)


def _diagnosis(outcomes: Sequence[Outcome], parts: Components) -> tuple[Finding, ...]:
    return rank_findings([finding for outcome in outcomes for finding in outcome.findings], parts.checks.explains)


def _after(first: Sequence[str], finding: Finding) -> Finding:
    """The finding, with the remedy that it followed before its own; of two values for a key the later stays."""
    both = {override.partition("=")[0]: override for override in first}
    for override in finding.remedy:
        both.pop(override.partition("=")[0], None)
        both[override.partition("=")[0]] = override
    return dataclasses.replace(finding, remedy=tuple(both.values()))


def first_stage_to_rerun(before: Components, after: Components, *, stage: str, carrier: str) -> int:
    """Place of the first stage to run again: the first that may measure something else now, but no later than the
    `carrier` of the remedy.

    Only the schedule, the augmentation and a stage's own keys leave the stages before it as they are. Everything else
    is read from the first stage on, and the outcomes must be those that the mended command has.
    """
    names = list(before.stages)
    changed = _changed(before.config, after.config)
    places = [names.index(name) for name in (stage, carrier) if name in names]
    if changed & TRAIN_ONLY_GROUPS and "train" in names:
        places.append(names.index("train"))
    stages = before.config.get("stages", {}), after.config.get("stages", {})
    places += [place for place, name in enumerate(names) if stages[0].get(name) != stages[1].get(name)]
    return 0 if changed - TRAIN_ONLY_GROUPS - {"stages"} else min(places)


def _changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    return {key for key in {*before, *after} if before.get(key) != after.get(key)}


def _run(parts: Components, earlier: Sequence[Outcome], *, last: str, teller: Reporter) -> list[Outcome]:
    """The stages after `earlier` up to `last`, or to the first that fails."""
    outcomes = list(earlier)
    for name in list(parts.stages)[len(earlier) :]:
        teller.on_stage_start(name)
        outcomes.append(run_stage_with_memory(parts, name, outcomes))
        teller.on_stage_end(outcomes[-1])
        if name == last or not outcomes[-1].passed:
            break
    return outcomes


def _promote_attempt(attempt: Path, folder: Path) -> None:
    """Replace what the run left by what the attempt left, each entry in one move."""
    if attempt.is_dir():
        for new in sorted(attempt.iterdir()):
            old = folder / new.name
            if old.is_dir():  # a folder that is not empty cannot be replaced in one move
                old.rename(attempt / f".{new.name}.before")
            new.replace(old)
