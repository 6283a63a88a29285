"""What a run may go on from: the newest unfinished run of the same configuration, or the one that was named."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.runs.images import read_pictures
from pipeline.runs.json_files import read_outcome, read_signals
from pipeline.workflow.attempt import FixAttempt
from pipeline.workflow.components import Outcome
from pipeline.workflow.sequence import outcomes_from_record

UNFINISHED = ("running", "interrupted", "error")


@dataclass(frozen=True)
class ResumePoint:
    """What an earlier run left; nothing where a run starts anew."""

    checkpoint: Path | None = None
    outcomes: tuple[Outcome, ...] = ()
    """Of stages that had passed, but for the training: its checkpoint says how far it was."""
    fixes: tuple[FixAttempt, ...] = ()
    batch_size: int | None = None
    """Where the command of the run gives it."""


def find_resume_point(
    requested: object, runs: Path, hash_: str, current_dir: Path, *, fix: bool = False, auto: bool = False
) -> ResumePoint:
    """The checkpoint to go on from and the stages that had passed, as the key `resume` says.

    `auto`: the newest run in `runs` with the same configuration (`hash_`, which leaves out resume, verbose, name, tags,
    outputs and fix) that did not finish; none is no error, so that a job script may always say `resume=auto`. Otherwise
    a run's folder. With `fix` a run that remedies have changed since it was typed is the same run still, and the
    remedies that it tried come along; with `auto` so is one that chose its batch size.
    """
    if requested is None:
        return ResumePoint()
    if requested != "auto":
        record = read_outcome(Path(str(requested)))
        if record is None:
            raise UserError(f"{str(requested)!r} is no run's folder (it has no readable outcome.json).", field="resume")
        if not _same(record, hash_, fix or auto):
            raise UserError(
                f"{str(requested)!r} was run with another configuration; give the options it was run with: "
                f"{record['command']}",
                field="resume",
            )
        return _left(Path(str(requested)), record, fix)
    for folder in sorted(runs.glob("*"), reverse=True):
        record = read_outcome(folder)
        if folder != current_dir and record and _same(record, hash_, fix or auto) and record["status"] in UNFINISHED:
            return _left(folder, record, fix)
    return ResumePoint()


def _same(record: dict[str, Any], hash_: str, changed: bool) -> bool:
    return record["config_hash"] == hash_ or (changed and record.get("typed_hash") == hash_)


def _left(folder: Path, record: dict[str, Any], fix: bool) -> ResumePoint:
    checkpoint = folder / "checkpoints" / "last.ckpt"
    outcomes = outcomes_from_record(record, read_signals(folder), read_pictures(folder))
    return ResumePoint(
        checkpoint if checkpoint.exists() else None,
        tuple(outcome for outcome in outcomes if outcome.name != "train" and outcome.passed),
        tuple(FixAttempt.from_dict(told) for told in record.get("fixes", ())) if fix else (),
        int(sizes[-1]) if (sizes := re.findall(r"\bdata\.batch_size=(\d+)", record["command"])) else None,
    )
